"""Jobs of this user that are nodes of ours, whether or not their cluster still lives.

A job is a node's by its owner and by the variable that each submission is given;
another variable names its cluster's directory. ``qstat`` shows all three, also when
nothing else is left.

Rejected: reading the directory from the job's arguments. Quotes, here-documents and
the base64 of an unknown grid hide it there.
"""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.batch.base import (
    DIRECTORY,
    SUBMISSION,
    Runner,
    read_directory,
)

_DIRECTORY = re.compile(rf"\b{DIRECTORY}=([^,\s]+)")
_AT_ONCE = 200  # jobs that qstat is asked about at a time: a command line is finite


@dataclass(frozen=True, kw_only=True)
class MarkedJob:
    """One array of a cluster."""

    id: str
    name: str  # the cluster's
    directory: Path | None  # the cluster's; None if the job does not say
    states: dict[str, int]  # Grid Engine's letters to how many nodes: {"r": 2}
    submitted: str  # in Grid Engine's words


def marked_jobs_of(user: str, run: Runner) -> list[MarkedJob]:
    """This user's jobs that are nodes of ours.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If there is no qstat, or it fails.
    """
    states = _states(run(["qstat", "-u", user, "-xml"]))
    ids, found = list(states), []
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        for part in _parts(_details(some, run)):
            job = _field(part, "job_number")
            if _field(part, "owner") == user and f"{SUBMISSION}=" in part:
                found.append(_marked(part, job, states.get(job, Counter())))
    return found


def _details(ids: Collection[str], run: Runner) -> str:
    try:
        return run(["qstat", "-j", ",".join(ids)])
    except subprocess.CalledProcessError as exc:
        # One of them ended meanwhile; the others are told of all the same.
        if "do not exist" not in f"{exc.stdout}{exc.stderr}":
            raise
        return str(exc.stdout or "")


def _states(listing: str) -> dict[str, Counter[str]]:
    """Job id to states, of what ``qstat -xml`` prints.

    Examples
    --------
    >>> row = "<r><job_list><JB_job_number>7</JB_job_number><state>qw</state>"
    >>> {job: dict(n) for job, n in _states(
    ...     row + "<tasks>2-9:2,12</tasks></job_list></r>").items()}
    {'7': {'qw': 5}}
    """
    found: dict[str, Counter[str]] = {}
    for row in ElementTree.fromstring(listing).iter("job_list"):
        job, state = row.findtext("JB_job_number"), row.findtext("state")
        if job and state:
            count = _count(row.findtext("tasks") or "")
            found.setdefault(job.strip(), Counter())[state.strip()] += count
    return found


def _count(tasks: str) -> int:
    """How many tasks ``1-9:2,12`` are; a job that is no array is one."""
    total = 0
    for part in filter(None, tasks.split(",")):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*", part)
        if match:
            first, last, step = match.groups()
            total += (int(last or first) - int(first)) // int(step or 1) + 1
    return total or 1


def _parts(listing: str) -> Iterator[str]:
    parts = re.split(r"^=+$", listing, flags=re.MULTILINE)
    return (part for part in parts if _field(part, "job_number"))


def _field(part: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*?)\s*$", part, re.MULTILINE)
    return found[1] if found else ""


def _marked(part: str, job: str, states: Counter[str]) -> MarkedJob:
    match = _DIRECTORY.search(part)
    return MarkedJob(
        id=job,
        name=_field(part, "job_name"),
        directory=read_directory(match[1]) if match else None,
        states=dict(states),
        submitted=_field(part, "submission_time"),
    )
