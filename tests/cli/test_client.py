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
from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection, CurveKeys
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


def exchange(handler: Handler | None, *args: str) -> dict[str, Any]:
    """Send a request to a new server with this handler."""

    async def main() -> dict[str, Any]:
        async with bootstrap_server(handler) as connection:
            return await request(connection, *args)

    return asyncio.run(main())


def test_a_request_gets_its_reply() -> None:
    """The request also has the address by which it reached the cluster."""
    reply = exchange(echo, "explain", "ge-3")
    assert (reply["what"], reply["about"]) == ("explain", "ge-3")
    assert reply["via"].startswith("127.0.0.1:")


async def refuse(request: ControlRequest) -> ControlReply:
    return ControlReply(
        process_token=request.process_token, body={}, error="no node ge-9"
    )


async def reply_too_long(request: ControlRequest) -> ControlReply:
    body = {"logs": "x" * MAX_FROM_CLUSTER}
    return ControlReply(process_token=request.process_token, body=body, error="")


@pytest.mark.parametrize(
    ("handler", "message"),
    [(refuse, "no node ge-9"), (reply_too_long, "one node"), (None, "starting")],
    ids=["refused", "too long", "starting"],
)
def test_an_error_reply_is_raised(handler: Handler | None, message: str) -> None:
    """The user sees the cluster's own message; a starting cluster replies, too."""
    with pytest.raises(GridEngineError, match=message) as caught:
        exchange(handler, "logs")
    assert not isinstance(caught.value, NoAnswer)


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


def test_each_address_has_its_reason(tmp_path: Path) -> None:
    """A closed port and a silent one have different reasons in the error."""
    with deaf() as silent:
        directory = left_behind(tmp_path, addresses=(closed_port(), silent))
        connection = Connection.read(directory / FILE_NAME)
        with pytest.raises(NoAnswer) as caught:
            send_request(connection, "status", timeout=0.5)
    assert [*caught.value.tried.values()] == ["connection refused", NO_REPLY]


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
        scheduler = cluster.scheduler.identity()
        file.write(scheduler, cluster.scheduler_address, directory, None)
        for name in (None, "mine", directory, file.path):
            with connect(name, shared_directory=shared, set_as_default=False) as client:
                assert client.submit(sum, [1, 2, 3], pure=False).result() == 6
    with pytest.raises(OptionError):
        connect(file.path)
    file.remove()


def test_connect_needs_exactly_one_running_cluster(shared: Path) -> None:
    """The error lists what to type; clusters that do not answer do not count."""
    with pytest.raises(OptionError, match="dask gridengine up"):
        connect(shared_directory=shared)
    lost, other = left_behind(shared), left_behind(shared, "other")
    with pytest.raises(OptionError, match=rf"connect\('{lost}'\)"):
        connect(shared_directory=shared)
    with (  # without TLS, as its clients
        running(shared, jobs=1, security=False),
        connect(shared_directory=shared, set_as_default=False) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3
    shutil.rmtree(lost)
    shutil.rmtree(other)
