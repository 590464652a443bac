"""A node's life as a Dask worker: start it, drain it when asked, say how it ended.

This is the only module of a node that imports Dask.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from dataclasses import dataclass
from multiprocessing import synchronize, util
from pathlib import Path
from typing import Any

import dask
import distributed.utils
from distributed import Nanny, Worker
from distributed.core import Status
from distributed.security import Security
from tornado.ioloop import PeriodicCallback

from dask_gridengine.allocation import WORKER_EXIT, Allocation, TLSIdentity
from dask_gridengine.causes import Cause
from dask_gridengine.launchers.base import signal_name

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0  # for a retired worker to close by itself
ANSWER_SECONDS = 2.0  # for the cluster to say that it lets a node go
SAMPLE_MS = 1000  # between two looks at the worker's peak memory


@dataclass(kw_only=True)
class Life:
    """What the farewell will tell of a worker; filled in while it lives."""

    cause: Cause = Cause.FINISHED
    detail: str = ""
    reason: str = ""  # the worker's own, as it told its Nanny
    exit_status: int | None = None
    signal: str | None = None
    peak_memory: int = 0  # bytes


class NodeNanny(Nanny):  # type: ignore[misc]
    """A Nanny that remembers how its last worker process ended, and lets go at once."""

    def __init__(self, *args: Any, life: Life, **kwargs: Any) -> None:
        self._life, self._too_much = life, 0  # bytes, for which it was ended
        super().__init__(*args, **kwargs)

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
        status: Status = await super().instantiate()
        if status is Status.running:
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


def choose_start_method(*, forked: bool) -> None:
    """Tell Dask how to start worker processes.

    Parameters
    ----------
    forked
        Whether `dask_gridengine.template` runs; otherwise they are spawned.
    """
    method = "forkserver" if forked else "spawn"
    dask.config.set({"distributed.worker.multiprocessing-method": method})
    # Dask would import every package it knows into this process, for a fork server of
    # its own to preload; ours is running and needs none of it.
    distributed.utils._forkserver_preload_set = True


async def live(allocation: Allocation, asked_to_go: asyncio.Future[str]) -> Life:
    """Be the worker of this allocation until it is over.

    Parameters
    ----------
    allocation
        What to be.
    asked_to_go
        Done with the reason (a signal's name) when the node shall drain.

    Returns
    -------
    Life
        Its cause is FINISHED, DRAINED or NO_START.
    """
    life = Life()
    server = await _start(allocation, life)
    if server is None:
        return life
    sampler = PeriodicCallback(lambda: _sample(server, life), SAMPLE_MS)
    sampler.start()
    finished = asyncio.ensure_future(server.finished())
    await asyncio.wait({finished, asked_to_go}, return_when=asyncio.FIRST_COMPLETED)
    sampler.stop()
    _sample(server, life)
    if not finished.done():
        life.cause, life.detail = Cause.DRAINED, asked_to_go.result()
        await _drain(server, allocation, life.detail)
    elif life.reason:
        life.detail = life.reason
    await finished
    return life


async def _start(allocation: Allocation, life: Life) -> Nanny | Worker | None:
    """Make and start the worker; None if it cannot, and then `life` says why."""
    server = None
    try:
        server = _make(allocation, life)
        return await server
    except Exception as exc:
        life.cause, life.detail = Cause.NO_START, _reason(exc)
        if life.signal:
            # It had started, perhaps worked, and died before its Nanny was told so.
            life.cause = Cause.KILLED
            life.detail = f"its worker ended with {life.signal}"
        logger.exception("the worker did not start")
        if server is not None:
            with contextlib.suppress(Exception):
                await server.close()
        return None


def _make(allocation: Allocation, life: Life) -> Nanny | Worker:
    options: dict[str, Any] = {
        "nthreads": allocation.nthreads,
        "memory_limit": allocation.memory_limit,
        "name": allocation.name,
        "security": _security(allocation.tls),
        "death_timeout": allocation.death_timeout,
        "local_directory": allocation.local_directory,
        **allocation.options,
    }
    if isinstance(worker_class := options.get("worker_class"), str):
        module, _, name = worker_class.rpartition(".")
        options["worker_class"] = getattr(importlib.import_module(module), name)
    if not allocation.nanny:
        cls = options.pop("worker_class", Worker)
        return cls(allocation.scheduler, **options)
    options.setdefault("env", allocation.environment)
    return NodeNanny(allocation.scheduler, life=life, **options)


def _security(tls: TLSIdentity | None) -> Security:
    if tls is None:
        return Security()
    return Security(
        require_encryption=True,
        tls_ca_file=tls.ca,
        tls_worker_cert=tls.certificate,
        tls_worker_key=tls.key,
    )


def _unlink_semaphores() -> None:
    """Remove from /dev/shm what both processes have open by now.

    `multiprocessing` would do it when this process exits, if it is not killed. This
    runs its finalizers early; they run once. See `dask_gridengine.semaphores`.
    """
    registry = getattr(util, "_finalizer_registry", {})
    unlink = getattr(synchronize.SemLock, "_cleanup", None)
    for finalizer in list(registry.values()):
        if finalizer._callback is unlink:
            finalizer()


async def _drain(server: Nanny | Worker, allocation: Allocation, signal: str) -> None:
    """Have the cluster let this node go: tasks end, data moves, the worker closes.

    Bounded: the grid kills who takes too long. Where the cluster does not answer the
    node has its data moved by Dask's own means, which do not wait for tasks.
    """
    if isinstance(server, Nanny):
        # Only that the worker is not to be started again: it has not stopped yet.
        Nanny.close_gracefully(server, reason="the node was asked to go")
        address = server.worker_address
    else:
        address = server.address
    patience = allocation.drain_timeout
    try:
        if (given := await _ask_cluster(server, allocation.name, signal)) is not None:
            await asyncio.wait_for(server.finished(), given + CLOSE_SECONDS)
            return
        await asyncio.wait_for(
            server.scheduler.retire_workers(
                workers=[address], close_workers=True, remove=True
            ),
            patience,
        )
        # The worker is told to close by that, and its Nanny closes behind it. To close
        # the Nanny at the same time makes each wait for the other, for 4 s.
        await asyncio.wait_for(server.finished(), CLOSE_SECONDS)
    except Exception:
        logger.warning("could not hand data over to other workers", exc_info=True)
    with contextlib.suppress(Exception):
        await server.close(reason="the node was asked to go")


async def _ask_cluster(server: Nanny | Worker, name: str, signal: str) -> float | None:
    """Tell the cluster of a signal; the seconds it gives, None if it does not care."""
    try:
        asked = server.scheduler.gridengine_asked_to_go(name=name, signal=signal)
        return float(await asyncio.wait_for(asked, ANSWER_SECONDS))
    except Exception:  # of the network, or whatever the other side raised
        logger.info("the cluster does not see to this drain", exc_info=True)
        return None


def _sample(server: Nanny | Worker, life: Life) -> None:
    """Note the worker's peak memory; VmHWM is the kernel's own high-water mark."""
    pid = server.pid if isinstance(server, Nanny) else os.getpid()
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return  # between two workers, or not on Linux
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            life.peak_memory = max(life.peak_memory, int(line.split()[1]) * 1024)


def _reason(exc: BaseException) -> str:
    """The innermost error, which is the one that says what was wrong."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return f"{type(exc).__name__}: {exc}"
