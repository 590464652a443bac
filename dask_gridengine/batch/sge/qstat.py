"""Jobs, nodes and queue instances, as ``qstat`` lists them; and ``qdel``."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dask_gridengine.batch.base import DIRECTORY, SUBMISSION, read_directory
from dask_gridengine.batch.commands import Runner, mentions, output_of, user_name
from dask_gridengine.grid_types import MarkedJob, NodeId

_BATCH = 200  # jobs in one call of qstat: the length of a command line is limited

#: Parts of the messages of qstat and qdel if a job, or its tasks, have ended already.
_GONE = ("do not exist", "does not exist", "comprises no tasks")

#: Letters of a queue instance's state (man 1 qstat).
INSTANCE_STATES = {
    "a": "overloaded",
    "A": "overloaded",
    "C": "closed by a calendar",
    "D": "closed by a calendar",
    "E": "in error",
    "S": "suspended by another queue",
    "c": "ambiguously configured",
    "d": "disabled",
    "o": "orphaned",
    "s": "suspended",
    "u": "not reachable for the qmaster",
}


def suspended(run: Runner) -> frozenset[NodeId] | None:
    """Return the nodes that a user, a queue or a threshold has suspended."""
    try:
        rows = job_states(run(["qstat", "-u", user_name(), "-s", "s", "-xml"]))
        return frozenset(
            NodeId(job, index)
            for job, _, tasks in rows
            for indices in tasks
            for index in indices
        )
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return None


def job_states(listing: str) -> Iterator[tuple[str, str, list[range]]]:
    """Yield job, state (man 1 qstat) and task indices of each row of ``qstat -xml``.

    Examples
    --------
    >>> row = "<r><job_list><JB_job_number>7</JB_job_number><state>hqw</state>"
    >>> list(job_states(row + "<tasks>2-4:2,9</tasks></job_list></r>"))
    [('7', 'hqw', [range(2, 5, 2), range(9, 10)])]
    """
    for row in ElementTree.fromstring(listing).iter("job_list"):
        job, state = row.findtext("JB_job_number"), row.findtext("state")
        if job and state:
            tasks = list(_task_ranges(row.findtext("tasks") or ""))
            yield job.strip(), state.strip(), tasks


def _task_ranges(tasks: str) -> Iterator[range]:
    for part in tasks.split(","):
        if match := re.fullmatch(r"\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*", part):
            first, last, step = match.groups()
            yield range(int(first), int(last or first) + 1, int(step or 1))


def find_submission(name: str, submission_id: str, run: Runner) -> list[str]:
    """Return the ids of jobs of this name that have the id in their environment.

    While the qmaster hangs, a submission fails after two minutes, and is queued when
    the qmaster continues (8.1.9). DRMAA does not know its job id then.

    Raises what `run` raises.
    """
    parts = split_jobs(_describe([name], run))
    return [field(part, "job_number") for part in parts if submission_id in part]


def split_jobs(listing: str) -> list[str]:
    """Split the output of ``qstat -j`` into one part for each job."""
    parts = re.split(r"^=+$", listing, flags=re.MULTILINE)
    return [part for part in parts if field(part, "job_number")]


def field(part: str, name: str) -> str:
    """Return a field of ``qstat -j``; "" if it is missing.

    Grid Engines differ in case, and in "_" or a blank between words.
    """
    words = re.split("[ _]", name)
    pattern = rf"^(?:global[ _])?{'[ _]'.join(words)}:[ \t]*(.*?)[ \t]*$"
    found = re.search(pattern, part, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def marked_jobs_of(user: str, run: Runner) -> list[MarkedJob]:
    """Return this user's jobs that are nodes of a cluster.

    A job is one if its environment has our variables. The job's arguments do not tell:
    quoting and base64 hide the directory there.

    Raises what `run` raises.
    """
    states: dict[str, Counter[str]] = {}
    command = ["qstat", "-u", user, "-xml"]
    try:
        listed = list(job_states(run(command)))
    except ElementTree.ParseError as exc:
        raise subprocess.SubprocessError(f"{command[0]} printed no XML") from exc
    for job, state, tasks in listed:
        # A job that is not an array has no tasks.
        states.setdefault(job, Counter())[state] += sum(map(len, tasks)) or 1
    ids = list(states)
    parts = [
        part
        for first in range(0, len(ids), _BATCH)
        for part in split_jobs(_describe(ids[first : first + _BATCH], run))
    ]
    return [
        _marked_job(part, states)
        for part in parts
        if field(part, "owner") == user and f"{SUBMISSION}=" in part
    ]


def _describe(jobs: Collection[str], run: Runner) -> str:
    """Describe jobs by id or name; those that have ended are left out."""
    try:
        return run(["qstat", "-j", ",".join(jobs)])
    except subprocess.CalledProcessError as exc:
        if not mentions(exc, *_GONE):
            raise
        return str(exc.stdout or "")


def _marked_job(part: str, states: dict[str, Counter[str]]) -> MarkedJob:
    job = field(part, "job_number")
    match = re.search(rf"\b{DIRECTORY}=([^,\s]+)", part)
    return MarkedJob(
        id=job,
        name=field(part, "job_name"),
        directory=read_directory(match[1]) if match else None,
        states=dict(states.get(job, {})),
        submitted=field(part, "submission_time"),
    )


def delete_jobs(jobs: Collection[str], run: Runner) -> None:
    """Delete jobs, and ignore those that have ended; raise what `run` raises."""
    for job in jobs:  # one call each: qdel stops at the first job it does not know
        _delete(["qdel", job], run)


def delete_tasks(job: str, first: int, last: int, run: Runner) -> bool:
    """Delete a range of an array in one call; see `BatchSystem.delete_tasks`."""
    _delete(["qdel", job, "-t", f"{first}-{last}"], run)
    return True


def _delete(command: list[str], run: Runner) -> None:
    try:
        run(command)
    except subprocess.CalledProcessError as exc:
        if not mentions(exc, *_GONE):
            raise


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One queue on one host."""

    queue: str
    host: str
    slots: int
    used: int  # or reserved
    states: str  # letters; "" if the instance takes jobs

    @property
    def trouble(self) -> str:
        """Why the instance takes no jobs; "" if it does."""
        words = (INSTANCE_STATES.get(letter, letter) for letter in self.states)
        return ", ".join(dict.fromkeys(words))


def instances(run: Runner, *options: str) -> list[Instance]:
    """List all queue instances, or those that match options; none if qstat fails."""
    listing = output_of(["qstat", "-f", "-s", "r", "-xml", *options], run) or ""
    try:
        rows = ElementTree.fromstring(listing).iter("Queue-List")
    except ElementTree.ParseError:
        return []
    return [_instance(row) for row in rows]


def _instance(row: ElementTree.Element) -> Instance:
    def number(name: str) -> int:
        return int(row.findtext(name) or 0)

    queue, _, host = (row.findtext("name") or "").partition("@")
    return Instance(
        queue=queue,
        host=host,
        slots=number("slots_total"),
        used=number("slots_used") + number("slots_resv"),
        states=row.findtext("state") or "",
    )
