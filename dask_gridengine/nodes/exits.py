"""How nodes end: from exit reports and end notices to the final state of a node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_gridengine.bootstrap.messages import ExitReport
from dask_gridengine.daemon_threads import Threads
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import AccountingRecord, EndNotice
from dask_gridengine.launchers.drmaa.job_list_poller import NO_SUCH_JOB
from dask_gridengine.nodes.diagnosis import (
    diagnose_end,
    diagnose_exit_report,
    host_in,
    short_of_address_space,
)
from dask_gridengine.nodes.host_blocklist import FAST_SECONDS
from dask_gridengine.nodes.memory_option import counts_address_space, larger_memory
from dask_gridengine.nodes.registry import NodeRecord, NodeState

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

LOG_HEAD = 256  # bytes that name the host of a node that never arrived
LOG_TAIL = 4096  # bytes of a node's log that may explain its end
LOG_SECONDS = 5.0  # for reading or removing a log
LOG_THREADS = 8  # that do so at a time
#: Causes in reports of workers that the cluster or the scheduler closed; a worker may
#: notice the loss of its connection first.
_AFTER_CLOSE = {Cause.FINISHED, Cause.LOST_CONTACT}
#: Causes which the grid's accounting may explain.
_CHECK_ACCOUNTING = {Cause.UNKNOWN, Cause.NEVER_ARRIVED, Cause.NOT_STARTED}
ACCOUNTING_SECONDS = 20.0  # until the accounting has a record
#: Seconds that a notice may come after a node's report: the list of jobs is read every
#: 5 s, and shows how a job ended when its epilog has ended.
NOTICE_SECONDS = 20.0


class ExitTracker:
    """Follows every node of a pool to its end, and finds the best explanation.

    Logs of good ends are removed, unless the user has set a directory for logs.
    """

    def __init__(self, pool: NodePool) -> None:
        self._pool, self._registry = pool, pool.registry
        self._failures, self._blocklist = pool.failures, pool.blocklist
        self._following: set[asyncio.Task[None]] = set()
        self._refining: set[asyncio.Task[None]] = set()
        self._threads = Threads(LOG_THREADS)
        self._useless_logs: list[Path] = []

    def with_advice(self, diagnosis: Diagnosis) -> Diagnosis:
        """Add the advice of the batch system, which names commands of the grid."""
        launcher = self._pool.launcher
        local = launcher.slots is not None
        return diagnosis if local else launcher.batch_system.with_advice(diagnosis)

    def _larger(self, size: int) -> str:
        return larger_memory(self._pool.options, size, of_grid=True)

    def _improve(self, diagnosis: Diagnosis, record: NodeRecord, log: str) -> Diagnosis:
        memory = record.granted_memory
        return self.with_advice(
            short_of_address_space(diagnosis, log, memory, self._larger)
        )

    def on_exit_report(self, report: ExitReport) -> bool:
        """Record why a node ends; False if the report is invalid or a duplicate."""
        record = self._registry.saying(report)
        # Only the process that got the allocation may report.
        if record is None or record.process_token != report.process_token:
            return False
        if record.exit_report is not None or record.state is NodeState.GONE:
            return False
        record.exit_report = report
        self._blocklist.responded(record.host)
        record.peak_memory = max(record.peak_memory, report.peak_memory)
        record.log_tail = report.stderr
        record.diagnosis = self._explain_report(record, report)
        self._registry.move(record, NodeState.DRAINING)
        if self._may_be_deleted(record):
            _start(self._finish_later(record), self._refining)
        else:
            # The grid's notice may take ten minutes, after a restart of its master.
            self.finish(record, record.diagnosis)
        return True

    def _may_be_deleted(self, record: NodeRecord) -> bool:
        """Whether only the end notice tells if a user has deleted this node."""
        assert record.diagnosis is not None
        drained = record.diagnosis.cause is Cause.DRAINED and not record.cancelled
        return drained and self._pool.launcher.batch_system.deletes_by_sigterm

    async def _finish_later(self, record: NodeRecord) -> None:
        """Finish a node that may be deleted, if no notice does so in time."""
        await asyncio.sleep(NOTICE_SECONDS)
        if record.diagnosis is not None:
            self.finish(record, record.diagnosis)

    def _explain_report(self, record: NodeRecord, report: ExitReport) -> Diagnosis:
        reported = self._improve(
            diagnose_exit_report(report), record, f"{report.detail}\n{report.stderr}"
        )
        closed = reported.cause in _AFTER_CLOSE
        if record.turned is not None and (record.cancelled or closed):
            return record.turned
        if record.cancelled and not record.given_up:
            # Whatever the node reports: it may have been starting a worker.
            return Diagnosis(cause=Cause.CANCELLED, source="cluster")
        if record.retired and closed:
            return Diagnosis(cause=Cause.RETIRED, source="scheduler")
        return reported

    def on_end_notice(self, notice: EndNotice) -> None:
        """Follow up the grid's notice that a node has ended."""
        record = self._registry.records.get(notice.node)
        if record is not None and record.state is not NodeState.GONE:
            _start(self._follow(record, notice), self._following)

    def declare_lost(self, record: NodeRecord, reason: Diagnosis) -> None:
        """Expect nothing more of a node, though the grid may still have it."""
        if record.over:
            return
        record.given_up, record.diagnosis = True, self.with_advice(reason)
        self._registry.move(record, NodeState.DRAINING)
        self.finish(record, record.diagnosis)

    async def drain(self, timeout: float) -> None:
        """Wait until all end notices are followed up; give up the accounting."""
        await _end(self._following, timeout)  # which may start to refine
        await _end(self._refining, 0)

    def logs_to_keep(self) -> set[str]:
        """Return the names of the logs that may hold more than the diagnosis."""
        return {
            record.log
            for record in self._registry
            if record.diagnosis is not None and record.diagnosis.cause.log_may_help
        }

    async def _follow(self, record: NodeRecord, notice: EndNotice) -> None:
        log = self._pool.log_directory / f"{record.log}.log"
        if record.given_up:
            # Also where we have deleted it: the grid hears nothing of a host that is
            # cut off, and keeps the job.
            self._blocklist.responded(record.host)
        known = record.exit_report is not None or record.cancelled or notice.cancelled
        if not known and (record.diagnosis is None or record.given_up):
            found = await self._diagnose(record, notice, log)
            # Its exit report may have come meanwhile, which is the better source; or it
            # was declared lost.
            guess = record.diagnosis
            if record.exit_report is None:
                record.diagnosis = found
                if guess is not None:
                    self._failures.correct(guess, found)
                    self._blocklist.worked(record.host)  # the host was not the reason
        elif record.diagnosis is None:
            cancelled = Diagnosis(cause=Cause.CANCELLED, source="cluster")
            record.diagnosis = record.turned or cancelled
        elif not record.over and self._may_be_deleted(record):
            record.diagnosis = self._with_notice(record.diagnosis, notice)
        record.peak_memory = record.peak_memory or notice.peak_memory
        diagnosis = record.diagnosis
        if diagnosis is None or not self._registry.move(record, NodeState.GONE):
            return
        self.finish(record, diagnosis)
        self._pool.changed.set()
        keep = self._pool.options.log_directory is not None
        if not keep and not diagnosis.cause.log_may_help:
            self._useless_logs.append(log)
            if len(self._useless_logs) == 1:
                await self._remove_logs()

    def _with_notice(self, drained: Diagnosis, notice: EndNotice) -> Diagnosis:
        """Complete the diagnosis of a node that was drained by a SIGTERM."""
        if notice.deleted and notice.reason != NO_SUCH_JOB:
            return self.with_advice(Diagnosis(cause=Cause.DELETED, source="grid"))
        detail = "; ".join(filter(None, (drained.detail, notice.reason)))
        return replace(drained, detail=detail)

    async def _remove_logs(self) -> None:
        """Remove all useless logs in one thread; thousands of nodes may end at once."""
        while logs := list(self._useless_logs):
            with contextlib.suppress(asyncio.TimeoutError, RuntimeError):
                await self._threads.call(_unlink, logs, timeout=LOG_SECONDS)
            del self._useless_logs[: len(logs)]

    def finish(self, record: NodeRecord, diagnosis: Diagnosis) -> None:
        """Count an end when it is first known, and free the worker's name."""
        if not record.over:
            record.over = True
            if diagnosis.cause.is_failure:
                self._count_failure(record, diagnosis)
            self._pool.node_ended(record)

    async def _diagnose(
        self, record: NodeRecord, notice: EndNotice, log: Path
    ) -> Diagnosis:
        head = tail = ""
        with contextlib.suppress(asyncio.TimeoutError, RuntimeError):
            # The file server may be dead, or Python is exiting and starts no threads.
            # The node is replaced all the same.
            head, tail = await self._threads.call(_read, log, timeout=LOG_SECONDS)
        record.host = record.host or host_in(head)
        record.log_tail = record.log_tail or tail

        def diagnose(account: AccountingRecord | None) -> Diagnosis:
            diagnosis = diagnose_end(
                notice,
                tail,
                started=record.arrived is not None,
                walltime=self._pool.rotation.limits.of(record),
                memory=record.granted_memory,
                counts_address_space=counts_address_space(self._pool.options),
                account=account,
                larger=self._larger,
            )
            return self._improve(diagnosis, record, tail)

        diagnosis = diagnose(None)
        if diagnosis.cause in _CHECK_ACCOUNTING:
            # In the background: the record may come half a minute after the end.
            _start(self._refine(record, diagnosis, diagnose), self._refining)
        return diagnosis

    async def _refine(
        self,
        record: NodeRecord,
        old: Diagnosis,
        diagnose: Callable[[AccountingRecord | None], Diagnosis],
    ) -> None:
        account = await self._pool.launcher.account(record.id, ACCOUNTING_SECONDS)
        if account is not None and record.diagnosis == old:
            record.host = record.host or account.host
            record.diagnosis = diagnose(account)
            self._failures.correct(old, record.diagnosis)

    def _count_failure(self, record: NodeRecord, diagnosis: Diagnosis) -> None:
        self._failures.add(record, diagnosis, self._pool.log_directory)
        now = self._registry.clock()
        if diagnosis.cause is Cause.HOST_LOST:
            self._blocklist.lost(record.host, diagnosis, now)
            return
        fast = record.arrived is None or now - record.arrived < FAST_SECONDS
        if record.working is None and fast and diagnosis.cause.may_be_host_fault:
            self._blocklist.failed(record.host, diagnosis, now)


def _start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _end(tasks: set[asyncio.Task[None]], timeout: float) -> None:
    """Wait for these tasks for so many seconds, and cancel the others."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _read(log: Path) -> tuple[str, str]:
    """Read a log's head and tail; "" if there is none."""
    try:
        with log.open("rb") as file:
            head = file.read(LOG_HEAD)
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return head.decode(errors="replace"), file.read().decode(errors="replace")
    except OSError:
        return "", ""


def _unlink(logs: Iterable[Path]) -> None:
    for log in logs:
        with contextlib.suppress(OSError):
            log.unlink()
