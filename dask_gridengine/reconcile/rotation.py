"""Replace nodes before their walltime, or on a signal of the grid; then drain them.

The desired number does not change: the name of a successor takes the place of the name
of a node that leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from distributed.scheduler import TaskPrefix, TaskState, WorkerState

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.formatting import format_duration
from dask_gridengine.naming import suffixes
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile import walltime
from dask_gridengine.reconcile.drain import GENTLE_SECONDS, retire
from dask_gridengine.reconcile.walltime import WalltimeLimits
from dask_gridengine.scheduler.throttled_callback import SHARE

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

CHECK_EVERY, LONGEST_PAUSE = 0.5, 2.0  # seconds; longer where a check takes long
STARTS_SEEN = 8  # newest working nodes, whose starts tell how long a start takes
TASKS_NAMED = 5  # of those that cannot finish in time; the others are counted


class WalltimeRotation:
    """Replaces and drains the nodes of a pool that have to leave."""

    def __init__(self, pool: NodePool) -> None:
        self._pool = pool
        self._suffixes = suffixes(pool.options.processes)
        self.limits = WalltimeLimits(pool)
        #: Draining nodes by name: their tasks, and when they have to be gone.
        self._draining: dict[str, tuple[asyncio.Task[None], float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause = CHECK_EVERY
        self.task_seconds = 0.0  # how long the slowest kind of tasks takes at present

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="gridengine rotation")

    async def stop(self) -> None:
        """Drain no node any more. Idempotent."""
        self.limits.close()
        tasks = [task for task, _ in self._draining.values()]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            began = time.thread_time()  # not what other processes take
            try:
                self.check()
            except Exception:
                logger.exception("Checking the walltimes failed")
            # With many workers a check takes long, and the event loop has other work.
            worth = (time.thread_time() - began) / SHARE
            self._pause = min(max(CHECK_EVERY, worth), LONGEST_PAUSE)
            await asyncio.sleep(self._pause)

    def check(self) -> None:
        """Replace and drain the nodes that are due."""
        for name, (task, _) in list(self._draining.items()):
            if task.done():
                del self._draining[name]
        records = self._pool.registry.in_state(NodeState.WORKING)
        limits = [self.limits.of(record) for record in records]  # asks the grid
        if not self._pool.options.drain_before_walltime:
            return
        self._update_task_seconds(records)
        took = [r.working - r.submitted for r in records if r.working is not None]
        for record, limit in zip(records, limits, strict=True):
            workers = self._workers_of(record.worker or "")
            if workers and record.began is not None and limit is not None:
                self._check_walltime(record, workers, limit, took[-STARTS_SEEN:])

    def _workers_of(self, name: str) -> list[WorkerState]:
        scheduler = self._pool.cluster.scheduler
        addresses = (scheduler.aliases.get(name + end) for end in self._suffixes)
        return [scheduler.workers[a] for a in addresses if a in scheduler.workers]

    def _update_task_seconds(self, records: Collection[NodeRecord]) -> None:
        """Take what the slowest kind of the running tasks takes.

        Not their mean: Dask may start such a task on any node that takes tasks.
        """
        prefixes = {
            ts.prefix
            for record in records
            for ws in self._workers_of(record.worker or "")
            for ts in ws.executing
        }
        seen = [self._expected_seconds(prefix) for prefix in prefixes]
        self.task_seconds = max(filter(None, seen), default=self.task_seconds)

    def _expected_seconds(self, prefix: TaskPrefix) -> float:
        durations = self._pool.cluster.scheduler.task_durations
        return float(durations.expected(prefix) or 0.0)

    def _check_walltime(
        self,
        record: NodeRecord,
        workers: Collection[WorkerState],
        limit: float,
        starts: list[float],
    ) -> None:
        assert record.began is not None
        deadline = record.began + limit
        left = deadline - self._pool.registry.clock()
        # It may come due just after a check.
        reserve = self._hand_over(workers, limit) + self._pause
        margin = walltime.margin(limit, task=self.task_seconds, hand_over=reserve)
        lead = walltime.lead(limit - margin, starts)
        if left <= margin + lead and not record.cancelled:
            self._pool.replace(record)
        if left <= margin:
            detail = f"as its {format_duration(limit)} of walltime came to their end"
            why = Diagnosis(cause=Cause.EXPIRED, detail=detail, source="cluster")
            self._drain(record, why, deadline - walltime.GRID_SLACK)

    def _hand_over(self, workers: Collection[WorkerState], lifetime: float) -> float:
        return walltime.hand_over_seconds(
            lifetime,
            nbytes=sum(ws.nbytes for ws in workers),
            bandwidth=self._pool.cluster.scheduler.bandwidth,
            longest=self._pool.options.drain_timeout,
        )

    def asked_to_go(self, name: str, signal: str) -> float:
        """Replace and drain a node that got a signal; returns the seconds it has."""
        record = self._pool.registry.by_worker[name]
        why = Diagnosis(cause=Cause.DRAINED, detail=signal, source="scheduler")
        otherwise = self._pool.options.drain_timeout
        seconds = self.limits.after(signal, record, otherwise)
        if not record.cancelled and not self._may_be_deleted(record, signal):
            self._pool.replace(record)
        self._drain(record, why, self._pool.registry.clock() + seconds)
        return seconds

    def _may_be_deleted(self, record: NodeRecord, signal: str) -> bool:
        """Whether a user may have deleted this node: then it need not be replaced.

        Its end notice tells. The last working node is replaced at once, or there would
        be no place for its data.
        """
        system, registry = self._pool.launcher.batch_system, self._pool.registry
        others = [r for r in registry.in_state(NodeState.WORKING) if r is not record]
        return signal == "SIGTERM" and system.deletes_by_sigterm and bool(others)

    def _drain(self, record: NodeRecord, why: Diagnosis, until: float) -> None:
        assert record.worker is not None
        if record.cancelled or record.over:
            return
        if known := self._draining.get(record.worker):
            task, earlier = known
            if earlier <= until:
                return
            task.cancel()  # there is less time than expected
        record.turned = why
        self._pool.registry.move(record, NodeState.DRAINING)
        self._pool.changed.set()
        task = asyncio.create_task(self._go(record, record.worker, until))
        self._draining[record.worker] = task, until

    async def _go(self, record: NodeRecord, name: str, until: float) -> None:
        pool = self._pool
        clock = pool.registry.clock
        lifetime = self.limits.of(record) or float("inf")
        self._name_unfinished(record, name, until, lifetime)
        # Repeatedly: at first there may be no worker to take the data, and the Nanny
        # may start another worker.
        while (workers := self._workers_of(name)) and (left := until - clock()) > 0:
            timeout = max(0.0, left - self._hand_over(workers, lifetime))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    retire(pool.cluster.scheduler, [name], timeout=timeout), left
                )
            await asyncio.sleep(CHECK_EVERY)
        deadline = clock() + GENTLE_SECONDS
        while record.exit_report is None and not record.over:
            if (left := deadline - clock()) <= 0:
                await pool.cancel([record])
                return
            pool.changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(pool.changed.wait(), left)

    def _name_unfinished(
        self, record: NodeRecord, name: str, until: float, lifetime: float
    ) -> None:
        workers = self._workers_of(name)
        left = until - self._pool.registry.clock()
        left = max(0.0, left - self._hand_over(workers, lifetime))
        late = [
            f"{ts.key!r} (ran {format_duration(ran)} of about"
            f" {format_duration(expected)})"
            for ws in workers
            for ts, ran in running_tasks(ws).items()
            if (expected := self._expected_seconds(ts.prefix)) - ran > left
        ]
        if late:
            more = len(late) - TASKS_NAMED
            record.unfinished = ", ".join(late[:TASKS_NAMED])
            record.unfinished += f" and {more} more" if more > 0 else ""
            self._pool.reconciler.tell(
                f"{record} leaves in {format_duration(left)}; it cannot finish:"
                f" {record.unfinished}, which will run again elsewhere"
            )


def running_tasks(ws: WorkerState) -> dict[TaskState, float]:
    """The tasks that run on a worker, and for how many seconds, by its last report."""
    since = max(0.0, time.time() - ws.last_seen)
    return {
        ts: seconds + since
        for ts, seconds in ws.executing.items()
        if ts.processing_on is ws  # else it has ended since
    }
