"""Control requests over the bootstrap channel with real CURVE, and `connect`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine import OptionError, connect
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
from dask_gridengine.cli.client import NO_REPLY, send_request
from dask_gridengine.cli.scheduler_file import SchedulerFile
from dask_gridengine.errors import GridEngineError, NoAnswer
from tests.clusters import closed_port, deaf, left_behind, running

Handler = Callable[[ControlRequest], Awaitable[ControlReply]]


async def echo(request: ControlRequest) -> ControlReply:
    """Reply with the request."""
    body = {"what": request.what, "about": request.about, "via": request.via}
    return ControlReply(process_token=request.process_token, body=body, error="")


def reject(hello: Hello) -> NotNeeded:
    return NotNeeded(process_token=hello.process_token, reason="a test")


def ignore(report: ExitReport) -> None:
    pass


@contextlib.asynccontextmanager
async def bootstrap_server(handler: Handler | None) -> AsyncIterator[Connection]:
    server = BootstrapServer(on_hello=reject, on_exit_report=ignore)
    server.on_control_request = handler
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


async def request(connection: Connection, *args: str, **options: Any) -> dict[str, Any]:
    return await asyncio.to_thread(send_request, connection, *args, **options)


def test_a_request_gets_its_reply() -> None:
    """The request also tells by which address it reached the cluster."""

    async def main() -> None:
        async with bootstrap_server(echo) as connection:
            reply = await request(connection, "explain", "ge-3")
            (via,) = connection.addresses
            assert reply == {"what": "explain", "about": "ge-3", "via": via}

    asyncio.run(main())


def test_an_error_reply_is_raised() -> None:
    """The user sees the cluster's own message."""

    async def refuse(request: ControlRequest) -> ControlReply:
        return ControlReply(
            process_token=request.process_token, body={}, error="no node ge-9"
        )

    async def main() -> None:
        async with bootstrap_server(refuse) as connection:
            with pytest.raises(GridEngineError, match="no node ge-9"):
                await request(connection, "explain", "ge-9")

    asyncio.run(main())


def test_a_starting_cluster_replies_with_an_error() -> None:
    """Its port is open before it can answer."""

    async def main() -> None:
        async with bootstrap_server(None) as connection:
            with pytest.raises(GridEngineError) as caught:
                await request(connection, "status")
            assert not isinstance(caught.value, NoAnswer)

    asyncio.run(main())


def test_a_request_without_the_key_is_dropped() -> None:
    """It gets no reply, and does not reach the handler."""
    handled = []

    async def note(request: ControlRequest) -> ControlReply:
        handled.append(request)
        return await echo(request)

    async def main() -> None:
        async with bootstrap_server(note) as connection:
            stranger = replace(connection, node_keys=CurveKeys.generate())
            with pytest.raises(NoAnswer) as caught:
                await request(stranger, "status", timeout=0.5)
            assert [*caught.value.tried.values()] == [NO_REPLY]
            assert handled == []

    asyncio.run(main())


def test_a_closed_port_and_a_silent_one_are_told_apart() -> None:
    """The error has the reason for each address."""
    connection = Connection(
        cluster="mine",
        addresses=(closed_port(),),
        server_key=CurveKeys.generate().public,
        node_keys=CurveKeys.generate(),
        timeout=5.0,
    )
    with pytest.raises(NoAnswer) as caught:
        send_request(connection, "status")
    assert [*caught.value.tried.values()] == ["connection refused"]
    with deaf() as address:
        silent = replace(connection, addresses=(address,))
        with pytest.raises(NoAnswer) as caught:
            send_request(silent, "status", timeout=0.5)
    assert [*caught.value.tried.values()] == [NO_REPLY]


def test_a_reply_that_is_too_long_is_an_error() -> None:
    """No frame is longer than the client accepts."""

    async def long(request: ControlRequest) -> ControlReply:
        body = {"logs": "x" * MAX_FROM_CLUSTER}
        return ControlReply(process_token=request.process_token, body=body, error="")

    async def main() -> None:
        async with bootstrap_server(long) as connection:
            with pytest.raises(GridEngineError, match="one node"):
                await request(connection, "logs")

    asyncio.run(main())


def test_a_slow_request_does_not_delay_others() -> None:
    """While the cluster works on one request, another gets its reply."""

    async def main() -> None:
        release = asyncio.Event()

        async def slow(request: ControlRequest) -> ControlReply:
            if request.what == "logs":
                await release.wait()
            return await echo(request)

        async with bootstrap_server(slow) as connection:
            waiting = asyncio.ensure_future(request(connection, "logs", timeout=20))
            assert (await request(connection, "status"))["what"] == "status"
            assert not waiting.done()
            release.set()
            assert (await waiting)["what"] == "logs"

    asyncio.run(main())


def test_connect_by_name_directory_or_scheduler_file(
    shared: Path, tmp_path: Path
) -> None:
    """The TLS identity comes from the cluster; the caller needs no secret."""
    file = SchedulerFile(tmp_path / "f.json")
    file.check()
    with running(shared, jobs=1) as cluster:
        (directory,) = shared.iterdir()
        scheduler = cluster.scheduler.identity(0)
        file.write(scheduler, cluster.scheduler_address, directory, None)
        for name in (None, "mine", directory, file.path):
            with connect(name, shared_directory=shared, set_as_default=False) as client:
                assert client.submit(sum, [1, 2, 3], pure=False).result() == 6
    with pytest.raises(OptionError):
        connect(file.path)
    file.remove()


def test_connect_without_encryption(shared: Path) -> None:
    """A cluster without TLS has clients without TLS."""
    with (
        running(shared, jobs=1, security=False),
        connect(shared_directory=shared, set_as_default=False) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3


def test_connect_needs_exactly_one_running_cluster(shared: Path) -> None:
    """The error lists what to type; clusters that do not answer do not count."""
    with pytest.raises(OptionError, match="dask gridengine up"):
        connect(shared_directory=shared)
    lost, other = left_behind(shared), left_behind(shared, "other")
    with pytest.raises(OptionError, match=rf"connect\('{lost}'\)"):
        connect(shared_directory=shared)
    with (
        running(shared, jobs=1),
        connect(shared_directory=shared, set_as_default=False) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3
    shutil.rmtree(lost)
    shutil.rmtree(other)
