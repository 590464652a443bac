"""Check the nodes of a pool regularly: silence, hosts, queue places not needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import dask
from dask.utils import parse_timedelta

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.suspensions import Suspensions

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

TICK = 2.0  # seconds between checks while nothing happens
#: An event loop that did nothing for this many seconds was suspended (SIGSTOP, a
#: closed lid) or blocked. Silence of nodes in that time means nothing.
SUSPEND_THRESHOLD = 5 * TICK
#: Seconds after a suspension in which failures are attributed to it.
RESUME_GRACE = 20.0
#: A node that has worked for this many seconds shows that nodes can work.
WORKING_SECONDS = 10.0
#: Seconds between requests for the hosts where nodes could run.
HOSTS_AGAIN = 300.0
#: Seconds of silence in a state before the grid is asked, and twice as many before the
#: node is given up. Arrived nodes send a hello every 30 s; importing nodes may wait for
#: a slow file server.
SILENCE = {NodeState.ARRIVED: 120.0, NodeState.IMPORTING: 300.0}


class NodeMonitor:
    """One loop per pool, woken by events and by a tick; each turn ends with a pass."""

    def __init__(self, pool: NodePool) -> None:
        self._pool, self._clock = pool, pool.registry.clock
        #: Seconds a worker may be missing at the scheduler while its node lives.
        self.missed = parse_timedelta(
            dask.config.get("distributed.deploy.lost-worker-timeout")
        )
        self.suspensions = Suspensions(pool)
        self._idle_slots, self._idle_since = 0, 0.0  # the fewest since then
        self._excluded: set[str] = set()  # hosts whose exclusion has been reported
        self._hosts_due = float("-inf")
        self._last_check = self._clock()
        self._resumed_at = float("-inf")
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.stopped = False

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._last_check = self._clock()
        self._task = asyncio.create_task(self._run(), name="gridengine monitor")

    async def stop(self) -> None:
        """Check nothing any more. Idempotent."""
        self.stopped = True
        if self._task is not None:
            # `wait_for` may swallow this (python/cpython#86296), hence the flag.
            self._task.cancel()
            self._event.set()
            await asyncio.wait([self._task])
        await self.suspensions.stop()

    def wake(self) -> None:
        """Check at once."""
        self._event.set()

    async def _run(self) -> None:
        while not self.stopped:
            with contextlib.suppress(asyncio.TimeoutError):
                pause = min(TICK, self._pool.reconciler.due())
                await asyncio.wait_for(self._event.wait(), pause)
            self._event.clear()
            if self.stopped:
                return
            try:
                await self.check()
            except Exception:
                logger.exception("Checking the nodes failed")
            # Not awaited: a grid that does not answer must not stop the checks.
            self._pool.cluster._request_pass()

    async def check(self) -> None:
        """Check everything once."""
        pool, now = self._pool, self._clock()
        suspended, self._last_check = now - self._last_check, now
        if suspended > SUSPEND_THRESHOLD:
            pool.cluster._on_resume(suspended)
            self._excuse(suspended)
            self._resumed_at = now
        else:
            await self._check_silence(now)
        if now - self._resumed_at < RESUME_GRACE:
            # The nodes that end now could not reach *this process*.
            pool.reconciler.note_success(resumed=True)
        pool.reports.update()
        await self._check_hosts()
        if any(
            record.state is NodeState.WORKING and now - record.since > WORKING_SECONDS
            for record in pool.registry.live.values()
        ):
            pool.reconciler.note_success()
        pool.reconciler.report_deleted()
        await self._give_back_idle_slots()
        deleted = pool.reconciler.deleted_nodes and not pool.wanted
        if deleted or pool.reconciler.persistent_failure is not None:
            pool.cluster._on_persistent_failure(pool)
        # Slow answers of the grid are not a suspension.
        self._last_check = self._clock()

    def _excuse(self, seconds: float) -> None:
        """Do not count as silence what this process could not receive."""
        for record in self._pool.registry.live.values():
            if record.suspended is None:
                self._pool.registry.excuse(record, seconds)
            else:
                record.suspended += seconds  # `resume` excuses the rest

    async def _check_silence(self, now: float) -> None:
        pool = self._pool
        lost: list[NodeRecord] = []
        ask: list[NodeRecord] = []
        for record in list(pool.registry.live.values()):
            silent = silent_for(record, now, self.missed)
            if silent is None or record.suspended is not None:
                continue
            seconds, limit = silent
            if seconds >= limit:
                lost.append(record)
            elif seconds >= limit / 3 and record.asked is None:
                record.asked = now
                ask.append(record)
        await self.suspensions.check(ask)
        if ask:
            # The grid may know better, and then its notice is here before the limit.
            await pool.launcher.recheck([record.id for record in ask])
        if not lost:
            return
        live = pool.registry.live.values()
        heard = {r.host for r in live if r.state is NodeState.WORKING and not r.lost}
        for record in lost:
            # A lost host takes all its nodes with it.
            diagnosis = diagnose_silence(record, now, record.host in heard)
            pool.exits.declare_lost(record, diagnosis)
        await pool.cancel(lost)

    async def _check_hosts(self) -> None:
        pool, blocklist = self._pool, self._pool.blocklist
        if not blocklist.suspects():
            self._excluded.clear()
            return
        if blocklist.possible is None and self._clock() >= self._hosts_due:
            self._hosts_due = self._clock() + HOSTS_AGAIN
            blocklist.possible = await pool.launcher.hosts(pool.request.native)
        now = self._clock()
        excluded = blocklist.blocked(now)
        for host, text in zip(excluded, blocklist.sentences(now), strict=True):
            if host not in self._excluded:
                pool.reconciler.tell(text)
        self._excluded = set(excluded)

    async def _give_back_idle_slots(self) -> None:
        """Delete the newest queued nodes that were not needed for long.

        A place may be worth hours, so a lull costs none: the next rise uses it, or its
        node is not needed when it arrives. But a place that is kept for ever misleads
        the scheduler of the grid and other users of the queue.
        """
        pool, now, grace = self._pool, self._clock(), self._pool.options.place_grace
        if pool.arrays.in_flight:
            return
        idle = max(0, pool.registry.expected - len(pool.registry.unbound))
        if not self._idle_slots:
            self._idle_slots, self._idle_since = idle, now
        self._idle_slots = min(self._idle_slots, idle)
        if not self._idle_slots or now - self._idle_since < grace:
            return
        due = pool.registry.in_state(NodeState.QUEUED)[-self._idle_slots :]
        self._idle_slots = 0  # the time of the others begins again
        if due:
            pool.reconciler.tell(
                f"Deleted {plural(len(due), 'node')} that queued and were not needed"
                f" for {format_duration(grace)} (60 times idle-grace)",
                logging.INFO,
            )
            await pool.cancel(due)


def silent_for(
    record: NodeRecord, now: float, missed: float
) -> tuple[float, float] | None:
    """Seconds of a node's silence, and its limit; None if it need not send anything.

    `missed` is the limit for a worker that the scheduler misses while its node lives.
    """
    if record.missing and not record.ending:
        first = min(record.missing.values())
        # Its Nannies have reported it, or its other workers are there.
        if record.present or record.missing.keys() <= record.restarting:
            return now - first, 2 * SILENCE[NodeState.IMPORTING]
        assert record.lost is not None
        return now - record.lost, missed
    if record.state in SILENCE:
        heard = max(record.since, record.heard or 0.0)
        return now - heard, 2 * SILENCE[record.state]
    return None


def diagnose_silence(record: NodeRecord, now: float, host_is_heard: bool) -> Diagnosis:
    """Diagnose a node that has been silent for too long."""
    if not record.missing:
        detail = (
            f"{format_duration(now - record.since)} {record.state.value}, and silent"
        )
        return Diagnosis(cause=Cause.NO_START, detail=detail, source="bootstrap")
    if record.lost is None:
        name, since = min(record.missing.items(), key=lambda item: item[1])
        detail = (
            f"its worker {name} has been missing for {format_duration(now - since)}"
        )
        return Diagnosis(cause=Cause.NO_START, detail=detail, source="scheduler")
    detail = (
        "the scheduler has missed its worker for"
        f" {format_duration(now - record.lost)}, the node is silent, and the grid"
        " reports no end"
    )
    if host_is_heard:
        detail += "; other nodes on its host are not silent"
        return Diagnosis(cause=Cause.UNKNOWN, detail=detail, source="scheduler")
    return Diagnosis(cause=Cause.HOST_LOST, detail=detail, source="scheduler")
