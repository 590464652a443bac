"""The door's socket, met by peers of every kind over real CURVE."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
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

SILENCE = 300  # ms in which a peer that is heard would have been answered many times


def leave(greeting: Hello) -> Answer:
    return NotNeeded(process_token=greeting.process_token, reason="a test")


def wait(greeting: Hello) -> Answer:
    return Wait(process_token=greeting.process_token, seconds=60, reason="a test")


class Porch:
    """A server in the test's loop, and peers that knock at it."""

    def __init__(self, server: BootstrapServer) -> None:
        self.server = server
        self.farewells: list[ExitReport] = []
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
        """A node that comes now is served."""
        with self.peer() as node:
            await node.send(encode(hello()))
            assert await node.poll(5000), "the door does not answer any more"
            assert decode(await node.recv()) == leave(hello())

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextlib.asynccontextmanager
async def porch(
    on_hello: Callable[[Hello], Answer] = leave, host: str = "127.0.0.1"
) -> AsyncIterator[Porch]:
    server = BootstrapServer(
        on_hello=on_hello, on_farewell=lambda said: made.farewells.append(said)
    )
    made = Porch(server)
    server.start(host)
    try:
        yield made
    finally:
        made.close()
        await server.aclose()


def test_a_node_is_answered_and_its_farewell_heard() -> None:
    """A hello gets what was decided; a farewell gets nothing, and need not."""

    async def main() -> None:
        async with porch() as admission:
            await admission.is_answered()
            with admission.peer() as node:
                await node.send(encode(exit_report()))
                assert not await node.poll(SILENCE)
            assert admission.farewells == [exit_report()]
            assert admission.server.counts == {"leave": 1, "exit_report": 1}

    asyncio.run(main())


def test_an_unknown_key_gets_nothing() -> None:
    """Knowing the door's public key is not enough: the hello is not even counted."""

    async def main() -> None:
        async with porch() as admission:
            with admission.peer(CurveKeys.generate()) as stranger:
                with contextlib.suppress(zmq.Again):  # hung up on already
                    await stranger.send(encode(hello()), flags=zmq.NOBLOCK)
                assert not await stranger.poll(SILENCE)
            assert admission.server.counts == {}
            await admission.is_answered()

    asyncio.run(main())


def test_a_peer_without_curve_gets_nothing() -> None:
    """Neither ZeroMQ without encryption nor a web browser is heard."""

    async def main() -> None:
        async with porch() as admission:
            with admission.plain_peer() as plain:
                plain.connect(f"tcp://127.0.0.1:{admission.server.port}")
                with contextlib.suppress(zmq.Again):  # hung up on already
                    await plain.send(encode(hello()), flags=zmq.NOBLOCK)
                assert not await plain.poll(SILENCE)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", admission.server.port
            )
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()
            assert admission.server.counts == {}
            await admission.is_answered()

    asyncio.run(main())


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
def test_what_is_no_message_of_a_node_changes_nothing(
    frames: list[bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged once however often it comes, and not answered."""

    async def main() -> None:
        async with porch() as admission:
            with admission.peer() as peer:
                for _ in range(3):
                    await peer.send_multipart(frames)
                # Behind them in the same pipe: once it is answered, they were seen.
                await peer.send(encode(hello()))
                assert await peer.poll(5000)
                assert decode(await peer.recv()) == leave(hello())
                assert not await peer.poll(0)
            assert admission.server.counts == {kind: 3, "leave": 1}
            await admission.is_answered()

    with caplog.at_level(logging.INFO, logger="dask_gridengine.bootstrap.server"):
        asyncio.run(main())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"dropped a message ({kind})" in record.getMessage()
    assert len(record.getMessage()) < 500


def test_a_flood_is_cut_off_by_the_kernel_side() -> None:
    """libzmq drops who sends more than any message is long; nobody else notices."""

    async def main() -> None:
        async with porch() as admission:
            with admission.peer() as flooder:
                await flooder.send(b" " * (8 * MAX_FROM_NODE))
                assert not await flooder.poll(SILENCE)
            assert admission.server.counts == {}
            await admission.is_answered()

    asyncio.run(main())


def test_a_farewell_said_twice_is_handed_on_twice() -> None:
    """The door keeps no books: who hears it ignores what it has heard already."""

    async def main() -> None:
        async with porch() as admission:
            with admission.peer() as node:
                for _ in range(2):
                    await node.send(encode(exit_report()))
                await node.send(encode(hello()))
                assert decode(await node.recv()) == leave(hello())
            assert admission.farewells == [exit_report(), exit_report()]

    asyncio.run(main())


def test_a_failing_decision_does_not_close_the_door(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That node is refused with the error as reason; the traceback is logged."""
    answers = iter([None, "leave"])

    def decide(greeting: Hello) -> Answer:
        if next(answers) is None:
            raise ZeroDivisionError("a bug of ours")
        return leave(greeting)

    async def main() -> None:
        async with porch(decide) as admission:
            with admission.peer() as node:
                await node.send(encode(hello()))
                answer = decode(await node.recv())
            assert isinstance(answer, Rejected)
            assert "a bug of ours" in answer.reason
            assert admission.server.counts == {"error": 1, "refused": 1}
            await admission.is_answered()

    asyncio.run(main())
    assert "ZeroDivisionError: a bug of ours" in caplog.text


def test_an_answer_goes_to_the_asker_only() -> None:
    """Each of many that ask at once gets its own, with its own keys inside."""

    def named(greeting: Hello) -> Answer:
        return allocation(
            name=f"ge-{greeting.index}", process_token=greeting.process_token
        )

    async def main() -> None:
        async with porch(named) as admission, contextlib.AsyncExitStack() as stack:
            nodes = [stack.enter_context(admission.peer()) for _ in range(20)]
            for i, node in enumerate(nodes, 1):
                await node.send(encode(hello(index=i, process_token=f"{i:08d}")))
            for i, node in enumerate(nodes, 1):
                answer = decode(
                    await asyncio.wait_for(node.recv(), 10), MAX_FROM_CLUSTER
                )
                assert answer == named(hello(index=i, process_token=f"{i:08d}"))
            assert not any([await node.poll(0) for node in nodes])

    asyncio.run(main())


def test_a_node_that_waits_can_be_called(caplog: pytest.LogCaptureFixture) -> None:
    """Without having asked again, and once; who never waited is passed over."""
    stranger = hello(process_token="f" * 32)

    async def main() -> None:
        async with porch(wait) as admission:
            with admission.peer() as node:
                await node.send(encode(hello()))
                assert decode(await node.recv()) == wait(hello())
                called = [(who, leave(who)) for who in (stranger, hello(), hello())]
                admission.server.call(called)
                assert decode(await node.recv()) == leave(hello())
                assert not await node.poll(SILENCE)
            assert admission.server.counts == {"wait": 1, "leave": 1}
        admission.server.call([(hello(), leave(hello()))])

    asyncio.run(main())
    assert not caplog.records


def test_an_allocation_that_no_node_can_read_is_a_refusal() -> None:
    """An answer above the size limit: the node learns that, instead of nothing."""

    def decide(greeting: Hello) -> Answer:
        return allocation(
            process_token=greeting.process_token,
            environment={"LONG": "x" * MAX_FROM_CLUSTER},
        )

    async def main() -> None:
        async with porch(decide) as admission:
            with admission.peer() as node:
                await node.send(encode(hello()))
                answer = decode(await node.recv())
            assert isinstance(answer, Rejected)
            assert "environment=" in answer.reason

    asyncio.run(main())


def test_an_error_while_receiving_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged, and the next node is answered."""
    receive, errors = zmq.asyncio.Socket.recv_multipart, iter([OSError("no memory")])

    def failing_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.type == zmq.ROUTER and (error := next(errors, None)):
            raise error
        return receive(self, *args, **kwargs)

    monkeypatch.setattr(zmq.asyncio.Socket, "recv_multipart", failing_once)

    async def main() -> None:
        async with porch() as admission:
            await admission.is_answered()

    asyncio.run(main())
    assert "no memory" in caplog.text


def test_a_call_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Who decides may have a bug: it is logged, and the door goes on."""

    def decide() -> Iterator[tuple[Hello, Answer]]:
        raise ZeroDivisionError("a bug of ours")
        yield

    async def main() -> None:
        async with porch() as admission:
            admission.server.call(decide())
            await admission.is_answered()

    asyncio.run(main())
    assert "ZeroDivisionError: a bug of ours" in caplog.text


def test_a_node_that_has_gone_stops_nobody() -> None:
    """An answer nobody waits for is dropped."""

    async def main() -> None:
        async with porch() as admission:
            for _ in range(5):
                with admission.peer() as hasty:
                    hasty.linger = 1000
                    await hasty.send(encode(hello()))
            await admission.is_answered()

    asyncio.run(main())


def test_closing_twice_is_closing_once() -> None:
    """After aclose() the port refuses, and another may have it."""

    async def main() -> None:
        async with porch() as admission:
            port = admission.server.port
            await admission.server.aclose()
            await admission.server.aclose()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        await BootstrapServer(on_hello=leave, on_farewell=print).aclose()

    asyncio.run(main())


def test_an_address_that_cannot_be_had_is_the_users_option() -> None:
    """Another machine's address: the message says what to change."""

    async def main() -> None:
        host = "198.51.100.1"  # RFC 5737: an address no machine has
        server = BootstrapServer(on_hello=leave, on_farewell=print)
        with pytest.raises(OptionError, match=r"host= or interface=") as caught:
            server.start(host)
        assert join(host, 0) in str(caught.value)
        await server.aclose()

    asyncio.run(main())


def test_the_first_free_port_of_a_range_is_taken() -> None:
    """A site's firewall lets some ports through; one that is held is passed over."""

    async def main() -> None:
        with two_in_a_row() as (other, ports):
            server = BootstrapServer(on_hello=leave, on_farewell=print)
            server.start("127.0.0.1", ports)
            assert server.port == other + 1
            with pytest.raises(OptionError, match=f"bootstrap_port='{ports}'") as none:
                BootstrapServer(on_hello=leave, on_farewell=print).start(
                    "127.0.0.1", ports
                )
            await server.aclose()
        assert f"{other} is held by process {os.getpid()}" in str(none.value)
        assert "another port or a range" in str(none.value)

    asyncio.run(main())


def test_everywhere_is_both_kinds_of_address() -> None:
    """Nodes come by IPv4 and by IPv6 to the same port."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")

    async def main() -> None:
        async with porch(host="::") as admission:
            await admission.is_answered()
            with socket.create_connection(("::1", admission.server.port)):
                pass

    asyncio.run(main())
