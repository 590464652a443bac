"""The cluster's Scheduler: its dashboard, and its way within the process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import distributed.scheduler
import pytest
from distributed import Client, Worker

from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.clock import steady_time
from dask_gridengine.errors import NodesFailed
from dask_gridengine.scheduler import scheduler as scheduling
from dask_gridengine.scheduler.scheduler import DASHBOARD, ClusterScheduler
from tests.samples import two_in_a_row
from tests.scheduler.scene import lose, running, working
from tests.waiting import until


def test_the_first_free_port_is_taken() -> None:
    """Of those a firewall lets through; whoever holds the others is named."""

    async def main() -> None:
        with two_in_a_row() as (held, ports):
            async with running(ports=ports) as scheduler:
                assert scheduler.port == held + 1
                with pytest.raises(RuntimeError) as none:
                    await ClusterScheduler(
                        ports=ports, host="127.0.0.1", dashboard_address=":0"
                    )
        said = str(none.value.__cause__)
        assert f"scheduler_port='{ports}': no such port is free" in said
        assert f"{held} is held by process {os.getpid()}" in said

    asyncio.run(main())


@pytest.mark.parametrize("host", ["[::1]", None])
def test_a_port_goes_with_any_host(host: str | None) -> None:
    """IPv6 keeps its brackets; without a host it is all of them."""

    async def main() -> None:
        with two_in_a_row() as (_, ports):
            async with running(ports=ports, host=host) as scheduler:
                # What is held is held for IPv4.
                port = ports.first if host else ports.last
                assert scheduler.port == port
                assert host is None or scheduler.address == f"tcp://[::1]:{port}"

    asyncio.run(main())


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
from dask_gridengine.scheduler.scheduler import ClusterScheduler

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


def test_the_witness_hears_of_every_worker_that_goes(tmp_path: Path) -> None:
    """Whether it was lost, or let go on purpose; and of exits that Nannies report."""

    async def main() -> None:
        async with working(tmp_path, 2) as (scheduler, _, workers):
            await lose(scheduler, workers[0])
            await scheduler.retire_workers(names=["w1"], close_workers=True)
            assert scheduler.failure_info.lost == [("w0", False), ("w1", True)]
            scheduler.log_event(WORKER_EXIT, {"name": "w1", "signal": "SIGKILL"})
            scheduler.log_event("another topic", {"name": "w0"})
            assert scheduler.failure_info.exits == ["w1"]

    asyncio.run(main())


def test_a_silent_worker_is_removed(tmp_path: Path) -> None:
    """After worker-ttl, whatever the cluster is waiting for meanwhile."""

    async def main() -> None:
        async with working(tmp_path) as (scheduler, _, (w,)):
            scheduler.worker_ttl = 60
            scheduler.workers[w.address].last_seen -= 3600
            await scheduler.check_worker_ttl()
            assert w.address not in scheduler.workers

    asyncio.run(main())


@pytest.mark.parametrize("change", ["suspended", "wall forward", "wall back", "both"])
def test_neither_suspension_nor_a_step_of_the_clock_is_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Of a laptop whose lid was closed, or whose wall clock was set, no worker ends;
    afterwards silence counts as before."""
    steady, wall = {
        "suspended": (3600, 3600),
        "wall forward": (0, 3600),
        "wall back": (0, -3600),
        "both": (3600, 7200),
    }[change]

    async def main() -> None:
        async with working(tmp_path) as (scheduler, _, (w,)):
            scheduler.worker_ttl = 60
            with monkeypatch.context() as patched:
                for module in (scheduling, distributed.scheduler):
                    patched.setattr(module, "time", lambda: time.time() + wall)
                patched.setattr(
                    scheduling, "steady_time", lambda: steady_time() + steady
                )
                await scheduler.check_worker_ttl()
                assert w.address in scheduler.workers
                scheduler.workers[w.address].last_seen -= 70
                await scheduler.check_worker_ttl()
                assert w.address not in scheduler.workers

    asyncio.run(main())


def test_all_who_wait_for_a_worker_can_be_told_that_none_comes() -> None:
    """Unrunnable and queued tasks end with the error, and what depends on them."""
    error = NodesFailed(1, 0, ["node 1.1 could not find Python"])

    async def main() -> None:
        async with (
            running(dashboard=False) as scheduler,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            assert scheduler.fail_waiting(error) == 0
            restricted = client.submit(abs, -1, workers=["10.0.0.1"])
            queued = client.map(abs, range(20))
            dependent = client.submit(sum, queued)
            await until(lambda: len(scheduler.tasks) == 22, "all are there")
            assert scheduler.unrunnable
            assert scheduler.queued
            scheduler.fail_waiting(error)
            for future in [restricted, *queued, dependent]:
                with pytest.raises(NodesFailed, match="could not find Python"):
                    await future
            async with Worker(scheduler.address, nthreads=1):
                assert await client.submit(abs, -5) == 5

    asyncio.run(main())


def test_a_worker_of_a_suspended_node_gets_no_new_task(tmp_path: Path) -> None:
    """It is not ended for its silence either; resumed, it goes on."""

    async def main() -> None:
        async with working(tmp_path) as (scheduler, client, (worker,)):
            (ws,) = scheduler.workers.values()
            worker.periodic_callbacks["heartbeat"].stop()  # it is silent from now on
            scheduler.suspended(["w0"], True)
            waiting = client.submit(int, 7)
            await until(lambda: scheduler.unrunnable, "it waits")
            ws.last_seen -= 1000.0
            assert scheduler.quiet(10.0) == ["w0"]
            scheduler.worker_ttl = 1.0
            await scheduler.check_worker_ttl()
            assert scheduler.workers[worker.address] is ws
            scheduler.suspended(["w0"], False)
            assert await waiting == 7
            assert scheduler.quiet(10.0) == []

    asyncio.run(main())
