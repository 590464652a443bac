"""How nodes end: farewells and end notices, the logs they leave, and what is learnt."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from dask_gridengine.blocking import Threads
from dask_gridengine.bootstrap.messages import ExitReport
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import AccountingRecord, EndNotice, NodeId
from dask_gridengine.nodes.diagnosis import diagnose_end, diagnose_exit_report, host_in
from dask_gridengine.nodes.failures import Failures
from dask_gridengine.nodes.host_blocklist import FAST_SECONDS, HostBlocklist
from dask_gridengine.nodes.memory_option import in_memory_option
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

logger = logging.getLogger(__name__)

LOG_HEAD = 256  # bytes, that tell the host of a node that never arrived
LOG_TAIL = 4096  # bytes of a node's log that may explain its end
LOG_SECONDS = 5.0  # that reading or removing a log may take
LOG_THREADS = 8  # that do so at a time
#: What a worker says that was let go; it may ask after itself before it hears of it.
_WHEN_LET_GO = {Cause.FINISHED, Cause.LOST_CONTACT}
#: Where the grid's accounting may know more; and how long its record may take.
_ASK_ACCOUNTING = {Cause.UNKNOWN, Cause.NEVER_ARRIVED, Cause.NOT_STARTED}
ACCOUNTING_SECONDS = 20.0


class ExitTracker:
    """Follows every node to its end, with the best word there is on why.

    Parameters
    ----------
    roster, failures, guard
        What is told of it.
    walltime
        Seconds that were asked for; None if none were.
    keep_logs
        Whether the user wants the logs; otherwise those of good ends are removed.
    larger
        What to type for so many bytes, where the grid's memory limit was too small.
    on_over
        Told once of each node whose worker's name is free again: when it is gone, or
        given up.
    on_gone
        Told of each that is gone, which may be long after.
    """

    def __init__(
        self,
        registry: NodeRegistry,
        failures: Failures,
        blocklist: HostBlocklist,
        *,
        walltime: float | None,
        keep_logs: bool,
        larger: Callable[[int], str] = in_memory_option,
        on_over: Callable[[NodeRecord], None],
        on_gone: Callable[[NodeRecord], None],
    ) -> None:
        self._registry, self._failures, self._blocklist = registry, failures, blocklist
        self._walltime, self._keep_logs = walltime, keep_logs
        self._on_over, self._on_gone = on_over, on_gone
        self._larger = larger
        self._following, self._amending = _Tasks(), _Tasks()
        self._threads = Threads(LOG_THREADS)
        #: Where logs are; and who can ask the grid's accounting about a node.
        self.logs = Path()
        self.account: (
            Callable[[NodeId, float], Awaitable[AccountingRecord | None]] | None
        ) = None
        #: Seconds that the grid lets a node run; None while that is unknown.
        self.limit: Callable[[NodeRecord], float | None] = lambda record: None
        #: Puts in the words of the grid there is.
        self.with_advice: Callable[[Diagnosis], Diagnosis] = lambda told: told

    def exit_report(self, exit_report: ExitReport) -> bool:
        """A node says why it ends; whether that was news."""
        record = self._registry.saying(exit_report)
        # A stranger's, or a replay: only the process that got the allocation counts.
        if record is None or record.process_token != exit_report.process_token:
            return False
        if record.exit_report is not None or record.state is NodeState.GONE:
            return False
        record.exit_report = exit_report
        self._blocklist.heard(record.host)
        record.peak_memory = max(record.peak_memory, exit_report.peak_memory)
        record.log_tail = exit_report.stderr
        record.diagnosis = self.with_advice(diagnose_exit_report(exit_report))
        if record.turned is not None and (
            record.cancelled or record.diagnosis.cause in _WHEN_LET_GO
        ):
            record.diagnosis = record.turned
        elif record.cancelled and not record.given_up:
            # However it took that: it may have been in the midst of starting a worker.
            record.diagnosis = Diagnosis(cause=Cause.CANCELLED, source="cluster")
        elif record.retired and record.diagnosis.cause in _WHEN_LET_GO:
            record.diagnosis = Diagnosis(cause=Cause.RETIRED, source="scheduler")
        self._registry.move(record, NodeState.DRAINING)
        # The grid's notice may take ten minutes, after a restart of its master.
        self._finish_node(record)
        return True

    def end(self, end: EndNotice) -> None:
        """The launcher says that a node is over."""
        record = self._registry.records.get(end.node)
        if record is None or record.state is NodeState.GONE:
            return
        self._following.begin(self._follow(record, end))

    def give_up(self, record: NodeRecord, why: Diagnosis) -> None:
        """Nothing is to be expected of a node any more, though the grid may have it."""
        if record.over:
            return
        record.given_up, record.diagnosis = True, self.with_advice(why)
        self._registry.move(record, NodeState.DRAINING)
        self._finish_node(record)

    async def settle(self, timeout: float) -> None:
        """Wait until the ends that came are followed up; leave the accounting to it."""
        await self._following.end(timeout)  # which may begin to ask
        await self._amending.end(0)

    def telling(self) -> set[str]:
        """Names of the logs that may say more than we could."""
        return {
            record.log
            for record in self._registry
            if record.diagnosis is not None and record.diagnosis.cause.log_may_help
        }

    async def _follow(self, record: NodeRecord, end: EndNotice) -> None:
        log = self.logs / f"{record.log}.log"
        if record.given_up:
            # Also where we have deleted it: of a host that is cut off the grid hears
            # nothing, and the job stays.
            self._blocklist.heard(record.host)
        known = record.exit_report is not None or record.cancelled or end.cancelled
        if not known and (record.diagnosis is None or record.given_up):
            found = await self._diagnose(record, end, log)
            # Meanwhile it may have said farewell, and it knows best; or been given up.
            guessed = record.diagnosis
            if record.exit_report is None:
                record.diagnosis = found
                if guessed is not None:
                    self._failures.correct(guessed, found)
                    self._blocklist.worked(
                        record.host
                    )  # it was not its host, after all
        elif record.diagnosis is None:
            given_back = Diagnosis(cause=Cause.CANCELLED, source="cluster")
            record.diagnosis = record.turned or given_back
        record.peak_memory = record.peak_memory or end.peak_memory
        if not self._registry.move(record, NodeState.GONE):
            return
        assert record.diagnosis is not None
        self._finish_node(record)
        self._on_gone(record)
        if not self._keep_logs and not record.diagnosis.cause.log_may_help:
            with contextlib.suppress(OSError, asyncio.TimeoutError, RuntimeError):
                await self._threads.call(log.unlink, timeout=LOG_SECONDS)

    def _finish_node(self, record: NodeRecord) -> None:
        """Learn from an end, and have the name given up, when it is first known."""
        if not record.over:
            record.over = True
            assert record.diagnosis is not None
            self._learn(record, record.diagnosis)
            self._on_over(record)

    async def _diagnose(
        self, record: NodeRecord, end: EndNotice, log: Path
    ) -> Diagnosis:
        head = tail = ""
        with contextlib.suppress(asyncio.TimeoutError, RuntimeError):
            # The file server may be dead, or there are no threads at Python's exit. The
            # node is replaced all the same.
            head, tail = await self._threads.call(_read, log, timeout=LOG_SECONDS)
        record.host = record.host or host_in(head)
        record.log_tail = record.log_tail or tail

        def diagnose(account: AccountingRecord | None) -> Diagnosis:
            return self.with_advice(
                diagnose_end(
                    end,
                    tail,
                    started=record.arrived is not None,
                    walltime=self.limit(record) or self._walltime,
                    memory=record.granted_memory,
                    account=account,
                    larger=self._larger,
                )
            )

        diagnosis = diagnose(None)
        if diagnosis.cause in _ASK_ACCOUNTING and self.account is not None:
            # Its record may come half a minute after the end: nobody waits for it.
            self._amending.begin(self._refine_cause(record, diagnosis, diagnose))
        return diagnosis

    async def _refine_cause(
        self,
        record: NodeRecord,
        old: Diagnosis,
        diagnose: Callable[[AccountingRecord | None], Diagnosis],
    ) -> None:
        assert self.account is not None
        account = await self.account(record.id, ACCOUNTING_SECONDS)
        if account is not None and record.diagnosis == old:
            record.host = record.host or account.host
            record.diagnosis = diagnose(account)
            self._failures.correct(old, record.diagnosis)

    def _learn(self, record: NodeRecord, diagnosis: Diagnosis) -> None:
        if not diagnosis.cause.is_failure:
            return
        self._failures.note(record, diagnosis, self.logs)
        now = self._registry.clock()
        if diagnosis.cause is Cause.HOST_LOST:
            self._blocklist.lost(record.host, diagnosis, now)
            return
        fast = record.arrived is None or now - record.arrived < FAST_SECONDS
        if (
            record.working is not None
            or not fast
            or not diagnosis.cause.may_be_host_fault
        ):
            return
        self._blocklist.failed(record.host, diagnosis, now)


class _Tasks:
    """Tasks that run beside the cluster, held so that they are not lost."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, timeout: float) -> None:
        """Wait for them for so many seconds, and cancel those that are left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _read(log: Path) -> tuple[str, str]:
    """A log's head and tail; empty where there is none."""
    try:
        with log.open("rb") as file:
            head = file.read(LOG_HEAD)
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return head.decode(errors="replace"), file.read().decode(errors="replace")
    except OSError:
        return "", ""
