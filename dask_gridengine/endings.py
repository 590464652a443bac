"""How nodes end: farewells and end notices, the logs they leave, and what is learnt."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from dask_gridengine.allocation import Farewell
from dask_gridengine.causes import Cause, Diagnosis
from dask_gridengine.diagnosis import diagnose_end, diagnose_farewell, host_in
from dask_gridengine.failures import Failures
from dask_gridengine.guard import FAST_SECONDS, HostGuard
from dask_gridengine.launchers.base import Account, NodeEnd, NodeId
from dask_gridengine.nodes import NodeRecord, NodeState, Roster

logger = logging.getLogger(__name__)

LOG_HEAD = 256  # bytes, that tell the host of a node that never arrived
LOG_TAIL = 4096  # bytes of a node's log that may explain its end
_DIRECTLY = {Cause.UNKNOWN, Cause.NEVER_ARRIVED, Cause.NOT_STARTED}  # ask accounting


class Endings:
    """Follows every node to its end, with the best word there is on why.

    Parameters
    ----------
    roster, failures, guard
        What is told of it.
    walltime
        Seconds a node may run; None is not known.
    keep_logs
        Whether the user wants the logs; otherwise those of good ends are removed.
    on_over
        Told once of each node whose worker's name is free again: when it is gone, or
        given up.
    """

    def __init__(
        self,
        roster: Roster,
        failures: Failures,
        guard: HostGuard,
        *,
        walltime: float | None,
        keep_logs: bool,
        on_over: Callable[[NodeRecord], None],
    ) -> None:
        self._roster, self._failures, self._guard = roster, failures, guard
        self._walltime, self._keep_logs = walltime, keep_logs
        self._on_over = on_over
        self._reading: set[asyncio.Task[None]] = set()
        self._given_up: set[NodeId] = set()
        #: Where logs are; and who can ask the grid's accounting about a node.
        self.logs = Path()
        self.account: Callable[[NodeId], object] | None = None

    def farewell(self, farewell: Farewell) -> bool:
        """A node says why it ends; whether that was news."""
        record = self._roster.records.get(NodeId(farewell.job, farewell.index))
        # A stranger's, or a replay: only the process that got the allocation counts.
        if record is None or record.incarnation != farewell.incarnation:
            return False
        if record.farewell is not None or record.state is NodeState.GONE:
            return False
        record.farewell = farewell
        record.peak_memory = max(record.peak_memory, farewell.peak_memory)
        record.last_words = farewell.stderr
        record.diagnosis = diagnose_farewell(farewell)
        if record.retired and record.diagnosis.cause is Cause.FINISHED:
            record.diagnosis = Diagnosis(cause=Cause.RETIRED, source="scheduler")
        self._roster.move(record, NodeState.DRAINING)
        return True

    def end(self, end: NodeEnd) -> None:
        """The launcher says that a node is over."""
        record = self._roster.records.get(end.node)
        if record is None or record.state is NodeState.GONE:
            return
        task = asyncio.ensure_future(self._follow(record, end))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    def give_up(self, record: NodeRecord, why: Diagnosis) -> None:
        """Nothing is to be expected of a node any more, though the grid may have it."""
        if record.id in self._given_up or record.state is NodeState.GONE:
            return
        self._given_up.add(record.id)
        record.diagnosis = why
        self._learn(record, why)
        self._roster.move(record, NodeState.DRAINING)
        self._on_over(record)

    async def settle(self, timeout: float) -> None:
        """Wait until the ends that came are followed up."""
        if self._reading:
            await asyncio.wait(self._reading, timeout=timeout)

    def telling(self) -> set[str]:
        """Nodes whose log may say more than we could."""
        return {
            str(record.id)
            for record in self._roster
            if record.diagnosis is not None and record.diagnosis.cause.log_says_more
        }

    async def _follow(self, record: NodeRecord, end: NodeEnd) -> None:
        log = self.logs / f"{record.id}.log"
        known = record.farewell is not None or record.cancelled or end.cancelled
        if not known and (record.diagnosis is None or record.id in self._given_up):
            record.diagnosis = await self._diagnose(record, end, log)
        elif record.diagnosis is None:
            record.diagnosis = Diagnosis(cause=Cause.CANCELLED, source="cluster")
        record.peak_memory = record.peak_memory or end.peak_memory
        if not self._roster.move(record, NodeState.GONE):
            return
        assert record.diagnosis is not None
        given_up = record.id in self._given_up
        if not given_up:
            self._learn(record, record.diagnosis)
        self._given_up.discard(record.id)
        if not self._keep_logs and not record.diagnosis.cause.log_says_more:
            with contextlib.suppress(OSError):
                log.unlink(missing_ok=True)
        if not given_up:
            self._on_over(record)

    async def _diagnose(self, record: NodeRecord, end: NodeEnd, log: Path) -> Diagnosis:
        head, tail = await asyncio.to_thread(_read, log)
        record.host = record.host or host_in(head)
        record.last_words = record.last_words or tail

        def diagnose(account: Account | None) -> Diagnosis:
            return diagnose_end(
                end,
                tail,
                started=record.arrived is not None,
                walltime=self._walltime,
                memory=record.granted_memory,
                account=account,
            )

        diagnosis = diagnose(None)
        if diagnosis.cause in _DIRECTLY and self.account is not None:
            account = await self.account(record.id)  # type: ignore[misc]
            if isinstance(account, Account):
                record.host = record.host or account.host
                diagnosis = diagnose(account)
        return diagnosis

    def _learn(self, record: NodeRecord, diagnosis: Diagnosis) -> None:
        if not diagnosis.cause.is_failure:
            return
        self._failures.note(record, diagnosis, self.logs)
        now = self._roster.clock()
        fast = record.arrived is None or now - record.arrived < FAST_SECONDS
        if (
            record.working is not None
            or not fast
            or not diagnosis.cause.may_be_the_host
        ):
            return
        if self._guard.failed(record.host, diagnosis, now):
            logger.warning("%s", next(self._guard.sentences(now), ""))


def _read(log: Path) -> tuple[str, str]:
    """A log's head and tail; empty where there is none."""
    try:
        with log.open("rb") as file:
            head = file.read(LOG_HEAD)
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return head.decode(errors="replace"), file.read().decode(errors="replace")
    except OSError:
        return "", ""
