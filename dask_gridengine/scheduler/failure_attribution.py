"""Count a worker's death against a task only if the task may have caused it.

Dask gives a task up (`KilledWorker`) after ``allowed_failures`` deaths of workers that
had it. Where a hundred jobs are deleted at once, or a node with eight workers ends, a
task moves from one dying worker to the next within milliseconds and would be given up
for deaths that it did not cause. The causes are known a moment later.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from distributed.scheduler import KilledWorker, TaskState, WorkerState

from dask_gridengine.scheduler.exception_notes import annotate

if TYPE_CHECKING:
    from dask_gridengine.cluster.failure_info import ClusterFailureInfo
    from dask_gridengine.scheduler.scheduler import ClusterScheduler

logger = logging.getLogger(__name__)

#: Tasks whose deaths are remembered; the oldest are forgotten first.
MAX_SUSPECTS = 10_000
#: Seconds to wait for the cause of a death. A Nanny reports it within milliseconds,
#: Grid Engine 1 to 2 s after the end of a job (measured).
CAUSE_TIMEOUT = 5.0
CHECK_INTERVAL = 0.05
#: A held task is restricted to this worker, which does not exist.
NO_WORKER = "held-until-the-cause-is-known"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of some workers' deaths."""

    excluded: Collection[str] = ()  # workers whose death no task has caused
    pending: bool = False  # whether the cause of another's death is not yet known


class _Held:
    """A task for which Dask chooses no worker until it is released."""

    def __init__(self, ts: TaskState, last_worker: WorkerState) -> None:
        self.task, self.last_worker = ts, last_worker
        self.deadline = monotonic() + CAUSE_TIMEOUT
        self._workers, self._hosts = ts.worker_restrictions, ts.host_restrictions
        self._loose = ts.loose_restrictions
        ts.worker_restrictions, ts.host_restrictions = {NO_WORKER}, None
        ts.loose_restrictions = False

    def release(self) -> None:
        """Restore the task's own restrictions."""
        self.task.worker_restrictions = self._workers
        self.task.host_restrictions = self._hosts
        self.task.loose_restrictions = self._loose


class FailureAttribution:
    """Hold a task that has lost too many workers until the causes are known.

    A held task is not tried on another worker: if it does kill them, all workers could
    be gone before the first cause is known.
    """

    def __init__(self, scheduler: ClusterScheduler, info: ClusterFailureInfo) -> None:
        self._scheduler, self._info = scheduler, info
        # Dask fails a task before it calls any plugin, so it must never do so itself.
        self._allowed = scheduler.allowed_failures
        scheduler.allowed_failures = sys.maxsize
        self._workers: dict[str, WorkerState] = dict(scheduler.workers)
        self._suspects: OrderedDict[Any, list[str]] = OrderedDict()
        self._held: dict[Any, _Held] = {}
        self._deciding: asyncio.Task[None] | None = None

    def suspects_of(self, key: Any) -> list[str]:
        """Return the names of the workers whose death counts against this task."""
        return self._suspects.get(key, [])

    def add_worker(self, address: str) -> None:
        """Remember the worker: it is unknown to Dask when its removal is logged."""
        self._workers[address] = self._scheduler.workers[address]

    def remove_worker(self, event: dict[str, Any]) -> None:
        """Process a removal of a worker that Dask logs.

        Dask logs it after it has counted the death, and before it looks for other
        workers: a task that is restricted now is not sent to any.
        """
        if (ws := self._workers.pop(event["worker"], None)) is None:
            return
        self._info.missing(ws.name, expected=event["expected"])
        if not event["expected"]:
            self._count_death(ws, event["processing-tasks"])

    def close(self) -> None:
        """Stop to wait for causes."""
        if self._deciding is not None:
            self._deciding.cancel()

    def _count_death(self, ws: WorkerState, keys: Collection[Any]) -> None:
        for key in keys:
            # Dask has counted this death already: of a new task it is the only one.
            if self._scheduler.tasks[key].suspicious <= 1:
                self._suspects.pop(key, None)
            self._suspects.setdefault(key, []).append(ws.name)
            self._suspects.move_to_end(key)
            if len(self._suspects[key]) > self._allowed:
                ts = self._scheduler.tasks[key]
                self._discount(ts)
                if len(self._suspects[key]) > self._allowed:
                    self._held[key] = _Held(ts, ws.clean())
        while len(self._suspects) > MAX_SUSPECTS:
            self._suspects.popitem(last=False)
        if self._held and (self._deciding is None or self._deciding.done()):
            self._deciding = asyncio.create_task(self._decide_all())

    def _discount(self, ts: TaskState) -> bool:
        """Drop deaths that the task did not cause; return whether others are open."""
        names = self._suspects.get(ts.key, [])
        evidence = self._info.evidence(names)
        for name in evidence.excluded:
            names.remove(name)
        ts.suspicious = len(names)
        return evidence.pending

    async def _decide_all(self) -> None:
        while self._held:
            for key, held in list(self._held.items()):
                self._decide(key, held)
            await asyncio.sleep(CHECK_INTERVAL)

    def _decide(self, key: Any, held: _Held) -> None:
        ts = held.task
        cancelled = self._scheduler.tasks.get(key) is not ts
        if cancelled or ts.state not in ("released", "waiting", "no-worker"):
            del self._held[key]
            held.release()
            return
        pending = self._discount(ts)
        exceeded = len(self.suspects_of(key)) > self._allowed
        waits = ts.state != "no-worker"  # for dependencies that were lost with it
        if exceeded and (waits or (pending and monotonic() < held.deadline)):
            return
        del self._held[key]
        held.release()
        if exceeded:
            self._fail(ts, held.last_worker)
        elif ts.state == "no-worker":
            stimulus = f"did-not-kill-its-workers-{time()}"
            self._scheduler.transitions({key: "processing"}, stimulus_id=stimulus)

    def _fail(self, ts: TaskState, last_worker: WorkerState) -> None:
        names = self.suspects_of(ts.key)
        # With allowed_failures=0 the caller handles each error: gridengine finds the
        # item that caused it, and raises an error for that item alone.
        level = logging.ERROR if self._allowed else logging.DEBUG
        logger.log(
            level, "Task %s failed: %d workers died running it", ts.key, len(names)
        )
        error = KilledWorker(ts.key, last_worker, self._allowed)
        annotate(error, self._info.deaths(names))
        self._scheduler.fail([ts], error)
