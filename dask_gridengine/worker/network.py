"""A worker's first steps on the network: where it listens, and what keeps it from that.

Dask's Nanny tries for 30 s to reach its scheduler and then says "CancelledError" (seen
with 2026.8). Here it is noticed earlier, and told with address, port and answer.
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
from dask_gridengine.net.ports import Ports, count_held, is_free

if TYPE_CHECKING:
    from distributed import Worker

SLOW_SECONDS = 4.0  # after which a start is looked into that is not over
CONNECT_SECONDS = 5.0  # for a server of Dask's to answer, TLS and all
AGAIN_SECONDS = 1.0  # the same, of one that was looked for in vain already
PROBE_SECONDS = 3.0  # for the kernel's word on why it did not


class WorkerStartError(Exception):
    """This worker cannot be started on this host, and that is why."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}"


def listen_options(allocation: Allocation) -> dict[str, Any]:
    """Keywords of a Nanny, or of a Worker, that say where to listen.

    Without any Dask listens at all addresses, and announces the one from which this
    host would reach the scheduler.

    Raises
    ------
    CannotStart
        If this host has no such interface.
    """
    options: dict[str, Any] = {}
    if allocation.interface:
        options["host"] = bracketed(_own_address(allocation))
    if allocation.nanny and allocation.nanny_port:
        options["port"] = allocation.nanny_port
    if allocation.port:
        options["worker_port" if allocation.nanny else "port"] = allocation.port
    return options


async def start_or_diagnose(starting: Awaitable[Any], allocation: Allocation) -> Any:
    """Await the start of a Nanny or a Worker, as long as it can succeed.

    Parameters
    ----------
    starting
        The server, which is started by being awaited.
    allocation
        What it shall be.

    Returns
    -------
    Nanny or Worker

    Raises
    ------
    CannotStart
        If the scheduler is not reached, or no port is left to listen at.
    Exception
        Whatever else its start raises.
    """
    start = asyncio.ensure_future(starting)
    options = getattr(starting, "connection_args", {})
    try:
        await asyncio.wait({start}, timeout=SLOW_SECONDS)
        if not start.done():
            await _look(allocation, options, CONNECT_SECONDS)
        return await start
    except WorkerStartError:
        raise
    except Exception as exc:
        # It has had the time it had: this only tells one failure from another.
        await _look(allocation, options, AGAIN_SECONDS)
        _count_ports(allocation, exc)
        raise
    finally:
        start.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await start


async def answer(
    address: str, options: dict[str, Any], seconds: float | None = None
) -> str:
    """What a server of Dask's answers: `CONNECTED`, or the kernel's word in a clause.

    Also `CONNECTED` if only the kernel answers: such a server is busy, no wall.

    Parameters
    ----------
    address
        As Dask has it.
    options
        Of its connections.
    seconds
        It has for that; `CONNECT_SECONDS` by default.
    """
    seconds = CONNECT_SECONDS if seconds is None else seconds
    # As Dask does, for its servers log the loss of any other connection.
    # `connect` bounds its handshake with the peer by no timeout of its own.
    connecting = connect(address, timeout=seconds, **options)
    try:
        comm = await asyncio.wait_for(connecting, seconds + 0.5)
    except (OSError, asyncio.TimeoutError):
        return await _connect_error(*get_address_host_port(address))
    await comm.close()
    return CONNECTED


async def answer_at(address: str, dask_worker: Worker) -> str:
    """`answer` as a worker gets it; to be run there."""
    return await answer(address, dask_worker.connection_args)


async def _look(
    allocation: Allocation, options: dict[str, Any], seconds: float
) -> None:
    """Raise CannotStart if the scheduler's port does not even accept."""
    said = await answer(allocation.scheduler, options, seconds)
    if said != CONNECTED:
        place = join(*get_address_host_port(allocation.scheduler))
        raise WorkerStartError(
            Cause.NO_SCHEDULER,
            f"{place}: {said}, while the bootstrap at"
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


def _count_ports(allocation: Allocation, exc: Exception) -> None:
    """Raise CannotStart if a start failed for want of ports."""
    for text, option in (
        (allocation.port, "worker_port"),
        (allocation.nanny_port, "nanny_port"),
    ):
        ports = Ports.parse(text or None, option)
        if ports is None:
            continue
        shared = allocation.nanny and allocation.port == allocation.nanny_port
        if sum(is_free("", port) for port in ports) < 1 + shared:
            each = "a worker and its Nanny take two" if shared else "one is needed"
            raise WorkerStartError(
                Cause.NO_LISTEN,
                f"{option}={text!r} has not ports enough left on its host ({each}):"
                f" {count_held(ports)}",
            ) from exc


def _own_address(allocation: Allocation) -> str:
    """This host's address on the nodes' network, of the kind the scheduler has."""
    try:
        found = on_interface(allocation.interface)
    except OptionError as exc:
        raise WorkerStartError(Cause.NO_LISTEN, f"worker_{exc.message}") from exc
    six = ":" in get_address_host(allocation.scheduler)
    return next((a for a in found if (":" in a) == six), found[0])
