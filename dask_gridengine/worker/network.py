"""Where a worker listens, and why it cannot start on the network.

Dask's Nanny tries for 30 s to reach its scheduler and then raises "CancelledError"
(seen with 2026.8). Here that is noticed earlier, and reported with address, port and
answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from distributed.comm import connect, get_address_host, get_address_host_port

from dask_gridengine.bootstrap.messages import Allocation
from dask_gridengine.errors import OptionError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.net.addresses import bracketed, join, on_interface
from dask_gridengine.net.connect_probe import CONNECTED, format_error, no_answer
from dask_gridengine.net.ports import Ports, is_free

if TYPE_CHECKING:
    from distributed import Worker

SLOW_SECONDS = 4.0  # after which a start that is not over is examined
CONNECT_SECONDS = 5.0  # for a server of Dask's to answer, TLS and all
RECHECK_SECONDS = 1.0  # the same, if it has failed already
PROBE_SECONDS = 3.0  # for the kernel to report why


class WorkerStartError(Exception):
    """This worker cannot be started on this host, for this cause."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}"


def listen_options(allocation: Allocation) -> dict[str, Any]:
    """Return the keywords of a Nanny, or of a Worker, that say where to listen.

    Without any Dask listens at all addresses, and announces the one from which this
    host would reach the scheduler. Raises `WorkerStartError` if this host has no such
    interface.
    """
    options: dict[str, Any] = {}
    if allocation.interface:
        options["host"] = bracketed(_own_address(allocation))
    if allocation.nanny and allocation.nanny_port:
        options["port"] = allocation.nanny_port
    if allocation.port:
        options["worker_port" if allocation.nanny else "port"] = allocation.port
    return options


async def start_or_diagnose(server: Awaitable[Any], allocation: Allocation) -> Any:
    """Start a Nanny or a Worker; raise `WorkerStartError` if it cannot succeed.

    That is if the scheduler cannot be reached, or no port is left to listen at. Other
    errors of the start are raised as they are.
    """
    start = asyncio.ensure_future(server)
    options = getattr(server, "connection_args", {})
    try:
        await asyncio.wait({start}, timeout=SLOW_SECONDS)
        if not start.done():
            await _check_scheduler(allocation, options, CONNECT_SECONDS)
        return await start
    except WorkerStartError:
        raise
    except Exception as exc:
        # This only tells one failure from another: the start has had its time.
        await _check_scheduler(allocation, options, RECHECK_SECONDS)
        _check_ports(allocation, exc)
        raise
    finally:
        start.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await start


async def answer(
    address: str, options: dict[str, Any], seconds: float | None = None
) -> str:
    """Return how a server of Dask's answers: `CONNECTED`, or the kernel's error.

    Also `CONNECTED` if only the kernel accepts: then the server is busy, and no
    firewall is in the way. `options` are those of Dask's connections, `seconds` by
    default `CONNECT_SECONDS`.
    """
    seconds = CONNECT_SECONDS if seconds is None else seconds
    # As Dask does, for its servers log the loss of any other connection.
    # `connect` does not bound its handshake with the peer by its own timeout.
    connecting = connect(address, timeout=seconds, **options)
    try:
        comm = await asyncio.wait_for(connecting, seconds + 0.5)
    except (OSError, asyncio.TimeoutError):
        return await _connect_error(*get_address_host_port(address))
    await comm.close()
    return CONNECTED


async def answer_at(address: str, dask_worker: Worker) -> str:
    """Return `answer` as a worker gets it; to be run there."""
    return await answer(address, dask_worker.connection_args)


async def _check_scheduler(
    allocation: Allocation, options: dict[str, Any], seconds: float
) -> None:
    """Raise `WorkerStartError` if the scheduler's port does not even accept."""
    result = await answer(allocation.scheduler, options, seconds)
    if result != CONNECTED:
        address = join(*get_address_host_port(allocation.scheduler))
        raise WorkerStartError(
            Cause.NO_SCHEDULER,
            f"{address}: {result}, while the bootstrap at"
            f" {allocation.bootstrap_address} did answer",
        )


async def _connect_error(host: str, port: int) -> str:
    opening = asyncio.open_connection(host, port)
    try:
        _, writer = await asyncio.wait_for(opening, PROBE_SECONDS)
    except asyncio.TimeoutError:
        return no_answer(PROBE_SECONDS)
    except OSError as exc:
        return format_error(exc)
    writer.close()
    return CONNECTED


def _check_ports(allocation: Allocation, exc: Exception) -> None:
    """Raise `WorkerStartError` if a start failed because no port is free."""
    for text, option in (
        (allocation.port, "worker_port"),
        (allocation.nanny_port, "nanny_port"),
    ):
        ports = Ports.parse(text or None, option)
        if ports is None:
            continue
        shared = allocation.nanny and allocation.port == allocation.nanny_port
        if sum(is_free("", port) for port in ports) < 1 + shared:
            needed = "a worker and its Nanny need two" if shared else "one is needed"
            raise WorkerStartError(
                Cause.NO_LISTEN,
                f"{option}={text!r} has too few free ports on this host ({needed})",
            ) from exc


def _own_address(allocation: Allocation) -> str:
    """Return this host's address on the nodes' interface, of the scheduler's family."""
    try:
        found = on_interface(allocation.interface)
    except OptionError as exc:
        raise WorkerStartError(Cause.NO_LISTEN, f"worker_{exc.message}") from exc
    six = ":" in get_address_host(allocation.scheduler)
    return next((a for a in found if (":" in a) == six), found[0])
