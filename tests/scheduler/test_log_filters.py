"""Dask's logs, filtered while a cluster is open or closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterator

import pytest
from distributed import Scheduler, Worker
from distributed.comm.tcp import TLSListener

from dask_gridengine.bootstrap.certificates import new_security
from dask_gridengine.scheduler.log_filters import silenced, suppress_close_messages
from tests.waiting import until


@pytest.fixture
def handler() -> Iterator[logging.Handler]:
    """One more of Dask's handlers."""
    made = logging.StreamHandler()
    made.setLevel(logging.DEBUG)
    logging.getLogger("distributed").addHandler(made)
    yield made
    logging.getLogger("distributed").removeHandler(made)


def test_the_level_is_restored(handler: logging.Handler) -> None:
    """A name or a number; afterwards it is what it was."""
    with silenced("error"):
        assert handler.level == logging.ERROR
    with silenced(logging.WARNING):
        assert handler.level == logging.WARNING
    assert handler.level == logging.DEBUG


def test_clusters_close_in_any_order(handler: logging.Handler) -> None:
    """The first to close does not let the other's logs through."""
    with contextlib.ExitStack() as second:
        with silenced(logging.CRITICAL):
            second.enter_context(silenced(logging.WARNING))
            assert handler.level == logging.CRITICAL
        assert handler.level == logging.WARNING
    assert handler.level == logging.DEBUG


#: Of a socket that is closed with a reset.
RESET = struct.pack("ii", 1, 0)


async def cut_off_a_handshake() -> None:
    """End a TLS handshake when its listener has stopped."""
    arguments = new_security("x").get_listen_args("scheduler")
    listener = TLSListener("127.0.0.1:0", None, **arguments)
    await listener.start()
    port = int(listener.listen_address.rpartition(":")[2])
    accepted = asyncio.Event()
    handle = listener.tcp_server.handle_stream

    async def handled(stream: object, address: object) -> None:
        accepted.set()
        await handle(stream, address)

    listener.tcp_server.handle_stream = handled
    with socket.create_connection(("127.0.0.1", port)) as peer:
        await asyncio.wait_for(accepted.wait(), 5)
        listener.stop()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    # It logs in the turns of the loop in which the reset arrives.
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(tasks, timeout=5)
    await asyncio.sleep(0)


@pytest.mark.parametrize("suppressed", [False, True])
def test_a_handshake_that_the_close_ends_is_not_logged(
    suppressed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the filter distributed logs an error; this fails when it does not."""
    context = suppress_close_messages(None) if suppressed else contextlib.nullcontext()
    with context:
        asyncio.run(cut_off_a_handshake())
    logged = [r for r in caplog.records if "non-started TCPListener" in r.getMessage()]
    assert bool(logged) is not suppressed, caplog.text


async def test_losses_of_another_scheduler_are_logged() -> None:
    """However many clusters close at the same time, and in whatever order."""
    async with (
        Scheduler(dashboard_address=":0", port=0) as one,
        Scheduler(dashboard_address=":0", port=0) as two,
        Worker(one.address) as mine,
        Worker(two.address) as others,
    ):
        with contextlib.ExitStack() as first:
            first.enter_context(suppress_close_messages(one))
            with suppress_close_messages(two):
                assert warned(mine.address, others.address) == []
            assert warned(mine.address, others.address) == [others.address]
        assert len(warned(mine.address, others.address)) == 2


def warned(*addresses: str) -> list[str]:
    """Those of these workers whose loss Dask logs."""
    messages: list[str] = []
    log, handler = logging.getLogger("distributed.scheduler"), logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    for address in addresses:
        text = (
            f"Removing worker {address!r} caused the cluster to lose already computed"
        )
        log.warning(text)
    log.removeHandler(handler)
    return [
        address for address in addresses if any(address in text for text in messages)
    ]


@pytest.mark.parametrize("closing", [False, True])
async def test_a_failed_handshake_is_logged_unless_its_scheduler_closes(
    closing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that is stopped resets its connection."""
    security = new_security("x")
    async with Scheduler(
        host="127.0.0.1",
        port=0,
        dashboard_address=":0",
        protocol="tls",
        security=security,
    ) as scheduler:
        port = int(scheduler.address.rpartition(":")[2])
        context = suppress_close_messages(scheduler) if closing else None
        with context or contextlib.nullcontext():
            with socket.create_connection(("127.0.0.1", port)) as peer:
                peer.sendall(b"no handshake")
                with contextlib.suppress(ConnectionResetError):  # what it answers
                    await asyncio.to_thread(peer.recv, 100)
            await until_logged(caplog, "TLS handshake failed", expected=not closing)


async def until_logged(
    caplog: pytest.LogCaptureFixture, text: str, *, expected: bool
) -> None:
    """Wait for a line of the log; for one that must not come, let the loop turn."""
    if expected:
        await until(lambda: text in caplog.text, "a line of the log")
        return
    for _ in range(20):
        await asyncio.sleep(0)
    assert text not in caplog.text
