"""Questions to a cluster over its own door, with real CURVE."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from dask_gridengine.bootstrap.codec import MAX_FROM_CLUSTER
from dask_gridengine.bootstrap.connection_file import Connection, CurveKeys
from dask_gridengine.bootstrap.messages import (
    ControlReply,
    ControlRequest,
    ExitReport,
    Hello,
    NotNeeded,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.cli.client import UNHEARD, ask_cluster
from dask_gridengine.errors import GridEngineError, NoAnswer
from tests.clusters import closed_port, deaf

Answering = Callable[[ControlRequest], Awaitable[ControlReply]]


async def echo(ask: ControlRequest) -> ControlReply:
    """Tells what it was asked."""
    body = {"what": ask.what, "about": ask.about, "via": ask.via}
    return ControlReply(process_token=ask.process_token, body=body, error="")


def leave(hello: Hello) -> NotNeeded:
    return NotNeeded(process_token=hello.process_token, reason="a test")


def ignore(said: ExitReport) -> None:
    pass


@contextlib.asynccontextmanager
async def bootstrap_server(answer: Answering | None) -> AsyncIterator[Connection]:
    server = BootstrapServer(on_hello=leave, on_exit_report=ignore)
    server.on_control_request = answer
    server.start("127.0.0.1")
    try:
        yield Connection(
            cluster="mine",
            addresses=(f"127.0.0.1:{server.port}",),
            server_key=server.keys.public,
            node_keys=server.node_keys,
            timeout=5.0,
        )
    finally:
        await server.aclose()


async def asked(connection: Connection, *question: str, **how: Any) -> dict[str, Any]:
    return await asyncio.to_thread(ask_cluster, connection, *question, **how)


def test_a_question_is_answered() -> None:
    """The answer comes back, and tells by which address the door was reached."""

    async def main() -> None:
        async with bootstrap_server(echo) as connection:
            told = await asked(connection, "explain", "ge-3")
            (via,) = connection.addresses
            assert told == {"what": "explain", "about": "ge-3", "via": via}

    asyncio.run(main())


def test_a_refusal_is_an_error_in_the_cluster_s_words() -> None:
    """What it says is what the user reads."""

    async def refuse(ask: ControlRequest) -> ControlReply:
        return ControlReply(
            process_token=ask.process_token, body={}, error="never heard of ge-9"
        )

    async def main() -> None:
        async with bootstrap_server(refuse) as connection:
            with pytest.raises(GridEngineError, match="never heard of ge-9"):
                await asked(connection, "explain", "ge-9")

    asyncio.run(main())


def test_a_cluster_that_starts_says_so() -> None:
    """Its door is open before there is anybody to answer."""

    async def main() -> None:
        async with bootstrap_server(None) as connection:
            with pytest.raises(GridEngineError, match="it is starting"):
                await asked(connection, "status")

    asyncio.run(main())


def test_who_has_not_the_key_is_not_heard() -> None:
    """A question of a stranger is never answered, and never put."""
    grid_info = []

    async def note(ask: ControlRequest) -> ControlReply:
        grid_info.append(ask)
        return await echo(ask)

    async def main() -> None:
        async with bootstrap_server(note) as connection:
            stranger = replace(connection, node_keys=CurveKeys.generate())
            with pytest.raises(NoAnswer, match=UNHEARD):
                await asked(stranger, "status", seconds=0.5)
            assert grid_info == []

    asyncio.run(main())


def test_nobody_there_is_told_by_the_kernel_s_word() -> None:
    """A closed port and one that is silent are different things."""
    connection = Connection(
        cluster="mine",
        addresses=(closed_port(),),
        server_key=CurveKeys.generate().public,
        node_keys=CurveKeys.generate(),
        timeout=5.0,
    )
    with pytest.raises(NoAnswer, match="connection refused"):
        ask_cluster(connection, "status")
    with deaf() as address:
        silent = replace(connection, addresses=(address,))
        with pytest.raises(NoAnswer, match=UNHEARD):
            ask_cluster(silent, "status", seconds=0.5)


def test_too_long_an_answer_says_what_to_ask_instead() -> None:
    """No frame is larger than who asks would read."""

    async def long(ask: ControlRequest) -> ControlReply:
        body = {"logs": "x" * MAX_FROM_CLUSTER}
        return ControlReply(process_token=ask.process_token, body=body, error="")

    async def main() -> None:
        async with bootstrap_server(long) as connection:
            with pytest.raises(GridEngineError, match="ask about one node"):
                await asked(connection, "logs")

    asyncio.run(main())


def test_slow_answers_keep_nobody_waiting() -> None:
    """While one question is still being answered, another gets its answer."""

    async def main() -> None:
        release = asyncio.Event()

        async def slow(ask: ControlRequest) -> ControlReply:
            if ask.what == "logs":
                await release.wait()
            return await echo(ask)

        async with bootstrap_server(slow) as connection:
            waiting = asyncio.ensure_future(asked(connection, "logs", seconds=20))
            assert (await asked(connection, "status"))["what"] == "status"
            assert not waiting.done()
            release.set()
            assert (await waiting)["what"] == "logs"

    asyncio.run(main())
