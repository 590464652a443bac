"""Limits for the time a task runs: a soft one is said, a hard one ends the task."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import time

from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.errors import TaskTimeLimit


class TaskLimits:
    """Looks at what runs, by the workers' heartbeats, which come about every second.

    Parameters
    ----------
    workers
        Those that are looked at; they know what runs there, and for how long.
    fail
        Give the futures of these tasks this error.
    soft
        Seconds after which a task is named; None is no limit.
    hard
        Seconds after which its future gets `TaskTimeLimit`; None is no limit.
    say
        Tell people.
    turn_over
        Have the node of this worker replaced, for this reason: a thread cannot be
        ended from outside, so its process has to be.
    """

    def __init__(
        self,
        workers: Callable[[], Collection[WorkerState]],
        fail: Callable[[Collection[TaskState], Exception], None],
        *,
        soft: float | None,
        hard: float | None,
        say: Callable[[str], None],
        turn_over: Callable[[str, str], None],
    ) -> None:
        self._workers, self._fail = workers, fail
        self._soft, self._hard = soft, hard
        self._say, self._turn_over = say, turn_over
        self._said: set[tuple[str, str]] = set()  # key, and address of the worker

    def look(self) -> None:
        """Name what exceeds the soft limit, and end what exceeds the hard one."""
        if self._soft is None and self._hard is None:
            return
        running: set[tuple[str, str]] = set()
        for ws in self._workers():
            for ts, seconds in running_tasks(ws).items():
                if self._hard is not None and seconds >= self._hard:
                    self._end(ts, ws)
                elif self._soft is not None and seconds >= self._soft:
                    running.add((str(ts.key), ws.address))
                    self._name(ts, ws, seconds)
        self._said &= running

    def _name(self, ts: TaskState, ws: WorkerState, seconds: float) -> None:
        if (str(ts.key), ws.address) in self._said:
            return
        self._said.add((str(ts.key), ws.address))
        self._say(
            f"task {ts.key!r} has run for {seconds:.0f} s on {ws.name} ({ws.host}),"
            f" longer than task_soft_limit={self._soft:g}"
        )

    def _end(self, ts: TaskState, ws: WorkerState) -> None:
        assert self._hard is not None
        where = f"{ws.name} ({ws.host})"
        self._fail([ts], TaskTimeLimit(str(ts.key), self._hard, where))
        why = f"task {ts.key!r} ran longer than task_hard_limit={self._hard:g}"
        self._turn_over(ws.name, why)


def running_tasks(ws: WorkerState) -> dict[TaskState, float]:
    """What runs on a worker, and for how many seconds, as it said last."""
    since = max(0.0, time() - ws.last_seen)
    return {
        ts: seconds + since
        for ts, seconds in ws.executing.items()
        if ts.processing_on is ws  # else it has ended since
    }
