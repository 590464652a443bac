"""Grid Engine and its heirs: SGE, Son of, Open, Univa and Altair Grid Engine.

Run on Son of Grid Engine 8.1.9 only; where others differ it is by their manuals.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dask_gridengine.batch.base import BatchSystem, ResourceRequest, Runner
from dask_gridengine.errors import GridFull, SubmitError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId

if TYPE_CHECKING:
    from dask_gridengine.grid_types import AccountingRecord, ArrayReport

# Whatever a node does not need before its hello is imported when it is used.


class GridEngine(BatchSystem):
    """What the grid says by DRMAA is true, if sometimes late."""

    name: ClassVar[str] = "gridengine"
    title: ClassVar[str] = "Grid Engine"
    arrays: ClassVar[bool] = True
    log_name: ClassVar[str] = "$JOB_ID.$SGE_TASK_ID"
    listing: ClassVar[str] = "qstat"
    deletion: ClassVar[str] = "with qdel"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "qhost shows whether the host answers Grid Engine",
        Cause.NOT_STARTED: "qacct -j {job} has the grid's words; ask the admins",
        Cause.REJECTED: "qsub -w v with the same options says which of them it is",
        Cause.NEVER_ARRIVED: "qacct -j {job} may say more",
        Cause.UNKNOWN: "qacct -j {job} may say more",
        Cause.REFUSED: "the grid ran a job again: job_extra_directives=['-r n']"
        " forbids it",
    }

    def identity(self, environ: Mapping[str, str]) -> tuple[str, int]:
        """``man 1 qsub``, ENVIRONMENTAL VARIABLES."""
        return environ["JOB_ID"], int(environ["SGE_TASK_ID"])

    def slots(self, environ: Mapping[str, str]) -> int | None:
        """NSLOTS, or where those are on several hosts, PE_HOSTFILE's of this one."""
        if "NSLOTS" not in environ:
            return None
        return max(1, int(environ["NSLOTS"]) - self.slots_elsewhere(environ))

    def slots_elsewhere(self, environ: Mapping[str, str]) -> int:
        """PE_HOSTFILE's of other hosts; the first in it is the one a job starts on."""
        by_host = _slots_by_host(environ)
        here = {
            name.partition(".")[0]
            for name in (os.uname().nodename, environ.get("HOSTNAME", ""))
        }
        mine = [host for host in by_host if host.partition(".")[0] in here]
        others = dict(by_host)
        for host in mine or list(by_host)[:1]:
            del others[host]
        return sum(others.values())

    def parallel_environment(self, environ: Mapping[str, str]) -> str:
        """PE."""
        return environ.get("PE", "")

    def queue(self, environ: Mapping[str, str]) -> str:
        """QUEUE."""
        return environ.get("QUEUE", "")

    def notify(self, environ: Mapping[str, str]) -> float:
        """The queue's, as the grid leaves it in the job's spool for all to read."""
        try:
            place = Path(environ["SGE_JOB_SPOOL_DIR"]) / "config"
            lines = place.read_text(errors="replace").splitlines()
            said = next(line for line in lines if line.startswith("notify="))
            return max(0.0, float(said.partition("=")[2]))
        except (KeyError, OSError, ValueError, StopIteration):
            return 0.0

    def parse(self, job_id: str) -> NodeId:
        """``123.7``."""
        job, _, index = job_id.rpartition(".")
        return NodeId(job, int(index))

    def form(self, node: NodeId) -> str:
        """``123.7``."""
        return str(node)

    def native(self, resource_request: ResourceRequest) -> str:
        """See `native_specification`."""
        from dask_gridengine.batch.sge.submit_options import native_specification

        return native_specification(**vars(resource_request))

    def unsupported_options(self, resource_request: ResourceRequest) -> list[str]:
        """Everything can be said."""
        return []

    def excluding(self, native: str, hosts: Collection[str]) -> str:
        """See `exclude_hosts`."""
        from dask_gridengine.batch.sge.submit_options import exclude_hosts

        return exclude_hosts(native, hosts)

    def requested_limit(self, native: str) -> float | None:
        """``h_rt`` or ``s_rt``."""
        from dask_gridengine.batch.sge.queue_limits import requested_limit

        return requested_limit(native)

    def warns(self, native: str) -> bool:
        """``-notify``."""
        return "-notify" in native.split()

    def wrap_command(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """See `one_line`."""
        from dask_gridengine.batch.sge.argument_quoting import one_line

        return one_line(command, environment)

    def refusal(self, reason: str, count: int, native: str | None) -> SubmitError:
        """``max_u_jobs`` and its like say that there may be room later.

        Son of Grid Engine 8.1.9 says "job rejected: only 3 jobs are allowed per user
        (current job count: 3)", and counts an array as one job.
        """
        if GridFull.matches(reason):
            return GridFull(reason, count, native)
        return super().refusal(reason, count, native)

    def check(self, count: int, native: str) -> str:
        """``-w v`` verifies, and submits nothing."""
        return f"qsub -w v -t 1-{count} {native} -b y /bin/true"

    def largest_array(self, reason: str, count: int) -> int:
        """``max_aj_tasks``: "you tried to submit a job with more than 75000 tasks"."""
        found = re.search(r"more than (\d+) tasks", reason)
        return int(found[1]) if found else 0

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """``qselect``."""
        from dask_gridengine.batch.sge.hosts import possible_hosts

        return possible_hosts(native, run)

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """``qconf -sq``."""
        from dask_gridengine.batch.sge.queues import queue_limit

        return queue_limit(queue, run)

    def array_running(self, run: Runner) -> int | None:
        """``max_aj_instances`` of ``qconf -sconf``; 0 is any number."""
        from dask_gridengine.batch.sge.queue_limits import array_running

        return array_running(run)

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """``qstat -j``, and where that says too little, ``qstat -f``."""
        from dask_gridengine.batch.sge.array_report import report

        return report(job, native, run)

    def suspended(self, run: Runner) -> frozenset[NodeId] | None:
        """``qstat -s s``."""
        from dask_gridengine.batch.sge.job_states import suspended

        return suspended(run)

    def find_marked(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """``qstat -j``."""
        from dask_gridengine.batch.sge.submission_id import find_marked

        return find_marked(name, submission_id, run)

    def delete_neighbours(self, job: str, first: int, last: int, run: Runner) -> bool:
        """``qdel -t``."""
        from dask_gridengine.batch.sge.qdel import delete_tasks

        delete_tasks(job, first, last, run)
        return True

    def account(self, node: NodeId, run: Runner) -> AccountingRecord | None:
        """``qacct``."""
        from dask_gridengine.batch.sge.qacct import parse_account

        return parse_account(run(["qacct", "-j", node.job, "-t", str(node.index)]))


def _slots_by_host(environ: Mapping[str, str]) -> dict[str, int]:
    """PE_HOSTFILE: a line for each host and queue, "host slots queue processors"."""
    found: dict[str, int] = {}
    try:
        lines = Path(environ["PE_HOSTFILE"]).read_text().splitlines()
        for host, slots, *_ in filter(None, map(str.split, lines)):
            found[host] = found.get(host, 0) + int(slots)
    except (KeyError, OSError, ValueError):
        return {}
    return found
