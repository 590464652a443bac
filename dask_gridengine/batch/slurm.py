"""Slurm through slurm-drmaa.

Every behaviour noted here was measured on Slurm 22.05.8 with slurm-drmaa 1.1.6.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from dask_gridengine.batch.base import (
    DIRECTORY,
    SUBMISSION,
    BatchSystem,
    CheckResult,
    ResourceRequest,
    directive,
    option_value,
    parse_time,
    read_directory,
)
from dask_gridengine.batch.commands import Runner, output_of, user_name
from dask_gridengine.errors import ArrayTooLarge, SubmitError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import (
    ArrayReport,
    EndNotice,
    Listed,
    MarkedJob,
    NodeId,
    NodeRequest,
)

#: States of ``squeue`` in which a job has ended (man squeue, JOB STATE CODES), and the
#: fields of `EndNotice` that follow from each.
ENDED: dict[str, dict[str, Any]] = {
    "COMPLETED": {"exit_status": 0},
    "FAILED": {},
    "CANCELLED": {"deleted": True},
    "TIMEOUT": {"limit": "walltime"},
    "OUT_OF_MEMORY": {"limit": "memory"},
    "DEADLINE": {"limit": "walltime"},
    "NODE_FAIL": {},
    "BOOT_FAIL": {"unstarted": True},
    "PREEMPTED": {},  # not deleted: the node is replaced
    "REVOKED": {"deleted": True},
}
#: The largest index if a site has not changed ``MaxArraySize`` (man slurm.conf).
DEFAULT_ARRAY_SIZE = 1000
#: Seconds. Jobs without a limit are sometimes listed with this one.
YEAR = 365 * 86400.0
#: How the comment of each job begins; the submission id and the directory follow.
_MARK = "dask-gridengine:"
#: Slurm refuses longer comments. The directory is left out then.
_LONGEST_COMMENT = 1000
_TIME_OPTIONS, _PARTITION_OPTIONS = ("-t", "--time"), ("-p", "--partition")


class TaskId(NodeId):
    """An array task as Slurm writes it. ``341.2`` is a step of a job there."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.job}_{self.index}"


class Slurm(BatchSystem):
    """Slurm. Its DRMAA reports "exited 0" and "done" for jobs that were cancelled, hit
    their time limit, or are purged, so ``squeue`` is used to find ends instead."""

    name: ClassVar[str] = "slurm"
    title: ClassVar[str] = "Slurm"
    unsupported: ClassVar[tuple[str, ...]] = (
        "resource_spec",
        "parallel_environment",
        "memory_resource",
    )
    arrays: ClassVar[bool] = True
    id_separator: ClassVar[str] = "_"
    reliable_notices: ClassVar[bool] = False
    deletes_session: ClassVar[bool] = False  # it stops at the first job that has ended
    deletes_by_sigterm: ClassVar[bool] = True
    gone_messages: ClassVar[tuple[str, ...]] = (
        "already completing or completed",
        "Invalid job id",
    )
    # As InternalException from submissions and deletions, as DrmCommunicationException
    # from jobStatus.
    unreachable_messages: ClassVar[tuple[str, ...]] = (
        "Unable to contact slurm controller",
        "Protocol authentication error",  # munged is down
        "Socket timed out",
    )
    needed_commands: ClassVar[tuple[str, ...]] = ("squeue",)
    log_name: ClassVar[str] = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    listing: ClassVar[str] = "squeue"
    deletion: ClassVar[str] = "with scancel"
    delete_command: ClassVar[str] = "scancel"
    undeletable: ClassVar[str] = "scontrol show job JOB has Slurm's reason"
    if_no_library: ClassVar[str] = (
        "install slurm-drmaa, then export DRMAA_LIBRARY_PATH=/path/to/its/libdrmaa.so.1"
    )
    if_unavailable: ClassVar[str] = (
        "check that Slurm answers on this host: scontrol ping, squeue; and that"
        " DRMAA_LIBRARY_PATH is slurm-drmaa's libdrmaa, made for this version of Slurm"
    )
    memory_option: ClassVar[str] = "--mem"
    site_defaults: ClassVar[str] = (
        "by its partition's defaults, or by a job_submit plugin"
    )
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "sinfo -N shows whether the host answers Slurm",
        Cause.REJECTED: "sbatch --test-only with the same options shows the wrong one",
        **dict.fromkeys(
            # Not sacct, which needs slurmdbd.
            (Cause.NOT_STARTED, Cause.NEVER_ARRIVED, Cause.UNKNOWN),
            "scontrol show job {job} has Slurm's reason, for minutes after its end",
        ),
        Cause.REFUSED: "Slurm ran a job again: job_extra_directives=['--no-requeue']"
        " prevents that",
    }

    def name_node(self, node: NodeId) -> NodeId:
        return TaskId(*node)

    def submit_options(self, request: ResourceRequest) -> str:
        """Use only options that slurm-drmaa's own parser accepts."""
        words: list[str] = []
        if request.queue:
            words += ["-p", option_value("queue", request.queue)]
        if request.project:
            words += ["-A", option_value("project", request.project)]
        if request.walltime is not None:
            # slurm-drmaa drops the seconds, and 00:00:30 would be a limit of 0.
            words += ["-t", _hours(request.walltime)]
        if request.slots > 1:
            words += ["-c", str(request.slots)]
        if request.memory:
            words.append(f"--mem={_round_up(request.memory, 2**20)}")
        return " ".join([*words, *map(directive, request.extra_directives)])

    def exclude_hosts(self, native: str, hosts: Collection[str]) -> str:
        """Add ``-x``, unless the options choose or exclude hosts themselves."""
        choosing = ("-w", "--nodelist", "-x", "--exclude")
        if not hosts or any(part.startswith(choosing) for part in native.split()):
            return native
        return " ".join([*native.split(), "-x", ",".join(sorted(hosts))])

    def marker_options(self, environment: Mapping[str, str]) -> str:
        """Use the comment, because squeue does not show a job's environment.

        slurm-drmaa cuts a value at its second "=".
        """
        submission_id, directory = (
            environment.get(n, "") for n in (SUBMISSION, DIRECTORY)
        )
        mark = f"{_MARK}{submission_id}:{directory}"
        if len(mark) > _LONGEST_COMMENT:
            mark = f"{_MARK}{submission_id}:"
        return f"--comment={mark}"

    def script_directives(self, request: NodeRequest) -> list[str]:
        """Render the submission of a node as the first lines of a script for sbatch."""
        return [
            f"#SBATCH --job-name={request.name}",
            "#SBATCH --chdir=/",
            "#SBATCH --output=/dev/null",
            *([f"#SBATCH {request.native}"] if request.native else []),
            # Not --export, which splits values at commas.
            *(f"export {k}={shlex.quote(v)}" for k, v in request.environment.items()),
        ]

    def requested_limit(self, native: str) -> float | None:
        """Return the time limit that the options request, in seconds."""
        value = _value_of(_TIME_OPTIONS, native)
        # "1:30" are hours and minutes for slurm-drmaa.
        return parse_time(f"{value}:0" if value.count(":") == 1 else value)

    def wrap_command(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Add ``exec``, so that the node gets SIGTERM and all of KillWait.

        slurm-drmaa writes the bash script ``{command} '{argument}'`` without escaping,
        so no argument may contain a quote.
        """
        (shell, *rest), environment = super().wrap_command(command, environment)
        return (f"exec {shell}", *rest), dict(environment)

    def submit_error(self, reason: str, count: int, native: str | None) -> SubmitError:
        """Suggest the default array size or half of `count`.

        The message does not contain ``MaxArraySize``.
        """
        if "Invalid job array specification" in reason and count > 1:
            limit = DEFAULT_ARRAY_SIZE if count > DEFAULT_ARRAY_SIZE else count // 2
            return ArrayTooLarge(reason, count, native, "", limit)
        check = "" if native is None else f"sbatch --test-only {native} --wrap true"
        return SubmitError(reason, count, native, check)

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """Use ``sinfo``; return None if options narrow the partition's hosts."""
        if any(
            p.startswith(("-w", "-C", "--nodelist", "--cons")) for p in native.split()
        ):
            return None
        listed = output_of(["sinfo", "-h", "-N", "-o", "%n", *_partition(native)], run)
        return frozenset((listed or "").split()) or None

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """Use ``sinfo``, which prints ``1-00:30:00`` or ``infinite``."""
        listed = output_of(["sinfo", "-h", "-p", queue, "-o", "%l"], run) or ""
        return min(filter(None, map(parse_time, listed.split())), default=None)

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """Use ``squeue``: its reasons (man squeue, JOB REASON CODES) and its limit.

        The limit is that of the partition where the options request none.
        """
        command = ["squeue", "-h", "-j", job, "-o", "%T|%l|%r"]
        if not (listed := output_of(command, run)):
            return None  # also if all of its nodes have ended
        rows = [line.split("|", 2) for line in listed.splitlines()]
        limits = (parse_time(limit) for _, limit, _ in rows)
        walltime = min((s for s in limits if s and s < YEAR), default=None)
        added = bool(walltime) and not _value_of(_TIME_OPTIONS, native)
        waiting = dict.fromkeys(
            reason for state, _, reason in rows if state == "PENDING"
        )
        return ArrayReport(
            walltime=walltime,
            added=f"-t {_hours(walltime)}" if walltime and added else "",
            reasons=tuple(
                f"{reason}: see: scontrol show job {job}"
                for reason in waiting
                if reason != "None"
            ),
            kill_delay=_kill_wait(run),
        )

    def find_submission(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """Use ``squeue``, by the comment: a directive may change the name."""
        rows = _rows("%F|%k", run)
        return list(dict.fromkeys(job for job, note in rows if submission_id in note))

    def marked_jobs(self, run: Runner) -> list[MarkedJob]:
        """Use ``squeue``, by the comment."""
        states: dict[str, Counter[str]] = {}
        found: dict[str, MarkedJob] = {}
        for job, state, submitted, note, name in _rows("%F|%T|%V|%k|%j", run, "-r"):
            if note.startswith(_MARK):
                directory = note.removeprefix(_MARK).partition(":")[2]
                states.setdefault(job, Counter())[state.lower()] += 1
                found[job] = MarkedJob(
                    id=job,
                    name=name,
                    directory=read_directory(directory) if directory else None,
                    states=states[job],
                    submitted=submitted,
                    system=self.name,
                )
        return list(found.values())

    def delete_jobs(self, jobs: Collection[str], run: Runner) -> None:
        """Use ``scancel``, which succeeds for jobs that have ended, too."""
        run(["scancel", *jobs])

    def list_jobs(self, run: Runner) -> Mapping[NodeId, EndNotice | Listed]:
        """Use ``squeue``, which also lists jobs that ended within MinJobAge."""
        known: dict[NodeId, EndNotice | Listed] = {}
        for job, index, state in _rows("%F|%K|%T", run, "-r", "-t", "all"):
            if index.isdigit():  # other jobs are not arrays, so they are not nodes
                node = NodeId(job, int(index))
                known[node] = listed(node, state)
        return known

    def checks(self, native: str, queue: str, run: Runner) -> Iterator[CheckResult]:
        """Use ``scontrol``, ``sinfo`` and ``sbatch --test-only``."""
        yield (controller := _check_controller(run))
        if not controller.fatal:
            yield (partition := _check_partition(native, queue, run))
            if not partition.fatal:
                yield _check_options(native, run)


def listed(node: NodeId, state: str) -> EndNotice | Listed:
    """Translate a state of ``squeue``.

    Examples
    --------
    >>> listed(NodeId("7", 1), "TIMEOUT").reason
    'Slurm says TIMEOUT'
    >>> listed(NodeId("7", 1), "COMPLETING").name
    'ENDING'
    """
    if state not in ENDED:
        return Listed.ENDING if state == "COMPLETING" else Listed.LIVE
    reason = "" if state == "COMPLETED" else f"Slurm says {state}"
    return EndNotice(node=node, reason=reason, **ENDED[state])


def _check_controller(run: Runner) -> CheckResult:
    try:
        answer = " ".join(run(["scontrol", "ping"]).split())
    except (OSError, subprocess.SubprocessError) as exc:
        return CheckResult(
            "controller",
            f"Slurm's controller does not answer: {_printed(exc)[0]}",
            "try scontrol ping; tell your admins that slurmctld is not reachable here",
            fatal=True,
        )
    return CheckResult("controller", answer)


def _check_partition(native: str, queue: str, run: Runner) -> CheckResult:
    """Check that the partition exists and is up, and which time limit jobs get."""
    command = ["sinfo", "-h", "-s", "-o", "%P|%a|%l|%L|%F"]
    rows = [line.split("|") for line in (output_of(command, run) or "").splitlines()]
    names = [row[0].rstrip("*") for row in rows]
    name = _value_of(_PARTITION_OPTIONS, native) or queue
    wanted = name.split(",") if name else [n[:-1] for n, *_ in rows if n.endswith("*")]
    if missing := [each for each in wanted if each not in names]:
        return CheckResult(
            "partition",
            f"no such partition: {', '.join(missing)}",
            f"use another with --queue (option queue): {', '.join(names)}",
            fatal=True,
        )
    if not wanted:
        return CheckResult(
            "partition",
            "Slurm has no default partition",
            f"name one with --queue (option queue): {', '.join(names)}",
            fatal=True,
        )
    selected = [row for row in rows if row[0].rstrip("*") in wanted]
    sentence = "; ".join(
        f"{name.rstrip('*')} is {state}, {hosts.split('/')[3]} hosts"
        f" ({hosts.split('/')[1]} idle), time limit {most}"
        for name, state, most, _, hosts in selected
    )
    defaults = [row[3] for row in selected if parse_time(row[3])]
    if defaults and not _value_of(_TIME_OPTIONS, native):
        return CheckResult(
            "partition",
            f"{sentence}; without a walltime a job gets {defaults[0]}",
            "set walltime=: each node is replaced before its time ends",
        )
    if all(state != "up" for _, state, *_ in selected):
        return CheckResult("partition", sentence, "use another with --queue")
    return CheckResult("partition", sentence)


def _check_options(native: str, run: Runner) -> CheckResult:
    try:
        run(["sbatch", "--test-only", *native.split(), "--wrap", "true"])
    except (OSError, subprocess.SubprocessError) as exc:
        reason = _printed(exc)[-1]
        # slurm-drmaa has a few long options with other names.
        return CheckResult(
            "options",
            f"Slurm does not take jobs with {native or 'no options'}: {reason}",
            "change the option that Slurm names: queue, project, walltime, cores,"
            " memory, job_extra_directives",
            fatal="option" not in reason,
        )
    return CheckResult("options", f"Slurm takes jobs with {native or 'no options'}")


def _printed(exc: Exception) -> list[str]:
    """Return the lines that a command printed before it failed, or the error."""
    texts = (getattr(exc, "stdout", None), getattr(exc, "stderr", None))
    lines = "\n".join(text for text in texts if text).splitlines()
    return [line.strip() for line in lines if line.strip()] or [str(exc)]


def _rows(columns: str, run: Runner, *options: str) -> Iterator[list[str]]:
    """Yield the columns of all jobs of this user; only the last may contain "|"."""
    count = columns.count("|")
    command = ["squeue", "-h", *options, "-u", user_name(), "-o", columns]
    for line in run(command).splitlines():
        if len(parts := [part.strip() for part in line.split("|", count)]) > count:
            yield parts


def _kill_wait(run: Runner) -> float | None:
    config = output_of(["scontrol", "show", "config"], run) or ""
    found = re.search(r"^KillWait\s*=\s*(\d+)", config, re.MULTILINE)
    return float(found[1]) if found else None


def _partition(native: str) -> list[str]:
    name = _value_of(_PARTITION_OPTIONS, native)
    return ["-p", name] if name else []


def _value_of(options: tuple[str, str], native: str) -> str:
    """Return the value of a short or long option in a line; "" if it is not given.

    Examples
    --------
    >>> _value_of(("-t", "--time"), "-p a -t 01:00:00")
    '01:00:00'
    >>> _value_of(("-t", "--time"), "--time=02:00:00")
    '02:00:00'
    """
    value = ""
    for word, following in itertools.pairwise([*native.split(), ""]):
        if word in options:
            value = following
        elif word.startswith(f"{options[1]}="):
            value = word.partition("=")[2]
    return value


def _hours(seconds: float) -> str:
    """Format a time as slurm-drmaa takes it: in whole minutes."""
    hours, minutes = divmod(_round_up(seconds, 60), 60)
    return f"{hours:02}:{minutes:02}:00"


def _round_up(amount: float, unit: int) -> int:
    return int(-(-amount // unit))
