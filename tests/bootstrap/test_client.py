"""The node's end of the bootstrap channel, with real, closed and silent servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from dask_gridengine.bootstrap.client import request_allocation, send_exit_report
from dask_gridengine.bootstrap.codec import decode, encode
from dask_gridengine.bootstrap.connection_file import Connection, CurveKeys
from dask_gridengine.bootstrap.messages import (
    Answer,
    ExitReport,
    Hello,
    NotNeeded,
    Wait,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.errors import BootstrapError
from dask_gridengine.net.addresses import join
from dask_gridengine.net.ports import Ports
from tests.samples import exit_report, hello
from tests.waiting import until


def leave(greeting: Hello) -> Answer:
    return NotNeeded(process_token=greeting.process_token, reason="a test")


def connection(
    server: BootstrapServer | None, *addresses: str, timeout: float = 5.0
) -> Connection:
    """Make the connection of a server's cluster; of a closed one for None."""
    server = server or BootstrapServer(on_hello=leave, on_exit_report=print)
    return Connection(
        cluster="dask-x",
        addresses=addresses,
        server_key=server.keys.public,
        node_keys=server.node_keys,
        timeout=timeout,
    )


@contextlib.asynccontextmanager
async def bootstrap_server(
    on_hello: Callable[[Hello], Answer] = leave,
    on_exit_report: Callable[[ExitReport], Any] = print,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[BootstrapServer, str]]:
    """Run a server in the test's loop; clients run in a thread."""
    server = BootstrapServer(on_hello=on_hello, on_exit_report=on_exit_report)
    server.start(host)
    try:
        yield server, join(host, server.port)
    finally:
        await server.aclose()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield join(*holder.getsockname())


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that drops packets, as a firewall does: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield join(*listener.getsockname())


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """An address that accepts and then never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield join(*listener.getsockname())


async def test_every_address_is_tried_until_one_answers() -> None:
    """The hello reports which address answered, and the results of the others."""
    received: list[Hello] = []

    def note(greeting: Hello) -> Answer:
        received.append(greeting)
        return leave(greeting)

    with closed_port() as refused, mute() as silent:
        async with bootstrap_server(note) as (server, open_address):
            where = connection(server, refused, silent, open_address, timeout=2.0)
            answer = await asyncio.to_thread(request_allocation, where, hello())
    assert answer == leave(hello())
    assert received[0].via == open_address
    assert received[0].tried == {
        refused: "connection refused",
        silent: "connected, but did not answer to our key",
        open_address: "connected",
    }


async def test_the_error_has_the_result_of_each_address() -> None:
    """Closed, filtered, another cluster's: each with its evidence."""
    with closed_port() as refused, black_hole() as swallowed:
        async with bootstrap_server() as (_, foreign):
            where = connection(None, refused, swallowed, foreign, timeout=1.0)
            start = time.monotonic()
            with pytest.raises(BootstrapError) as caught:
                await asyncio.to_thread(request_allocation, where, hello())
            # One second for each address that does not refuse, and a round.
            assert time.monotonic() - start < 6
    text = str(caught.value)
    assert f"{refused}: connection refused" in text
    assert f"{swallowed}: no answer in 1 s (a firewall, or no route)" in text
    assert f"{foreign}: connected, but did not answer to our key" in text
    assert "no answer from cluster dask-x in 1 s" in text
    for cause in ("closed", "firewall", "not be", "another cluster's"):
        assert cause in text


async def test_a_server_that_starts_late_is_found() -> None:
    """A node tries again until its timeout: the server may not listen yet."""
    server = BootstrapServer(on_hello=leave, on_exit_report=print)
    with closed_port() as address:
        pass
    where = connection(server, address, timeout=20.0)
    asking = asyncio.create_task(asyncio.to_thread(request_allocation, where, hello()))
    done, _ = await asyncio.wait({asking}, timeout=0.3)
    assert not done
    port = int(address.rpartition(":")[2])
    server.start("127.0.0.1", Ports(first=port, last=port))
    assert await asking == leave(hello())
    await server.aclose()


async def test_a_waiting_node_takes_an_early_answer() -> None:
    """However long the wait is, and without asking again."""
    waiting = asyncio.Event()

    def decide(greeting: Hello) -> Answer:
        waiting.set()
        return Wait(process_token=greeting.process_token, seconds=60, reason="busy")

    async with bootstrap_server(decide) as (server, address):
        asking = asyncio.create_task(
            asyncio.to_thread(request_allocation, connection(server, address), hello())
        )
        await asyncio.wait_for(waiting.wait(), 5)
        greeting = hello(via=address)
        await until(lambda: server.counts["wait"], "a wait was sent")
        server.send_answers([(greeting, leave(greeting))])
        assert await asyncio.wait_for(asking, 5) == leave(greeting)
        assert server.counts == {"wait": 1, "not_needed": 1}


async def test_a_wait_renews_the_timeout() -> None:
    """After a wait longer than its timeout, a busy server still has time to answer."""
    waiting: list[Hello] = []

    def decide(greeting: Hello) -> Answer:
        waiting.append(greeting)
        if len(waiting) == 1:
            return Wait(
                process_token=greeting.process_token, seconds=1.6, reason="busy"
            )
        threading.Event().wait(1.2)  # the cluster's loop is busy
        return leave(greeting)

    async with bootstrap_server(decide) as (server, address):
        where = connection(server, address, timeout=1.5)
        assert await asyncio.to_thread(request_allocation, where, hello()) == leave(
            hello()
        )


@pytest.mark.parametrize("successor", ["another cluster", "a web server"])
async def test_a_waiting_node_notices_that_another_program_has_the_port(
    successor: str,
) -> None:
    """A cluster closed and something else listens at its port: a waiting node is not
    served, does not hang, and ends with the reason."""

    def wait(greeting: Hello) -> Answer:
        return Wait(process_token=greeting.process_token, seconds=1, reason="importing")

    async with bootstrap_server(wait) as (first, address):
        where = connection(first, address, timeout=1.0)
        asking = asyncio.create_task(
            asyncio.to_thread(request_allocation, where, hello())
        )
        await until(lambda: first.counts["wait"], "a wait was sent")
    opened = another_cluster if successor == "another cluster" else web_server
    async with opened(first.port):
        with pytest.raises(BootstrapError) as caught:
            await asking
    text = str(caught.value)
    assert f"{address}: connected, but did not answer to our key" in text


@contextlib.asynccontextmanager
async def another_cluster(port: int) -> AsyncIterator[None]:
    """The server of another cluster, which must not receive a message."""
    server = BootstrapServer(on_hello=leave, on_exit_report=print)
    server.start("127.0.0.1", Ports(first=port, last=port))
    yield
    assert not server.counts
    await server.aclose()


@contextlib.asynccontextmanager
async def web_server(port: int) -> AsyncIterator[None]:
    """A server that answers, but not with ZMTP: libzmq gives such a connection up for
    good, and a socket without any blocks its sender."""

    async def refuse(_: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        to.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        to.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", port):
        yield


async def test_an_answer_to_another_process_is_ignored() -> None:
    """Only answers with the token of this process count."""
    keys = CurveKeys.generate()
    context = zmq.asyncio.Context()
    with context.socket(zmq.ROUTER) as router:
        router.linger = 0
        router.curve_server = True
        router.curve_secretkey = keys.secret.encode()
        port = router.bind_to_random_port("tcp://127.0.0.1")
        where = Connection(
            cluster="dask-x",
            addresses=(f"127.0.0.1:{port}",),
            server_key=keys.public,
            node_keys=CurveKeys.generate(),
            timeout=5.0,
        )
        asking = asyncio.create_task(
            asyncio.to_thread(request_allocation, where, hello())
        )
        peer, frame = await asyncio.wait_for(router.recv_multipart(), 5)
        greeting = decode(frame)
        assert isinstance(greeting, Hello)
        other = NotNeeded(process_token="f" * 16, reason="yours")
        for answer in (other, greeting, exit_report(), leave(greeting)):
            await router.send_multipart([peer, encode(answer)])
        assert await asking == leave(greeting)
    context.destroy(linger=0)


def test_an_exit_report_to_a_closed_port_takes_no_time() -> None:
    """The nodes of a closed cluster do not linger."""
    with closed_port() as address:
        start = time.monotonic()
        assert not send_exit_report(connection(None, address), address, exit_report())
        assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("place", [black_hole, mute])
def test_an_exit_report_without_a_reader_is_bounded(place: Any) -> None:
    """The slot is free a few seconds later at most."""
    with place() as address:
        start = time.monotonic()
        send_exit_report(connection(None, address), address, exit_report())
        assert time.monotonic() - start < 3


def test_no_thread_is_left_for_a_fork_to_find(tmp_path: Path) -> None:
    """ZeroMQ's threads end with the exchange, or no worker could be forked."""
    code = """
import json, pathlib, sys, time
from dask_gridengine.worker import fork_server as template
from dask_gridengine.bootstrap.messages import Hello
from dask_gridengine.bootstrap.client import request_allocation
from dask_gridengine.bootstrap.connection_file import Connection
connection = Connection.read(pathlib.Path(sys.argv[1]))
answer = request_allocation(connection, Hello(**json.load(sys.stdin)))
# The kernel lists a thread for a moment after it was joined.
end = time.monotonic() + 5
while template.threads() > 1 and time.monotonic() < end:
    time.sleep(0.01)
print(answer.kind, template.threads())
"""

    async def main() -> bytes:
        async with bootstrap_server() as (server, address):
            file = connection(server, address).write(tmp_path)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                str(file),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            greeting = json.dumps(vars(hello())).encode()
            text, _ = await process.communicate(greeting)
            return text

    assert asyncio.run(main()).split() == [b"not_needed", b"1"]
