"""Grid Engine of any vendor; ``docs/drms.md`` says which ones were run.

What differs in Univa and Altair Grid Engine is from their manuals.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import ClassVar

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.batch.commands import Runner, user_name
from dask_gridengine.batch.sge import array_report, qacct, qconf, qstat, rejection
from dask_gridengine.batch.sge import submit_options as options
from dask_gridengine.errors import ArrayTooLarge, GridFull, SubmitError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import MarkedJob


class GridEngine(BatchSystem):
    """Grid Engine. What DRMAA reports is true, but may be late."""

    name: ClassVar[str] = "gridengine"
    title: ClassVar[str] = "Grid Engine"
    unsupported: ClassVar[tuple[str, ...]] = ()
    arrays: ClassVar[bool] = True
    id_separator: ClassVar[str] = "."
    log_name: ClassVar[str] = "$JOB_ID.$SGE_TASK_ID"
    unreachable_messages: ClassVar[tuple[str, ...]] = ()  # its error class tells
    listing: ClassVar[str] = "qstat"
    deletion: ClassVar[str] = "with qdel"
    delete_command: ClassVar[str] = "qdel"
    undeletable: ClassVar[str] = "if their host is lost: qdel -f"
    if_no_library: ClassVar[str] = ""  # it depends on SGE_ROOT
    if_unavailable: ClassVar[str] = (
        "check that Grid Engine answers on this host: qhost; that this host may submit"
        " jobs: qconf -ss; and that Python has the settings of the right cell:"
        " . $SGE_ROOT/default/common/settings.sh"
    )
    site_defaults: ClassVar[str] = "by sge_request, or by a job submission verifier"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "qhost shows whether the host answers Grid Engine",
        Cause.NOT_STARTED: "qacct -j {job} has the grid's reason; ask the admins",
        Cause.REJECTED: "qsub -w v with the same options shows the wrong one",
        Cause.NEVER_ARRIVED: "qacct -j {job} may show why",
        Cause.UNKNOWN: "qacct -j {job} may show why",
        Cause.REFUSED: "the grid ran a job again: job_extra_directives=['-r n']"
        " prevents that",
    }

    submit_options = staticmethod(options.submit_options)
    exclude_hosts = staticmethod(options.exclude_hosts)
    rejection_advice = staticmethod(rejection.rejection_advice)
    requested_limit = staticmethod(options.requested_limit)
    script_directives = staticmethod(options.script_directives)
    wrap_command = staticmethod(options.wrap_command)
    hosts = staticmethod(qconf.hosts)
    queue_limit = staticmethod(qconf.queue_limit)
    array_running = staticmethod(qconf.array_running)
    report = staticmethod(array_report.report)
    suspended = staticmethod(qstat.suspended)
    find_submission = staticmethod(qstat.find_submission)
    delete_jobs = staticmethod(qstat.delete_jobs)
    delete_tasks = staticmethod(qstat.delete_tasks)
    account = staticmethod(qacct.account)

    def marked_jobs(self, run: Runner) -> list[MarkedJob]:
        return qstat.marked_jobs_of(user_name(), run)

    def submit_error(self, reason: str, count: int, native: str | None) -> SubmitError:
        """Recognise ``max_u_jobs`` and ``max_aj_tasks`` (8.1.9).

        "job rejected: only 3 jobs are allowed per user", which counts an array as one
        job, and "you tried to submit a job with more than 75000 tasks".
        """
        if GridFull.matches(reason):
            return GridFull(reason, count, native)
        # Verifies the options, and submits nothing.
        words = ["-w", "v", "-t", f"1-{count}", *(native or "").split(), "-b", "y"]
        check = "" if native is None else shlex.join(["qsub", *words, "/bin/true"])
        found = re.search(r"more than (\d+) tasks", reason)
        if found and 0 < int(found[1]) < count:
            return ArrayTooLarge(reason, count, native, check, int(found[1]))
        return SubmitError(reason, count, native, check)
