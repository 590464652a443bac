"""The Nanny of a worker on a node: it remembers how that ended, and lets go at once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from multiprocessing import synchronize, util
from typing import Any, ClassVar

from distributed import Nanny
from distributed.core import Status

from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import signal_name

#: Between two looks whether this process's loop is held up. It runs no task that could
#: do that, and 40 nodes that have nothing to do cost a host half a core less than with
#: Dask's 20 ms (2.4 instead of 3.5 % of one each; a start takes as long).
TICK_MS = 500.0


@dataclass(kw_only=True)
class WorkerOutcome:
    """What the farewell will tell of a node's workers; filled in while they live."""

    cause: Cause = Cause.FINISHED
    detail: str = ""
    reason: str = ""  # the last worker's own, as it told its Nanny
    exit_status: int | None = None  # of the process that ended last, as the signal is
    signal: str | None = None
    told: bool = False  # whether a worker that did not start has said why itself
    peak_memory: int = 0  # bytes, of one of them


class NodeNanny(Nanny):  # type: ignore[misc]
    """A Nanny that remembers how its last worker process ended, and lets go at once."""

    #: How many of this process start a worker just now.
    _starting: ClassVar[int] = 0

    def __init__(self, *args: Any, life: WorkerOutcome, **kwargs: Any) -> None:
        self._life, self._too_much = life, 0  # bytes, for which it was ended
        super().__init__(*args, **kwargs)
        if tick := self.periodic_callbacks.get("tick"):
            tick.callback_time = TICK_MS

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        # 255 is Dask's word for "somebody else has reaped it".
        self._life.signal = signal_name(-exitcode) if exitcode < 0 else None
        self._life.exit_status = exitcode if 0 <= exitcode < 255 else None
        if self.status is Status.running:
            self._tell_of_exit()
        super()._on_worker_exit_sync(exitcode)

    def log_event(self, topic: str | list[str], msg: Any) -> None:
        """As Dask's; and remember that it ends its worker for using too much memory."""
        if topic == "worker-restart-memory":  # distributed/worker_memory.py
            self._too_much = int(msg["rss"])
        super().log_event(topic, msg)

    def _tell_of_exit(self) -> None:
        """Tell the scheduler how its worker process ended: it sees only silence."""
        too_much, self._too_much = self._too_much, 0
        self._life.peak_memory = max(self._life.peak_memory, too_much)
        event = {
            "name": self.name,
            "signal": self._life.signal,
            "exit_status": self._life.exit_status,
            "peak_memory": self._life.peak_memory,
            "too_much_memory": too_much,
            "memory_limit": self.memory_manager.memory_limit or 0,
        }
        with contextlib.suppress(Exception):  # a reporter must never be what fails
            self.log_event(WORKER_EXIT, event)

    async def instantiate(self) -> Status:
        """Start a worker process, and take the names of its semaphores away again."""
        NodeNanny._starting += 1
        try:
            status: Status = await super().instantiate()
        except Exception:
            # Its own words, or a timeout's. Dask ends its process after them, perhaps
            # before that has ended itself, so a SIGTERM says nothing.
            self._life.told = True
            raise
        finally:
            NodeNanny._starting -= 1
        # Not while another's worker is on its way: it has yet to open its own.
        if not NodeNanny._starting:
            _unlink_semaphores()
        return status

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        """The worker says that it is closing by itself.

        Its process would then wait 2 s for a thread that waits for a stop order
        (distributed/nanny.py, ``stack.callback(thread.join, timeout=2)``), and hold
        its slot of the grid for as long. The order repeats what is going on anyway.
        """
        self._life.reason = reason
        super().close_gracefully(reason=reason)
        stop = getattr(self.process, "child_stop_q", None)
        if stop is not None:
            stop.put({"op": "stop", "reason": reason})


def _unlink_semaphores() -> None:
    """Remove from /dev/shm what this process and its workers have open by now.

    `multiprocessing` would do it when this process exits, if it is not killed. This
    runs its finalizers early; they run once. See `launchers.semaphores`.
    """
    registry = getattr(util, "_finalizer_registry", {})
    unlink = getattr(synchronize.SemLock, "_cleanup", None)
    for finalizer in list(registry.values()):
        if finalizer._callback is unlink:
            finalizer()
