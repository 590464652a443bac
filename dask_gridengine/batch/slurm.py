"""Slurm through slurm-drmaa.

Every behaviour noted here was measured on Slurm 22.05.8 with slurm-drmaa 1.1.6.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from dask_gridengine.batch.base import (
    BatchSystem,
    ResourceRequest,
    directive,
    option_value,
    parse_time,
)
from dask_gridengine.batch.commands import Runner, output_of
from dask_gridengine.errors import ArrayTooLarge, SubmitError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import ArrayReport, EndNotice, NodeId

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
    gone_messages: ClassVar[tuple[str, ...]] = (
        "already completing or completed",
        "Invalid job id",
    )
    log_name: ClassVar[str] = "$SLURM_ARRAY_JOB_ID.$SLURM_ARRAY_TASK_ID"
    listing: ClassVar[str] = "squeue"
    deletion: ClassVar[str] = "with scancel"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "sinfo -N shows whether the host answers Slurm",
        Cause.NOT_STARTED: "scontrol show job {job} has Slurm's reason; ask the admins",
        Cause.REJECTED: "sbatch --test-only with the same options shows the wrong one",
        Cause.NEVER_ARRIVED: "sacct -j {job} may show why",
        Cause.UNKNOWN: "sacct -j {job} may show why",
        Cause.REFUSED: "Slurm ran a job again: job_extra_directives=['--no-requeue']"
        " prevents that",
    }

    def submit_options(self, request: ResourceRequest) -> str:
        """Use only options that slurm-drmaa's own parser accepts."""
        words: list[str] = []
        if request.queue:
            words += ["-p", option_value("queue", request.queue)]
        if request.project:
            words += ["-A", option_value("project", request.project)]
        if request.walltime is not None:
            # slurm-drmaa drops the seconds, and 00:00:30 would be a limit of 0.
            hours, minutes = divmod(_round_up(request.walltime, 60), 60)
            words += ["-t", f"{hours:02}:{minutes:02}:00"]
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

    def marker_options(self, submission_id: str) -> str:
        """Use the comment, because squeue does not show a job's environment."""
        return f"--comment={submission_id}"

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
        return SubmitError(reason, count, native)

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """Use ``sinfo``; return None if options narrow the partition's hosts."""
        parts = native.split()
        if any(part.startswith(("-w", "-C", "--nodelist", "--cons")) for part in parts):
            return None
        partition = ["-p", parts[parts.index("-p") + 1]] if "-p" in parts else []
        listed = output_of(["sinfo", "-h", "-N", "-o", "%n", *partition], run) or ""
        return frozenset(listed.split()) or None

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """Use ``sinfo``, which prints ``1-00:30:00`` or ``infinite``."""
        listed = output_of(["sinfo", "-h", "-p", queue, "-o", "%l"], run) or ""
        return min(filter(None, map(parse_time, listed.split())), default=None)

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """Use ``squeue``'s reasons (man squeue, JOB REASON CODES)."""
        command = ["squeue", "-h", "-j", job, "-t", "PENDING", "-o", "%r"]
        if (listed := output_of(command, run)) is None:
            return None
        reasons = [
            reason for reason in dict.fromkeys(listed.split()) if reason != "None"
        ]
        see = f"see: scontrol show job {job}"
        return ArrayReport(reasons=tuple(f"{reason}: {see}" for reason in reasons))

    def find_submission(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """Use ``squeue``, by name and comment."""
        lines = run(["squeue", "-h", "-n", name, "-o", "%F|%k"]).splitlines()
        jobs = (line.partition("|") for line in lines)
        return list(
            dict.fromkeys(job for job, _, note in jobs if submission_id in note)
        )

    def list_jobs(self, run: Runner) -> Mapping[NodeId, EndNotice | None]:
        """Use ``squeue``, which also lists jobs that ended within MinJobAge."""
        command = ["squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser()]
        known: dict[NodeId, EndNotice | None] = {}
        for line in run([*command, "-o", "%F|%K|%T"]).splitlines():
            job, index, state = (part.strip() for part in line.split("|"))
            if index.isdigit():  # other jobs are not arrays, so they are not nodes
                node = NodeId(job, int(index))
                known[node] = end_notice(node, state)
        return known


def end_notice(node: NodeId, state: str) -> EndNotice | None:
    """Make the end notice for a state of ``squeue``; None if the job has not ended.

    Examples
    --------
    >>> end_notice(NodeId("7", 1), "TIMEOUT").reason
    'Slurm says TIMEOUT'
    >>> end_notice(NodeId("7", 1), "RUNNING") is None
    True
    """
    if state not in ENDED:
        return None
    reason = "" if state == "COMPLETED" else f"Slurm says {state}"
    return EndNotice(node=node, reason=reason, **ENDED[state])


def _round_up(amount: float, unit: int) -> int:
    return int(-(-amount // unit))
