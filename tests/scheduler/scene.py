"""A scheduler, a client and workers, all in this process."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler, Worker

from dask_gridengine.scheduler.failure_attribution import Evidence
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.waiting import until


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[ClusterScheduler]:
    """A scheduler on loopback."""
    given = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", **options}
    async with ClusterScheduler(**given) as scheduler:
        yield scheduler


async def page(scheduler: Scheduler, path: str) -> tuple[int, str, str]:
    """Status, text and final path of a page."""

    def get() -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{scheduler.http_server.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                text = response.read().decode()
                return response.status, text, response.url.rpartition("/")[2]
        except urllib.error.HTTPError as exc:
            return exc.code, "", exc.url or ""

    return await asyncio.to_thread(get)


class Info:
    """What the cluster knows of its nodes: records calls, returns what a test sets."""

    def __init__(self) -> None:
        self.lost: list[tuple[str, bool]] = []
        self.exits: list[str] = []
        self.resumed: list[str] = []
        self.on_heard: Callable[[str], object] = lambda name: None
        self.explained: list[list[str]] = []
        self.found = Evidence()

    def missing(self, name: str, *, expected: bool) -> None:
        self.lost.append((name, expected))

    def worker_exit(self, name: str, event: dict[str, Any]) -> None:
        self.exits.append(name)

    def ours(self, name: Any) -> bool:
        return True

    def deaths(self, names: Any) -> str:
        self.explained.append(list(names))
        return f"they died: {', '.join(names)}"

    def evidence(self, names: Any) -> Evidence:
        return self.found

    def heard(self, name: str) -> None:
        self.resumed.append(name)
        self.on_heard(name)


@contextlib.asynccontextmanager
async def working(
    folder: Path, count: int = 1, **options: Any
) -> AsyncIterator[tuple[ClusterScheduler, Client, list[Worker]]]:
    """A scheduler with an `Info`, a client, and workers ``w0``, ``w1``, ..."""
    async with contextlib.AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(running(dashboard=False, **options))
        info: Any = Info()
        scheduler.attribute_failures(info)
        workers = [
            Worker(scheduler.address, name=f"w{i}", nthreads=1, local_directory=folder)
            for i in range(count)
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        client = Client(scheduler.address, asynchronous=True, set_as_default=False)
        yield scheduler, await stack.enter_async_context(client), workers


def info_of(scheduler: ClusterScheduler) -> Info:
    info: Any = scheduler.failure_info
    assert isinstance(info, Info)
    return info


def nap() -> None:
    """A task that still runs when its worker is lost."""
    import time

    time.sleep(0.5)


async def lose(scheduler: Scheduler, worker: Worker) -> None:
    """Break the connection, as when the worker's host is lost."""
    worker.batched_stream.comm.abort()
    await until(lambda: worker.address not in scheduler.workers, "it is removed")
