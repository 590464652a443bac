"""The bootstrap server, with peers of every kind over real CURVE."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import zmq
import zmq.asyncio

from dask_gridengine.bootstrap.codec import (
    MAX_FROM_CLUSTER,
    MAX_FROM_NODE,
    decode,
    encode,
)
from dask_gridengine.bootstrap.connection_file import CurveKeys
from dask_gridengine.bootstrap.messages import (
    Answer,
    ExitReport,
    Hello,
    NotNeeded,
    Rejected,
    Wait,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import join
from tests.samples import allocation, exit_report, hello, two_in_a_row

SILENCE = 300  # ms, many times longer than an answer takes


def leave(greeting: Hello) -> Answer:
    return NotNeeded(process_token=greeting.process_token, reason="a test")


def wait(greeting: Hello) -> Answer:
    return Wait(process_token=greeting.process_token, seconds=60, reason="a test")


class Served:
    """A server in the test's loop, and its peers."""

    def __init__(self, server: BootstrapServer) -> None:
        self.server = server
        self.exit_reports: list[ExitReport] = []
        self._context = zmq.asyncio.Context()

    @contextlib.contextmanager
    def peer(self, keys: CurveKeys | None = None) -> Any:
        """A DEALER with the nodes' keys, or with others."""
        keys = keys or self.server.node_keys
        with self.plain_peer() as dealer:
            dealer.curve_serverkey = self.server.keys.public.encode()
            dealer.curve_publickey = keys.public.encode()
            dealer.curve_secretkey = keys.secret.encode()
            dealer.connect(f"tcp://127.0.0.1:{self.server.port}")
            yield dealer

    @contextlib.contextmanager
    def plain_peer(self) -> Any:
        with self._context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            yield dealer

    async def is_answered(self) -> None:
        """Check that a node is answered now."""
        with self.peer() as node:
            await node.send(encode(hello()))
            assert await node.poll(5000), "the server does not answer any more"
            assert decode(await node.recv()) == leave(hello())

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextlib.asynccontextmanager
async def serve(
    on_hello: Callable[[Hello], Answer] = leave, host: str = "127.0.0.1"
) -> AsyncIterator[Served]:
    server = BootstrapServer(
        on_hello=on_hello,
        on_exit_report=lambda report: made.exit_reports.append(report),
    )
    made = Served(server)
    server.start(host)
    try:
        yield made
    finally:
        made.close()
        await server.aclose()


async def test_a_node_is_answered_and_its_exit_report_received() -> None:
    """A hello gets its answer; an exit report gets none."""
    async with serve() as served:
        await served.is_answered()
        with served.peer() as node:
            await node.send(encode(exit_report()))
            assert not await node.poll(SILENCE)
        assert served.exit_reports == [exit_report()]
        assert served.server.counts == {"not_needed": 1, "exit_report": 1}


async def test_an_unknown_key_gets_nothing() -> None:
    """The server's public key is not enough: the hello is not even counted."""
    async with serve() as served:
        with served.peer(CurveKeys.generate()) as stranger:
            with contextlib.suppress(zmq.Again):  # disconnected already
                await stranger.send(encode(hello()), flags=zmq.NOBLOCK)
            assert not await stranger.poll(SILENCE)
        assert served.server.counts == {}
        await served.is_answered()


async def test_a_peer_without_curve_gets_nothing() -> None:
    """Neither ZeroMQ without encryption nor a web browser gets an answer."""
    async with serve() as served:
        with served.plain_peer() as plain:
            plain.connect(f"tcp://127.0.0.1:{served.server.port}")
            with contextlib.suppress(zmq.Again):  # disconnected already
                await plain.send(encode(hello()), flags=zmq.NOBLOCK)
            assert not await plain.poll(SILENCE)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
        assert served.server.counts == {}
        await served.is_answered()


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([b"\x80\x04N."], "malformed"),  # a pickle
        ([b"{}"], "malformed"),
        ([b""], "malformed"),
        ([b"[" * 60_000], "malformed"),
        ([encode(hello()), b"more"], "malformed"),
        ([b"", encode(hello())], "malformed"),
        ([encode(hello()).replace(b'"index": 1', b'"index": 0')], "malformed"),
        ([b" " * (MAX_FROM_NODE + 1)], "oversized"),
        ([encode(allocation())], "out of order"),
        ([encode(leave(hello()))], "out of order"),
    ],
)
def test_an_invalid_message_changes_nothing(
    frames: list[bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged once however often it comes, and not answered."""

    async def main() -> None:
        async with serve() as served:
            with served.peer() as peer:
                for _ in range(3):
                    await peer.send_multipart(frames)
                # Behind them in the same pipe: when it is answered, they were received.
                await peer.send(encode(hello()))
                assert await peer.poll(5000)
                assert decode(await peer.recv()) == leave(hello())
                assert not await peer.poll(0)
            assert served.server.counts == {kind: 3, "not_needed": 1}
            await served.is_answered()

    with caplog.at_level(logging.INFO, logger="dask_gridengine.bootstrap.server"):
        asyncio.run(main())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"dropped a message ({kind})" in record.getMessage()
    assert len(record.getMessage()) < 500


async def test_a_failing_decision_does_not_stop_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That node is rejected with the error as reason; the traceback is logged."""
    answers = iter([None, "leave"])

    def decide(greeting: Hello) -> Answer:
        if next(answers) is None:
            raise ZeroDivisionError("a bug of ours")
        return leave(greeting)

    async with serve(decide) as served:
        with served.peer() as node:
            await node.send(encode(hello()))
            answer = decode(await node.recv())
        assert isinstance(answer, Rejected)
        assert "a bug of ours" in answer.reason
        assert served.server.counts == {"error": 1, "rejected": 1}
        await served.is_answered()
    assert "ZeroDivisionError: a bug of ours" in caplog.text


async def test_a_waiting_node_can_be_answered_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without asking again, and once; a node that does not wait is skipped."""
    stranger = hello(process_token="f" * 32)
    async with serve(wait) as served:
        with served.peer() as node:
            await node.send(encode(hello()))
            assert decode(await node.recv()) == wait(hello())
            answers = [(sent, leave(sent)) for sent in (stranger, hello(), hello())]
            served.server.send_answers(answers)
            assert decode(await node.recv()) == leave(hello())
            assert not await node.poll(SILENCE)
        assert served.server.counts == {"wait": 1, "not_needed": 1}
    served.server.send_answers([(hello(), leave(hello()))])
    assert not caplog.records


async def test_an_allocation_that_is_too_long_is_a_rejection() -> None:
    """The node gets the reason instead of no answer."""

    def decide(greeting: Hello) -> Answer:
        return allocation(
            process_token=greeting.process_token,
            environment={"LONG": "x" * MAX_FROM_CLUSTER},
        )

    async with serve(decide) as served:
        with served.peer() as node:
            await node.send(encode(hello()))
            answer = decode(await node.recv())
        assert isinstance(answer, Rejected)
        assert "environment=" in answer.reason


async def test_an_error_while_receiving_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged, and the next node is answered."""
    receive, errors = zmq.asyncio.Socket.recv_multipart, iter([OSError("no memory")])

    def failing_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.type == zmq.ROUTER and (error := next(errors, None)):
            raise error
        return receive(self, *args, **kwargs)

    monkeypatch.setattr(zmq.asyncio.Socket, "recv_multipart", failing_once)
    async with serve() as served:
        await served.is_answered()
    assert "no memory" in caplog.text


async def test_a_node_that_has_disconnected_stops_no_other() -> None:
    """The answer to it is dropped."""
    async with serve() as served:
        for _ in range(5):
            with served.peer() as hasty:
                hasty.linger = 1000
                await hasty.send(encode(hello()))
        await served.is_answered()


async def test_an_address_of_another_machine_is_an_option_error() -> None:
    """The hint names the options to change."""
    host = "198.51.100.1"  # RFC 5737: an unused address
    server = BootstrapServer(on_hello=leave, on_exit_report=print)
    with pytest.raises(OptionError, match=r"host= or interface=") as caught:
        server.start(host)
    assert join(host, 0) in str(caught.value)
    await server.aclose()


async def test_the_first_free_port_of_a_range_is_taken() -> None:
    """A port that another process holds is skipped."""
    with two_in_a_row() as (other, ports):
        server = BootstrapServer(on_hello=leave, on_exit_report=print)
        server.start("127.0.0.1", ports)
        assert server.port == other + 1
        with pytest.raises(OptionError, match=f"bootstrap_port='{ports}'") as none:
            BootstrapServer(on_hello=leave, on_exit_report=print).start(
                "127.0.0.1", ports
            )
        await server.aclose()
    assert "another port or a range" in str(none.value)


async def test_all_addresses_include_ipv4_and_ipv6() -> None:
    """Nodes use IPv4 and IPv6 with the same port."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serve(host="::") as served:
        await served.is_answered()
        with socket.create_connection(("::1", served.server.port)):
            pass
