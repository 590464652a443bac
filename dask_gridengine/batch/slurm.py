"""Slurm, by slurm-drmaa.

Written from what was measured on a real Slurm 22.05.8 with slurm-drmaa 1.1.6, and run
on it: ``docs/drms.md``.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping
from typing import ClassVar

from dask_gridengine.batch.base import (
    BatchSystem,
    ResourceRequest,
    Runner,
    directive,
    megabytes,
    whole_minutes,
    word,
)
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import ArrayReport, EndNotice, NodeId

#: States of ``squeue`` in which a job is over (man squeue, JOB STATE CODES), and what
#: that says beyond the word itself.
ENDED: dict[str, dict[str, str | int | bool]] = {
    "COMPLETED": {"exit_status": 0},
    "FAILED": {},
    "CANCELLED": {"deleted": True},
    "TIMEOUT": {"limit": "walltime"},
    "OUT_OF_MEMORY": {"limit": "memory"},
    "DEADLINE": {"limit": "walltime"},
    "NODE_FAIL": {},
    "BOOT_FAIL": {"unstarted": True},
    "PREEMPTED": {},  # nobody wants it gone: another takes its place
    "REVOKED": {"deleted": True},
}
#: The largest index where a site has not changed ``MaxArraySize`` (man slurm.conf).
USUAL_ARRAY = 1000
_MIB = 2**20


class Slurm(BatchSystem):
    """DRMAA's ``wait`` and ``jobStatus`` say "exited 0" and "done" of jobs that were
    cancelled, timed out, or are long purged, so ``squeue`` is asked instead."""

    name: ClassVar[str] = "slurm"
    title: ClassVar[str] = "Slurm"
    arrays: ClassVar[bool] = True
    notices: ClassVar[bool] = False
    deletes_all: ClassVar[bool] = False  # it stops at the first that is over already
    gone: ClassVar[tuple[str, ...]] = (
        "already completing or completed",
        "Invalid job id",
    )
    log_name: ClassVar[str] = "$SLURM_ARRAY_JOB_ID.$SLURM_ARRAY_TASK_ID"
    listing: ClassVar[str] = "squeue"
    deletion: ClassVar[str] = "with scancel"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "sinfo -N shows whether the host answers Slurm",
        Cause.NOT_STARTED: "scontrol show job {job} has Slurm's words; ask the admins",
        Cause.REJECTED: "sbatch --test-only with the same options says which it is",
        Cause.NEVER_ARRIVED: "sacct -j {job} may say more",
        Cause.UNKNOWN: "sacct -j {job} may say more",
        Cause.REFUSED: "Slurm ran a job again: job_extra_directives=['--no-requeue']"
        " forbids it",
    }

    def identity(self, environ: Mapping[str, str]) -> tuple[str, int]:
        """SLURM_JOB_ID of an array's task is another number, never to be used."""
        return environ["SLURM_ARRAY_JOB_ID"], int(environ["SLURM_ARRAY_TASK_ID"])

    def slots(self, environ: Mapping[str, str]) -> int | None:
        """SLURM_CPUS_PER_TASK is not set by slurm-drmaa."""
        said = environ.get("SLURM_CPUS_ON_NODE", "")
        return int(said) if said.isdigit() and int(said) else None

    def memory(self, environ: Mapping[str, str]) -> int:
        """In MB; a value of the submitter's own job may stand beside the right one.

        Per CPU wins: a client within a job leaks its ``SLURM_MEM_PER_NODE``, while this
        dialect asks for memory per node only, which then overwrites it.
        """
        per_cpu, per_node = (
            environ.get(f"SLURM_MEM_PER_{unit}", "") for unit in ("CPU", "NODE")
        )
        if per_cpu.isdigit():
            return int(per_cpu) * _MIB * (self.slots(environ) or 1)
        return int(per_node) * _MIB if per_node.isdigit() else 0

    def queue(self, environ: Mapping[str, str]) -> str:
        """The partition."""
        return environ.get("SLURM_JOB_PARTITION", "")

    def parse(self, job_id: str) -> NodeId:
        """``8_3``."""
        job, _, index = job_id.rpartition("_")
        return NodeId(job, int(index))

    def form(self, node: NodeId) -> str:
        """``8_3``."""
        return f"{node.job}_{node.index}"

    def native(self, resource_request: ResourceRequest) -> str:
        """Only what slurm-drmaa's own parser takes; megabytes, and whole minutes."""
        words: list[str] = []
        if resource_request.queue:
            words += ["-p", word("queue", resource_request.queue)]
        if resource_request.project:
            words += ["-A", word("project", resource_request.project)]
        if resource_request.walltime is not None:
            # Seconds are dropped, and 00:00:30 is no time at all (measured).
            hours, minutes = divmod(whole_minutes(resource_request.walltime), 60)
            words += ["-t", f"{hours:02}:{minutes:02}:00"]
        if resource_request.slots > 1:
            words += ["-c", str(resource_request.slots)]
        if resource_request.memory:
            words.append(f"--mem={megabytes(resource_request.memory)}")
        return " ".join([*words, *map(directive, resource_request.extra_directives)])

    def unsupported_options(self, resource_request: ResourceRequest) -> list[str]:
        """``--array=..%n`` is DRMAA's to say; the rest has other names here."""
        given = {
            "resource_spec": resource_request.resource_spec,
            "parallel_environment": resource_request.parallel_environment,
            "memory_resource": resource_request.memory_resource,
            "array_concurrency": resource_request.array_concurrency,
        }
        return [name for name, value in given.items() if value is not None]

    def excluding(self, native: str, hosts: Collection[str]) -> str:
        """``-x a,b``, unless the options choose or exclude hosts themselves."""
        chosen = ("-w", "--nodelist", "-x", "--exclude")
        if not hosts or any(part.startswith(chosen) for part in native.split()):
            return native
        return " ".join([*native.split(), "-x", ",".join(sorted(hosts))])

    def tag(self, submission_id: str) -> str:
        """squeue shows no job's environment, but its comment."""
        return f"--comment={submission_id}"

    def wrap_command(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """The job is a bash script, ``{command} '{argument}'``: no ' may be in it.

        With ``exec`` the node itself gets Slurm's SIGTERM, and all of KillWait.
        """
        (shell, *rest), environment = super().wrap_command(command, environment)
        return (f"exec {shell}", *rest), dict(environment)

    def largest_array(self, reason: str, count: int) -> int:
        """Slurm does not say its ``MaxArraySize``: the usual one, or half as many."""
        if "Invalid job array specification" not in reason or count < 2:
            return 0
        return USUAL_ARRAY if count > USUAL_ARRAY else count // 2

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """``sinfo`` of the partition; None if options narrow that down further."""
        parts = native.split()
        if any(part.startswith(("-w", "-C", "--nodelist", "--cons")) for part in parts):
            return None
        partition = ["-p", parts[parts.index("-p") + 1]] if "-p" in parts else []
        try:
            said = run(["sinfo", "-h", "-N", "-o", "%n", *partition])
        except Exception:  # noqa: BLE001 - whatever it is, nobody can tell
            return None
        return frozenset(said.split()) or None

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """``sinfo`` of a partition, which writes ``1-00:30:00`` or ``infinite``."""
        try:
            said = run(["sinfo", "-h", "-p", queue, "-o", "%l"])
        except Exception:  # noqa: BLE001
            return None
        found = [_seconds(text) for text in said.split()]
        return min((seconds for seconds in found if seconds), default=None)

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """``squeue``'s reasons: ``man squeue``, JOB REASON CODES."""
        try:
            said = run(["squeue", "-h", "-j", job, "-t", "PENDING", "-o", "%r"])
        except Exception:  # noqa: BLE001
            return None
        reasons = [reason for reason in dict.fromkeys(said.split()) if reason != "None"]
        see = f"see: scontrol show job {job}"
        return ArrayReport(reasons=tuple(f"{reason}: {see}" for reason in reasons))

    def find_marked(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """``squeue``, by name and comment."""
        said = run(["squeue", "-h", "-n", name, "-o", "%F|%k"])
        lines = (line.partition("|") for line in said.splitlines())
        return list(
            dict.fromkeys(job for job, _, comment in lines if submission_id in comment)
        )

    def listed(self, run: Runner) -> Mapping[NodeId, EndNotice | None]:
        """``squeue``, also of what ended in the last minutes (MinJobAge)."""
        command = ["squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser()]
        known: dict[NodeId, EndNotice | None] = {}
        for line in run([*command, "-o", "%F|%K|%T"]).splitlines():
            job, index, state = (part.strip() for part in line.split("|"))
            if index.isdigit():  # else it is no array, and so none of ours
                node = NodeId(job, int(index))
                known[node] = ended(node, state)
        return known


def ended(node: NodeId, state: str) -> EndNotice | None:
    """What a state says of a node's end; None while it has none.

    Examples
    --------
    >>> str(ended(NodeId("7", 1), "TIMEOUT")), ended(NodeId("7", 1), "COMPLETING")
    ('ended, exit status unknown (Slurm says TIMEOUT)', None)
    """
    if state not in ENDED:
        return None
    reason = "" if state == "COMPLETED" else f"Slurm says {state}"
    return EndNotice(node=node, reason=reason, **ENDED[state])  # type: ignore[arg-type]


def _seconds(text: str) -> float | None:
    """A time as ``sinfo`` writes it.

    Examples
    --------
    >>> _seconds("1-00:30:00"), _seconds("30:00"), _seconds("infinite")
    (88200.0, 1800.0, None)
    """
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]):
        return None
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return float(86400 * int(days or 0) + seconds)
