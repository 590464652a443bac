"""The cluster's Scheduler: its dashboard, and its way within the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from distributed import Client, Worker

from dask_gridengine.scheduler import DASHBOARD, ClusterScheduler


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[ClusterScheduler]:
    given = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", **options}
    scheduler = await ClusterScheduler(**given)
    try:
        yield scheduler
    finally:
        await scheduler.close()


async def page(scheduler: ClusterScheduler, path: str) -> tuple[int, str, str]:
    """Status, text and final path of a page of the dashboard's server."""

    def get() -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{scheduler.http_server.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                text = response.read().decode()
                return response.status, text, response.url.partition("/")[2]
        except urllib.error.HTTPError as exc:
            return exc.code, "", exc.url or ""

    return await asyncio.to_thread(get)


def test_bokeh_is_loaded_for_the_first_visitor_only() -> None:
    """A scheduler starts without it; several who come at once all get their page."""
    code = """
import asyncio, sys, urllib.request
from dask_gridengine.scheduler import ClusterScheduler

def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as response:
        return response.url.rpartition("/")[2], b"bokeh" in response.read().lower()

async def main():
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    scheduler = await ClusterScheduler(**options)
    port = scheduler.http_server.port
    before = "bokeh" in sys.modules
    pages = ["", "status", "workers?theme=dark"]
    print(before, *await asyncio.gather(
        *[asyncio.to_thread(get, port, path) for path in pages]
    ))
    await scheduler.close()

asyncio.run(main())
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert said.stdout.split("\n")[0] == (
        "False ('status', True) ('status', True) ('workers?theme=dark', True)"
    ), said.stderr


def test_an_unknown_page_is_not_found() -> None:
    """Nobody is sent back and forth, and nobody to another host."""

    async def main() -> None:
        async with running() as scheduler:
            assert (await page(scheduler, "//example.org/%2F..//x"))[0] == 404
            assert (await page(scheduler, "/nothing"))[0] == 404
            assert (await page(scheduler, "/status"))[0] == 200

    asyncio.run(main())


def test_programs_find_the_pictures_too() -> None:
    """The index that JupyterLab reads is whole, though nobody has looked before."""

    async def main() -> None:
        async with running() as scheduler:
            for _ in range(2):
                status, text, _ = await page(scheduler, "/individual-plots.json")
                assert status == 200
                assert "/individual-task-stream" in json.loads(text).values()

    asyncio.run(main())


def test_what_is_no_picture_needs_no_bokeh() -> None:
    """The pages for programs are there at once, whoever looks at the others."""

    async def main() -> None:
        async with running() as scheduler:
            assert (await page(scheduler, "/health"))[:2] == (200, "ok")
            assert len(scheduler.http_application.applications) == 1

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"dashboard": False}, {"dashboard_address": None}])
def test_there_is_no_dashboard_if_none_is_wanted(options: dict[str, Any]) -> None:
    """As with Dask's own: nothing of it can be fetched then."""

    async def main() -> None:
        async with running(**options) as scheduler:
            assert scheduler.http_application.applications == []

    asyncio.run(main())


def test_without_bokeh_the_page_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command to type stands where the dashboard would be."""
    monkeypatch.setitem(sys.modules, DASHBOARD, None)

    async def main() -> None:
        async with running() as scheduler:
            status, text, _ = await page(scheduler, "/status")
            assert status == 200
            assert "pip install" in text

    asyncio.run(main())


def test_the_network_address_stays_the_address() -> None:
    """Workers are told where the network is; the other way is an addition."""

    async def main() -> None:
        async with running(dashboard=False) as scheduler:
            assert scheduler.address.startswith("tcp://127.0.0.1:")
            assert scheduler.in_process_address.startswith("inproc://")
            async with (
                Worker(scheduler.address, nthreads=1),
                Client(scheduler.in_process_address, asynchronous=True) as client,
            ):
                assert await client.submit(sum, [1, 2]) == 3

    asyncio.run(main())
