"""Run a node's Dask workers: start them, drain them on a signal, report their end."""

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
from dask_gridengine.net.isolated_tls import isolated
from dask_gridengine.worker.gpu import share
from dask_gridengine.worker.nanny import NodeNanny, WorkerOutcome
from dask_gridengine.worker.network import (
    WorkerStartError,
    listen_options,
    start_or_diagnose,
)

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0  # for a retired worker to close
ANSWER_SECONDS = 2.0  # for the cluster to answer that it drains this node
SAMPLE_MS = 1000  # between two samples of the workers' peak memory
DRAIN_REASON = "the node got a signal"


def choose_start_method(*, forked: bool) -> None:
    """Have Dask fork worker processes from our fork server, or spawn them."""
    method = "forkserver" if forked else "spawn"
    dask.config.set({"distributed.worker.multiprocessing-method": method})
    # Dask would import every package it knows into this process, for a fork server of
    # its own to preload; ours runs already and needs none of it.
    distributed.utils._forkserver_preload_set = True


def preload() -> None:
    """Do once what each forked worker would do at its start.

    Dask's caches of versions, for which it reads metadata and runs ``uname``, and what
    it imports by name: two thirds of what a forked worker does until it registers.
    """
    get_versions()
    for module in dask.config.get("distributed.worker.http.routes"):
        with contextlib.suppress(Exception):  # a worker that needs it raises the error
            importlib.import_module(module)


async def run_workers(
    allocation: Allocation, signalled: asyncio.Future[str]
) -> WorkerOutcome:
    """Run the workers of this allocation until the last of them has ended.

    They are drained when `signalled` is done, with a signal's name.
    """
    outcome = WorkerOutcome()
    servers = await _start(allocation, outcome)
    if not servers:
        return outcome
    sampler = PeriodicCallback(lambda: _sample_memory(servers, outcome), SAMPLE_MS)
    sampler.start()
    finished = asyncio.create_task(_all_finished(servers))
    either: set[asyncio.Future[Any]] = {finished, signalled}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    sampler.stop()
    _sample_memory(servers, outcome)
    if not finished.done():
        outcome.cause, outcome.detail = Cause.DRAINED, signalled.result()
        await _drain(servers, allocation, outcome.detail)
    elif outcome.reason:
        outcome.detail = outcome.reason
    await finished
    return outcome


async def _all_finished(servers: Sequence[Nanny | Worker]) -> None:
    await asyncio.gather(*(server.finished() for server in servers))


async def _start(
    allocation: Allocation, outcome: WorkerOutcome
) -> list[Nanny | Worker]:
    """Start all workers; if one of them fails, none, and note the cause."""
    servers: list[Nanny | Worker] = []
    try:
        for index in range(allocation.processes):
            servers.append(_make(allocation, index, outcome))
        starts = (start_or_diagnose(server, allocation) for server in servers)
        # All: a Nanny that is closed while it starts hangs.
        results = await asyncio.gather(*starts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
    except Exception as exc:  # noqa: BLE001 - a start raises anything; it is logged
        _note_failure(outcome, exc)
        closing = (server.close() for server in servers)
        await asyncio.gather(*closing, return_exceptions=True)
        return []
    return servers


def _note_failure(outcome: WorkerOutcome, exc: Exception) -> None:
    if isinstance(exc, WorkerStartError):
        outcome.cause, outcome.detail = exc.cause, exc.detail
        logger.error("this node %s", exc)
        return
    logger.error("the worker did not start", exc_info=exc)
    if outcome.signal and not outcome.start_failed:
        # It had started, perhaps worked, and died before its Nanny noticed the start.
        outcome.cause = Cause.KILLED
        outcome.detail = f"its worker ended with {outcome.signal}"
        return
    innermost: BaseException = exc
    # A Nanny that is closed amid its start raises another error while it handles one.
    while inner := innermost.__cause__ or (
        None if innermost.__suppress_context__ else innermost.__context__
    ):
        innermost = inner
    outcome.cause = Cause.NO_START
    outcome.detail = f"{type(innermost).__name__}: {innermost}"


def _make(allocation: Allocation, index: int, outcome: WorkerOutcome) -> Nanny | Worker:
    environment = {
        **share(os.environ, index, allocation.processes),
        **allocation.environment,
    }
    options: dict[str, Any] = {
        "nthreads": allocation.nthreads,
        "memory_limit": allocation.memory_limit,
        "name": allocation.name + suffixes(allocation.processes)[index],
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
        os.environ.update(environment)
        cls = options.pop("worker_class", Worker)
        return cls(allocation.scheduler, **options)
    options.setdefault("env", environment)
    return NodeNanny(allocation.scheduler, outcome=outcome, **options)


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
    """Have the cluster drain this node: tasks end, data moves, the workers close.

    Bounded: the grid kills a node that takes too long. If the cluster does not answer,
    the node has its data moved by Dask's own means, which do not wait for tasks.
    """
    for server in servers:
        if isinstance(server, Nanny):
            # The worker goes on, but is not to be started again. Not the method of
            # `NodeNanny`, which would stop it.
            Nanny.close_gracefully(server, reason=DRAIN_REASON)
    try:
        seconds = await _seconds_to_drain(servers[0], allocation.name, signal)
        if seconds is not None:
            await asyncio.wait_for(_all_finished(servers), seconds + CLOSE_SECONDS)
            return
        await asyncio.wait_for(_retire(servers), allocation.drain_timeout)
        # That closes the workers, and their Nannies close after them. A Nanny that is
        # closed at the same time waits for its worker, and it for the Nanny, for 4 s.
        await asyncio.wait_for(_all_finished(servers), CLOSE_SECONDS)
    except Exception:
        logger.warning("could not move data to other workers", exc_info=True)
    closing = (server.close(reason=DRAIN_REASON) for server in servers)
    await asyncio.gather(*closing, return_exceptions=True)


async def _retire(servers: Sequence[Nanny | Worker]) -> None:
    """Retire all at once, or they would move their data to each other."""
    addresses = [
        server.worker_address if isinstance(server, Nanny) else server.address
        for server in servers
    ]
    await servers[0].scheduler.retire_workers(
        workers=[address for address in addresses if address],
        close_workers=True,
        remove=True,
    )


async def _seconds_to_drain(
    server: Nanny | Worker, name: str, signal: str
) -> float | None:
    """Report a signal; return the seconds that the cluster takes to drain the node."""
    try:
        answer = server.scheduler.gridengine_node_signal(name=name, signal=signal)
        return float(await asyncio.wait_for(answer, ANSWER_SECONDS))
    except Exception:  # of the network, or whatever the other side raised
        logger.info("the cluster does not drain this node", exc_info=True)
        return None


def _sample_memory(servers: Sequence[Nanny | Worker], outcome: WorkerOutcome) -> None:
    """Note the workers' peak memory; VmHWM is the kernel's own high-water mark."""
    for server in servers:
        pid = server.pid if isinstance(server, Nanny) else os.getpid()
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # between two workers, or not on Linux
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
                outcome.peak_memory = max(outcome.peak_memory, peak)
