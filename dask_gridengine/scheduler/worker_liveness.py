"""When workers are silent: not while this process or their node was suspended.

Dask notes by the wall clock when a worker sent its last heartbeat. A notebook that was
suspended for longer than Dask's limit, or a step of that clock, would end all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from distributed import Scheduler
from distributed.core import Status
from distributed.metrics import time
from distributed.scheduler import WorkerState, heartbeat_interval
from tornado.ioloop import PeriodicCallback

from dask_gridengine.clock import steady_time

CHECK_INTERVAL = 1.0  # seconds between comparisons of the clocks
TOLERANCE = 1.0  # seconds by which a busy event loop is late


@dataclass
class _Suspension:
    """A worker of a suspended node."""

    paused_here: bool  # whether it is paused for this reason alone
    last_seen: float


class WorkerLiveness:
    """Correct the times of the last heartbeats, and find silent workers.

    `on_resumed` is called with the name of a worker that sent a heartbeat after its
    node was suspended.
    """

    def __init__(
        self, scheduler: Scheduler, on_resumed: Callable[[str], object]
    ) -> None:
        self._scheduler, self._on_resumed = scheduler, on_resumed
        self._suspended: dict[str, _Suspension] = {}  # by address
        self._checked = steady_time()
        self._offset = time() - self._checked  # of the wall clock
        callback = PeriodicCallback(self.correct_last_seen, 1000 * CHECK_INTERVAL)
        scheduler.periodic_callbacks["gridengine-clocks"] = callback

    def silent(self, seconds: float) -> list[str]:
        """Return names of workers without a heartbeat in the last `seconds`."""
        workers = self._scheduler.workers.values()
        since = time() - max(seconds, 3 * heartbeat_interval(len(workers)))
        return [ws.name for ws in workers if ws.last_seen < since]

    def set_suspended(self, names: Collection[str], suspended: bool) -> None:
        """Send workers whose node the grid has suspended no new tasks until it resumes.

        They keep their tasks and results.
        """
        addresses = filter(None, map(self._scheduler.aliases.get, names))
        for ws in filter(None, map(self._scheduler.workers.get, addresses)):
            if not suspended:
                self._resume(ws)
            elif ws.address not in self._suspended:
                running = ws.status is Status.running
                self._suspended[ws.address] = _Suspension(running, ws.last_seen)
                if running:
                    self._set_status(ws, Status.paused)

    def _resume(self, ws: WorkerState) -> None:
        suspension = self._suspended.pop(ws.address, None)
        ws.last_seen = time()
        # It may have begun to leave meanwhile, for another reason.
        if suspension and suspension.paused_here and ws.status is Status.paused:
            self._set_status(ws, Status.running)

    def correct_last_seen(self) -> None:
        """Correct the times for suspensions of this process and steps of the clock."""
        now, wall = steady_time(), time()
        suspended = now - self._checked - CHECK_INTERVAL
        step = wall - now - self._offset
        self._checked, self._offset = now, wall - now
        self._find_resumed()
        seconds = sum(s for s in (suspended, step) if s > TOLERANCE)
        if seconds or step < -TOLERANCE:
            for ws in self._scheduler.workers.values():
                # Never in the future: a heartbeat may have come since.
                self._set_last_seen(ws, min(ws.last_seen + seconds, wall))

    def spare_suspended(self) -> None:
        """Have Dask not count the silence of suspended nodes."""
        self.correct_last_seen()
        for ws in self._suspended_workers():
            self._set_last_seen(ws, time())

    def _find_resumed(self) -> None:
        """Resume workers that sent a heartbeat after their node was suspended."""
        for ws in self._suspended_workers():
            # To resume one worker of a node resumes the others, too.
            suspension = self._suspended.get(ws.address)
            if suspension and ws.last_seen > suspension.last_seen:
                self._resume(ws)
                self._on_resumed(ws.name)

    def _suspended_workers(self) -> list[WorkerState]:
        workers = self._scheduler.workers
        for gone in self._suspended.keys() - workers.keys():
            del self._suspended[gone]
        return [workers[address] for address in self._suspended]

    def _set_last_seen(self, ws: WorkerState, when: float) -> None:
        ws.last_seen = when
        if suspension := self._suspended.get(ws.address):
            suspension.last_seen = when

    def _set_status(self, ws: WorkerState, status: Status) -> None:
        stimulus = f"suspended-by-the-grid-{time()}"
        self._scheduler.handle_worker_status_change(status, ws, stimulus)
