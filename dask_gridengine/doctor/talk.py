"""One TLS round trip as Dask makes them, and what goes with it: clock and way back.

Both sides are here, so that they are read together. The node calls `talk`, the doctor
serves `listen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from distributed.comm import CommClosedError, connect, get_address_host
from distributed.comm import listen as listen_by_dask
from distributed.security import Security

from dask_gridengine.blocking import in_thread
from dask_gridengine.bootstrap.messages import Allocation
from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import bracketed, join, on_interface
from dask_gridengine.net.connect_probe import try_connect
from dask_gridengine.net.ports import Ports, is_free
from dask_gridengine.net.tls import isolated

SECONDS = 10.0  # for everything
BACK_SECONDS = 3.0  # for the node to be reached from here


def talk(allocation: Allocation) -> dict[str, Any]:
    """The node's side.

    Returns
    -------
    dict
        seconds (of connection, handshake, message and answer), ahead (seconds of this
        clock before the doctor's), give (known no better than that), listening and
        back (where the doctor knocked, and the answer).

    Raises
    ------
    OSError, CommClosedError, asyncio.TimeoutError
        If it cannot be reached, or one of the two does not trust the other.
    """
    return asyncio.run(asyncio.wait_for(_talk(allocation), SECONDS))


async def _talk(allocation: Allocation) -> dict[str, Any]:
    options = _security(allocation).get_connection_args("worker")
    began = time.monotonic()
    comm = await connect(allocation.scheduler, timeout=SECONDS, **options)
    try:
        await comm.write({"op": "time"})
        await comm.read()
        seconds = time.monotonic() - began
        # Again, for on a connection that is made the way there is as long as back.
        asked, asked_at = time.monotonic(), time.time()
        await comm.write({"op": "time"})
        theirs = float((await comm.read())["time"])
        took = time.monotonic() - asked
        with _ears(allocation, comm.local_address) as listening:
            await comm.write({"op": "knock", "address": listening})
            back = str((await comm.read())["answer"])
    finally:
        await comm.close()
    return {
        "seconds": seconds,
        "ahead": asked_at + took / 2 - theirs,
        "give": took / 2,
        "listening": listening,
        "back": back,
    }


def _security(allocation: Allocation) -> Security:
    tls = allocation.tls
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


@contextlib.contextmanager
def _ears(allocation: Allocation, local_address: str) -> Iterator[str]:
    """Listen where a worker would; the kernel accepts for us."""
    host = get_address_host(local_address)
    if allocation.interface:
        with contextlib.suppress(OptionError):  # a worker says more of that
            host = on_interface(allocation.interface)[0]
    ports = Ports.parse(allocation.port or None, "worker_port")
    port = next((port for port in ports or () if is_free(host, port)), 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
        yield join(host, sock.getsockname()[1])


@contextlib.asynccontextmanager
async def listen(
    host: str, ports: Ports | None, security: Security
) -> AsyncIterator[int]:
    """The doctor's side: a listener of Dask's, for as long as this lasts.

    Parameters
    ----------
    host
        Address to bind.
    ports
        The first of these that is free; None takes any.
    security
        The scheduler's.

    Yields
    ------
    int
        The port.

    Raises
    ------
    OSError
        If it cannot listen there.
    """
    protocol = "tls" if security.require_encryption else "tcp"
    options = security.get_listen_args("scheduler")
    port = next((port for port in ports or () if is_free(host, port)), 0)
    where = f"{protocol}://{bracketed(host)}:{port}"
    listener = await listen_by_dask(where, _answer, **options)
    try:
        yield int(listener.get_host_port()[1])
    finally:
        stopped = listener.stop()
        if stopped is not None:
            await stopped


async def _answer(comm: Any) -> None:
    """Serve one node; whoever gets here has shown a certificate of ours."""
    with contextlib.suppress(CommClosedError, OSError, KeyError, TypeError):
        while True:
            message = await comm.read()
            if message["op"] == "time":
                await comm.write({"time": time.time()})
            else:
                address = str(message["address"])
                said, _ = await in_thread(try_connect, address, BACK_SECONDS)
                await comm.write({"answer": said})
