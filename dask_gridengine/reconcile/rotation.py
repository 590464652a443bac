"""Nodes that must go although they are wanted: others come first, then they drain.

Before its walltime, or on a signal of the grid, a node goes by the way of a scale-down;
but the number that is wanted stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection

from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.naming import node_of, suffixes
from dask_gridengine.nodes.fleet import GENTLE_SECONDS, Fleet
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.reconcile import walltime as expiry
from dask_gridengine.reconcile.drain import retire
from dask_gridengine.reconcile.reconciler import Reconciler
from dask_gridengine.reconcile.walltime import Step
from dask_gridengine.reconcile.walltime_limits import WalltimeLimits
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.scheduler.throttled_callback import SHARE

logger = logging.getLogger(__name__)

LOOK_EVERY, LONGEST_PAUSE = 0.5, 2.0  # seconds; longer where a look takes long
STARTS_SEEN = 8  # of the newest nodes that work, to learn how long one takes to come
TASKS_NAMED = 5  # of those that cannot finish in time; the others are counted


class WalltimeRotation:
    """Keeps the list of nodes that are on their way out although they are wanted.

    Parameters
    ----------
    fleet, upkeep
        Of the cluster.
    options
        What the user asked for.
    """

    def __init__(self, fleet: Fleet, reconciler: Reconciler, options: Options) -> None:
        self._fleet, self._reconciler, self._options = fleet, reconciler, options
        self._suffixes = suffixes(options.processes)
        #: Names whose replacements are asked for, or there; they count no more.
        self.leaving: dict[str, NodeRecord] = {}
        self._going: dict[str, asyncio.Task[None]] = {}
        self._until: dict[str, float] = {}  # when those shall be gone
        self._ended: list[asyncio.Task[None]] = []  # for nodes that are over
        self._task: asyncio.Task[None] | None = None
        self._pause = LOOK_EVERY  # until the next look
        self._task_seconds = 0.0  # that a task of the slowest kind takes at present

    def staying(self, names: Collection[str]) -> list[str]:
        """Those of these names, of nodes or workers, that count, in their order."""
        return [name for name in names if node_of(name) not in self.leaving]

    def start(self, scheduler: ClusterScheduler) -> None:
        """Begin, in the running event loop."""
        self._scheduler = scheduler
        self._limits = WalltimeLimits(self._fleet)
        self._fleet.exits.limit = self._limits.of
        self._task = asyncio.create_task(self._run(), name="gridengine turnover")

    async def stop(self) -> None:
        """Let nobody go any more. Idempotent."""
        if self._task is None:
            return
        self._limits.close()
        tasks = [self._task, *self._going.values(), *self._ended]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            began = time.thread_time()  # not what other processes take
            try:
                self.look()
            except Exception:
                logger.exception("a look at the walltimes failed")
            # Of many workers a look takes long, and the event loop has other work.
            worth = (time.thread_time() - began) / SHARE
            self._pause = min(max(LOOK_EVERY, worth), LONGEST_PAUSE)
            await asyncio.sleep(self._pause)

    def look(self) -> None:
        """Look once at all nodes that work, and begin what is due."""
        over = [name for name, record in self.leaving.items() if record.over]
        for name in over:
            del self.leaving[name]
            if going := self._going.pop(name, None):
                self._ended.append(going)
                del self._until[name]
        self._ended = [task for task in self._ended if not task.done()]
        records = self._fleet.registry.in_state(NodeState.WORKING)
        limits = [self._limits.of(record) for record in records]
        if not self._options.drain_before_walltime:
            return
        self._learn(self._workers())
        came = [r.working - r.submitted for r in records if r.working is not None]
        for record, limit in zip(records, limits, strict=True):
            crew = self._workers_of(record.worker or "")
            if crew and record.began is not None and limit is not None:
                self._check_walltime(record, crew, limit, came[-STARTS_SEEN:])

    def _workers(self) -> list[WorkerState]:
        """Those of our nodes; others may be of other kinds, or somebody else's."""
        names = [r.worker for r in self._fleet.registry.live.values() if r.worker]
        return [ws for name in names for ws in self._workers_of(name)]

    def _workers_of(self, name: str) -> list[WorkerState]:
        """The workers there are of the node of this name."""
        known, there = self._scheduler.aliases, self._scheduler.workers
        addresses = (known.get(name + suffix) for suffix in self._suffixes)
        return [there[address] for address in addresses if address in there]

    def _learn(self, workers: Collection[WorkerState]) -> None:
        """Take what the slowest kind of task takes of those that run now.

        Not the mean of them: Dask may start such a task on any node that takes tasks.
        """
        expected = self._scheduler.task_durations.expected
        prefixes = {ts.prefix for ws in workers for ts in ws.executing}
        seen = [expected(prefix) for prefix in prefixes]
        known = [seconds for seconds in seen if seconds is not None]
        if known:
            self._task_seconds = max(known)

    def _check_walltime(
        self,
        record: NodeRecord,
        crew: Collection[WorkerState],
        limit: float,
        starts: list[float],
    ) -> None:
        assert record.began is not None
        deadline = record.began + limit
        left = deadline - self._fleet.registry.clock()
        reserve = self._reserve(crew, limit)
        ready = reserve + self._pause  # it may come due just after a look
        margin = expiry.margin(limit, task=self._task_seconds, hand_over=ready)
        lead = expiry.lead(limit - margin, starts)
        due = expiry.step(left, margin=margin, lead=lead)
        if due is not Step.STAY:
            self._replace(record)
        if due is Step.DRAIN:
            detail = f"as its {limit:g} s of walltime came to their end"
            why = Diagnosis(cause=Cause.EXPIRED, detail=detail, source="cluster")
            self._drain(record, why, deadline - expiry.GRID_SLACK)

    def _reserve(self, crew: Collection[WorkerState], lifetime: float) -> float:
        return expiry.hand_over_seconds(
            lifetime,
            nbytes=sum(ws.nbytes for ws in crew),
            bandwidth=self._scheduler.bandwidth,
            longest=self._options.drain_timeout,
        )

    def _replace(self, record: NodeRecord) -> None:
        """Ask for another, at no cost for the budget: nothing was lost."""
        assert record.worker is not None
        if record.worker not in self.leaving and not record.cancelled:
            self.leaving[record.worker] = record
            self._reconciler.expect_end()

    def asked_to_go(self, name: str, signal: str) -> float:
        """The grid has sent a node a signal; how many seconds it is given."""
        record = self._fleet.registry.by_worker[name]
        why = Diagnosis(cause=Cause.DRAINED, detail=signal, source="scheduler")
        seconds = self._limits.after(signal, record, self._options.drain_timeout)
        self._replace(record)
        self._drain(record, why, self._fleet.registry.clock() + seconds)
        return seconds

    def _drain(self, record: NodeRecord, why: Diagnosis, until: float) -> None:
        assert record.worker is not None
        if record.cancelled or record.over:
            return
        if going := self._going.get(record.worker):
            if self._until[record.worker] <= until:
                return
            going.cancel()  # there is less time than it was told
        record.turned = why
        self._fleet.registry.move(record, NodeState.DRAINING)
        self._fleet.changed.set()
        self._until[record.worker] = until
        self._going[record.worker] = asyncio.create_task(
            self._go(record, record.worker, until)
        )

    async def _go(self, record: NodeRecord, name: str, until: float) -> None:
        clock = self._fleet.registry.clock
        lifetime = self._limits.of(record) or float("inf")
        self._name_unfinished(record, name, until, lifetime)
        # Again and again: nobody may be there yet to take its data, and its Nanny may
        # start another worker.
        while (crew := self._workers_of(name)) and (left := until - clock()) > 0:
            timeout = max(0.0, left - self._reserve(crew, lifetime))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    retire(self._scheduler, [name], timeout=timeout), left
                )
            await asyncio.sleep(LOOK_EVERY)
        deadline = clock() + GENTLE_SECONDS
        while not record.over and (left := deadline - clock()) > 0:
            self._fleet.changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._fleet.changed.wait(), left)
        if not record.over:
            await self._fleet.cancel([record])

    def _name_unfinished(
        self, record: NodeRecord, name: str, until: float, lifetime: float
    ) -> None:
        crew = self._workers_of(name)
        left = until - self._fleet.registry.clock() - self._reserve(crew, lifetime)
        late = []
        for ts, ran in (item for ws in crew for item in running_tasks(ws).items()):
            seconds = self._scheduler.task_durations.expected(ts.prefix)
            if seconds is not None and seconds - ran > left:
                late.append(f"{ts.key!r} (ran {ran:.0f} of about {seconds:.0f} s)")
        if late:
            more = len(late) - TASKS_NAMED
            record.unfinished = ", ".join(late[:TASKS_NAMED])
            record.unfinished += f" and {more} more" if more > 0 else ""
            self._reconciler.tell(
                f"{record} leaves in {max(0.0, left):.0f} s; it cannot finish:"
                f" {record.unfinished}, which will run again elsewhere"
            )


def running_tasks(ws: WorkerState) -> dict[TaskState, float]:
    """What runs on a worker, and for how many seconds, as it said last."""
    since = max(0.0, time.time() - ws.last_seen)
    return {
        ts: seconds + since
        for ts, seconds in ws.executing.items()
        if ts.processing_on is ws  # else it has ended since
    }
