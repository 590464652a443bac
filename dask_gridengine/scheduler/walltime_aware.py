"""Dask's Scheduler, with an eye on how long each worker will still be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed import Scheduler
from distributed.scheduler import TaskPrefix, TaskState, WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.scheduler.task_durations import Durations, computing

#: By how much a task may take longer than the longest of its kind.
CAUTION = 1.25


class WalltimeAwareScheduler(Scheduler):  # type: ignore[misc]
    """Starts no task on a worker that will be gone before the task can be done.

    The hooks are where Dask chooses a worker: `valid_workers`, which work stealing
    asks, too, and the two choices for root tasks, which do not ask it. Restrictions of
    tasks would be the other way; they stay with a task, and a worker's time does not.

    Attributes
    ----------
    ends
        Name of worker to when its tasks must be done, by `steady_time`. Workers
        that are not in it stay for ever.
    fresh
        Pool to the seconds that a new worker of it has for tasks. What takes longer
        than in any is started anywhere: to wait would not help it.
    on_asked_to_go
        Told of the signals that nodes get, see `asked_to_go`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ends: dict[str, float] = {}
        self.fresh: dict[str, float] = {}
        self.on_asked_to_go: Callable[[str, str], float] | None = None
        self.durations = Durations()
        self._rootish: TaskState | None = None  # just now, and not yet decided on
        self.handlers["gridengine_asked_to_go"] = self.asked_to_go

    async def asked_to_go(self, name: str, signal: str) -> float:
        """A node has been asked to go by the grid; how many seconds it has.

        Raises
        ------
        LookupError
            If nobody here cares for this node; it has to help itself.
        """
        if self.on_asked_to_go is None:
            raise LookupError(name)
        return self.on_asked_to_go(name, signal)

    def stimulus_task_finished(
        self, worker: str, stimulus_id: str, key: Any, *args: Any, **said: Any
    ) -> Any:
        """As Dask's; and remember how long the task took."""
        if ts := self.tasks.get(key):
            seconds = computing(said.get("startstops") or ())
            self.durations.note(ts.prefix.name, seconds)
        return super().stimulus_task_finished(worker, stimulus_id, key, *args, **said)

    def duration(self, prefix: TaskPrefix) -> float | None:
        """Seconds a task of this kind may take; None if none has been seen to run."""
        longest = self.durations.longest(prefix.name)
        # Twice, as Dask guesses where one runs for long and none has ended.
        running = 2.0 * prefix.max_exec_time if prefix.duration_average < 0 else 0.0
        if longest is None and running <= 0:
            return None
        return max(longest or 0.0, running)

    def fits(self, ts: TaskState, ws: WorkerState) -> bool:
        """Whether a worker is there for as long as a task takes, if that is known."""
        end = self.ends.get(ws.name)
        if end is None:
            return True
        needed = self._needed(ts)
        return needed is None or needed <= end - steady_time()

    def _needed(self, ts: TaskState) -> float | None:
        seconds = self.duration(ts.prefix)
        if seconds is None:
            return None
        needed = CAUTION * seconds
        return None if needed > max(self.fresh.values(), default=needed) else needed

    def _fits_all(self, ts: TaskState) -> bool:
        needed = self._needed(ts) if self.ends else None
        return needed is None or needed <= min(self.ends.values()) - steady_time()

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """As Dask's, without those that will be gone too soon."""
        valid: set[WorkerState] | None = super().valid_workers(ts)
        if self._fits_all(ts):
            return valid
        among = self.running if valid is None else valid
        return {ws for ws in among if self.fits(ts, ws)}

    def is_rootish(self, ts: TaskState) -> bool:
        """As Dask's; and remember whom the choice that follows is for."""
        rootish = bool(super().is_rootish(ts))
        self._rootish = ts if rootish else None
        return rootish

    def decide_worker_rootish_queuing_enabled(self) -> WorkerState | None:
        """As Dask's, among those that stay long enough; None leaves it in the queue."""
        # Dask calls this for a task it has just found rootish, or the queue's first.
        ts, self._rootish = self._rootish, None
        if ts is None and self.queued:
            ts = self.queued.peek()
        if ts is None or self._fits_all(ts):
            return super().decide_worker_rootish_queuing_enabled()
        return min(
            (ws for ws in self.idle_task_count if self.fits(ts, ws)),
            key=lambda ws: len(ws.processing) / ws.nthreads,
            default=None,
        )

    def decide_worker_rootish_queuing_disabled(
        self, ts: TaskState
    ) -> WorkerState | None:
        """As Dask's, or among those that stay long enough."""
        self._rootish = None
        ws: WorkerState | None = super().decide_worker_rootish_queuing_disabled(ts)
        if ws is None or self.fits(ts, ws):
            return ws
        return min(
            (ws for ws in self.running if self.fits(ts, ws)),
            key=lambda ws: self.worker_objective(ts, ws),
            default=None,
        )

    def misfits(self, ws: WorkerState) -> list[TaskState]:
        """What a worker has been sent, has not begun, and cannot finish any more."""
        if ws.name not in self.ends:
            return []
        return [
            ts
            for ts in ws.processing
            if ts not in ws.executing and not self.fits(ts, ws)
        ]
