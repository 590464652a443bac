"""The Nanny of a worker on a node: it records how its worker ended."""

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

#: Milliseconds between two checks whether this process's loop is blocked. No task runs
#: here that could do that, and 40 idle nodes cost a host half a core less than with
#: Dask's 20 ms (2.4 instead of 3.5 % of one each; a start takes as long).
TICK_MS = 500.0


@dataclass(kw_only=True)
class WorkerOutcome:
    """How a node's workers ended, for its exit report; filled in while they run."""

    cause: Cause = Cause.FINISHED
    detail: str = ""
    reason: str = ""  # the last worker's own, as its Nanny received it
    exit_status: int | None = None  # of the process that ended last, as the signal is
    signal: str | None = None
    start_failed: bool = False  # whether a start failed with an error of its own
    peak_memory: int = 0  # bytes, of one of them


class NodeNanny(Nanny):  # type: ignore[misc]
    """A Nanny that records how its worker process ended, and ends at once itself.

    It relies on `_on_worker_exit_sync`, ``process.child_stop_q`` and the event
    "worker-restart-memory" of Dask's, see tests/contract/test_private_names.py.
    """

    #: How many Nannies of this process start a worker just now.
    _starting: ClassVar[int] = 0

    def __init__(self, *args: Any, outcome: WorkerOutcome, **kwargs: Any) -> None:
        self._outcome = outcome
        self._excess_memory = 0  # bytes, for which it has ended its worker
        super().__init__(*args, **kwargs)
        if tick := self.periodic_callbacks.get("tick"):
            tick.callback_time = TICK_MS

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        # With 255 Dask means that another process has reaped it.
        self._outcome.signal = signal_name(-exitcode) if exitcode < 0 else None
        self._outcome.exit_status = exitcode if 0 <= exitcode < 255 else None
        if self.status is Status.running:
            self._report_exit()
        # Dask before 2026.7 would restart a worker that never started, amid its close,
        # and neither would end.
        if self.status not in (Status.init, Status.starting):
            super()._on_worker_exit_sync(exitcode)

    def log_event(self, topic: str | list[str], msg: Any) -> None:
        """As Dask's; and note that it ends its worker for using too much memory."""
        if topic == "worker-restart-memory":  # distributed/worker_memory.py
            self._excess_memory = int(msg["rss"])
        super().log_event(topic, msg)

    def _report_exit(self) -> None:
        """Report how the worker process ended: the scheduler sees only silence."""
        outcome, excess = self._outcome, self._excess_memory
        self._excess_memory = 0
        outcome.peak_memory = max(outcome.peak_memory, excess)
        event = {
            "name": self.name,
            "signal": outcome.signal,
            "exit_status": outcome.exit_status,
            "peak_memory": outcome.peak_memory,
            "too_much_memory": excess,
            "memory_limit": self.memory_manager.memory_limit or 0,
        }
        with contextlib.suppress(Exception):  # the worker must be restarted in any case
            self.log_event(WORKER_EXIT, event)

    async def instantiate(self) -> Status:
        """Start a worker process, and unlink its semaphores' names."""
        NodeNanny._starting += 1
        try:
            status: Status = await super().instantiate()
        except Exception:
            # The worker's own error, or a timeout. Dask ends the process after that,
            # perhaps before it has ended itself, so a SIGTERM is not the cause.
            self._outcome.start_failed = True
            raise
        finally:
            NodeNanny._starting -= 1
        # Not while another worker is starting: it has yet to open its own.
        if not NodeNanny._starting:
            _unlink_semaphores()
        return status

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        """Note that the worker closes itself, and repeat the order to its process.

        The process would then wait 2 s for a thread that waits for a stop order
        (distributed/nanny.py, ``stack.callback(thread.join, timeout=2)``), and hold
        its slot of the grid for as long.
        """
        self._outcome.reason = reason
        super().close_gracefully(reason=reason)
        stop = getattr(self.process, "child_stop_q", None)
        if stop is not None:
            stop.put({"op": "stop", "reason": reason})


def _unlink_semaphores() -> None:
    """Remove from /dev/shm what this process and its workers have open by now.

    `multiprocessing` would do it when this process exits, if it is not killed. This
    runs its finalizers early; they run once. See `launchers.local.semaphores`.
    """
    registry = getattr(util, "_finalizer_registry", {})
    unlink = getattr(synchronize.SemLock, "_cleanup", None)
    for finalizer in list(registry.values()):
        if finalizer._callback is unlink:
            finalizer()
