"""A node's life as Dask workers: start them, drain them when asked, say how they ended.

With `dask_gridengine.worker.nanny` this is all of a node that imports Dask.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import distributed.utils
from distributed import Nanny, Worker
from distributed.security import Security
from distributed.versions import get_versions
from tornado.ioloop import PeriodicCallback

from dask_gridengine.bootstrap.messages import Allocation, TLSIdentity
from dask_gridengine.exit_causes import Cause
from dask_gridengine.naming import suffixes
from dask_gridengine.net.tls import isolated
from dask_gridengine.worker.gpu import share
from dask_gridengine.worker.nanny import NodeNanny, WorkerOutcome
from dask_gridengine.worker.network import (
    WorkerStartError,
    listen_options,
    start_or_diagnose,
)

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0  # for a retired worker to close by itself
ANSWER_SECONDS = 2.0  # for the cluster to say that it lets a node go
SAMPLE_MS = 1000  # between two looks at the worker's peak memory


def choose_start_method(*, forked: bool) -> None:
    """Tell Dask how to start worker processes.

    Parameters
    ----------
    forked
        Whether `dask_gridengine.worker.fork_server` runs; otherwise they are spawned.
    """
    method = "forkserver" if forked else "spawn"
    dask.config.set({"distributed.worker.multiprocessing-method": method})
    # Dask would import every package it knows into this process, for a fork server of
    # its own to preload; ours is running and needs none of it.
    distributed.utils._forkserver_preload_set = True


def preload() -> None:
    """Do once what each worker would do at its start; those to be forked have it then.

    Dask's caches of versions, for which it reads metadata and runs ``uname``, and what
    it imports by name: two thirds of what a forked worker does until it registers.
    """
    get_versions()
    for module in dask.config.get("distributed.worker.http.routes"):
        with contextlib.suppress(Exception):  # the worker says it, if it is wanted
            importlib.import_module(module)


async def live(
    allocation: Allocation, asked_to_go: asyncio.Future[str]
) -> WorkerOutcome:
    """Be the workers of this allocation until the last of them is over.

    Parameters
    ----------
    allocation
        What to be.
    asked_to_go
        Done with the reason (a signal's name) when the node shall drain.

    Returns
    -------
    Life
        Its cause is FINISHED, DRAINED, KILLED, NO_START or one of `WorkerStartError`.
    """
    life = WorkerOutcome()
    servers = await _start(allocation, life)
    if not servers:
        return life
    sampler = PeriodicCallback(lambda: _sample(servers, life), SAMPLE_MS)
    sampler.start()
    finished = asyncio.create_task(_all_finished(servers))
    either: set[asyncio.Future[Any]] = {finished, asked_to_go}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    sampler.stop()
    _sample(servers, life)
    if not finished.done():
        life.cause, life.detail = Cause.DRAINED, asked_to_go.result()
        await _drain(servers, allocation, life.detail)
    elif life.reason:
        life.detail = life.reason
    await finished
    return life


async def _all_finished(servers: Sequence[Nanny | Worker]) -> None:
    await asyncio.gather(*(server.finished() for server in servers))


async def _start(allocation: Allocation, life: WorkerOutcome) -> list[Nanny | Worker]:
    """Start all workers; none if one of them cannot, and then `life` says why."""
    servers: list[Nanny | Worker] = []
    try:
        for index in range(allocation.processes):
            servers.append(_make(allocation, index, life))
        starts = [
            asyncio.ensure_future(start_or_diagnose(s, allocation)) for s in servers
        ]
        await asyncio.wait(starts)  # all: who is closed while it starts hangs
        for wrong in [start.exception() for start in starts]:
            if wrong is not None:
                raise wrong
    except Exception as exc:
        life.cause, life.detail = Cause.NO_START, _reason(exc)
        if isinstance(exc, WorkerStartError):
            life.cause, life.detail = exc.cause, exc.detail
            logger.error("this node %s", exc)
        else:
            logger.exception("the worker did not start")
        if life.cause is Cause.NO_START and life.signal and not life.told:
            # It had started, perhaps worked, and died before its Nanny was told so.
            life.cause = Cause.KILLED
            life.detail = f"its worker ended with {life.signal}"
        closing = (server.close() for server in servers)
        await asyncio.gather(*closing, return_exceptions=True)
        return []
    return servers


def _make(allocation: Allocation, index: int, life: WorkerOutcome) -> Nanny | Worker:
    name = allocation.name + suffixes(allocation.processes)[index]
    pinned = share(os.environ, index, allocation.processes)
    options: dict[str, Any] = {
        "nthreads": allocation.nthreads,
        "memory_limit": allocation.memory_limit,
        "name": name,
        "security": _security(allocation.tls),
        "death_timeout": allocation.death_timeout,
        "local_directory": allocation.local_directory,
        **listen_options(allocation),
        **allocation.options,
    }
    if isinstance(worker_class := options.get("worker_class"), str):
        module, _, attribute = worker_class.rpartition(".")
        options["worker_class"] = getattr(importlib.import_module(module), attribute)
    if not allocation.nanny:
        os.environ.update({**pinned, **allocation.environment})
        cls = options.pop("worker_class", Worker)
        return cls(allocation.scheduler, **options)
    options.setdefault("env", {**pinned, **allocation.environment})
    return NodeNanny(allocation.scheduler, life=life, **options)


def _security(tls: TLSIdentity | None) -> Security:
    if tls is None:
        return Security()
    return isolated(
        Security(
            require_encryption=True,
            tls_ca_file=tls.ca,
            tls_worker_cert=tls.certificate,
            tls_worker_key=tls.key,
        )
    )


async def _drain(
    servers: Sequence[Nanny | Worker], allocation: Allocation, signal: str
) -> None:
    """Have the cluster let this node go: tasks end, data moves, the workers close.

    Bounded: the grid kills who takes too long. Where the cluster does not answer the
    node has its data moved by Dask's own means, which do not wait for tasks.
    """
    addresses = []
    for server in servers:
        if isinstance(server, Nanny):
            # Only that the worker is not to be started again: it has not stopped yet.
            Nanny.close_gracefully(server, reason="the node was asked to go")
            addresses.append(server.worker_address)
        else:
            addresses.append(server.address)
    timeout = allocation.drain_timeout
    try:
        given = await _ask_cluster(servers[0], allocation.name, signal)
        if given is not None:
            await asyncio.wait_for(_all_finished(servers), given + CLOSE_SECONDS)
            return
        # All at once, or they would hand their data to each other.
        await asyncio.wait_for(
            servers[0].scheduler.retire_workers(
                workers=[address for address in addresses if address],
                close_workers=True,
                remove=True,
            ),
            timeout,
        )
        # The workers are told to close by that, and their Nannies close behind them. To
        # close a Nanny at the same time makes each wait for the other, for 4 s.
        await asyncio.wait_for(_all_finished(servers), CLOSE_SECONDS)
    except Exception:
        logger.warning("could not hand data over to other workers", exc_info=True)
    closing = (server.close(reason="the node was asked to go") for server in servers)
    await asyncio.gather(*closing, return_exceptions=True)


async def _ask_cluster(server: Nanny | Worker, name: str, signal: str) -> float | None:
    """Tell the cluster of a signal; the seconds it gives, None if it does not care."""
    try:
        asked = server.scheduler.gridengine_node_signal(name=name, signal=signal)
        return float(await asyncio.wait_for(asked, ANSWER_SECONDS))
    except Exception:  # of the network, or whatever the other side raised
        logger.info("the cluster does not see to this drain", exc_info=True)
        return None


def _sample(servers: Sequence[Nanny | Worker], life: WorkerOutcome) -> None:
    """Note the workers' peak memory; VmHWM is the kernel's own high-water mark."""
    for server in servers:
        pid = server.pid if isinstance(server, Nanny) else os.getpid()
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # between two workers, or not on Linux
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                life.peak_memory = max(life.peak_memory, int(line.split()[1]) * 1024)


def _reason(exc: BaseException) -> str:
    """The innermost error, which is the one that says what was wrong."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return f"{type(exc).__name__}: {exc}"
