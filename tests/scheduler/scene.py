"""A scheduler with a witness, a client and workers, all in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from distributed import Client, Worker

from dask_gridengine.scheduler.failure_attribution import Evidence
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.waiting import until


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[ClusterScheduler]:
    given = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", **options}
    scheduler = await ClusterScheduler(**given)
    try:
        yield scheduler
    finally:
        await scheduler.close()


class Listener:
    """A witness that remembers what it is told, and answers what a test wants."""

    def __init__(self) -> None:
        self.lost: list[tuple[str, bool]] = []
        self.exits: list[str] = []
        self.asked: list[list[str]] = []
        self.found = Evidence()

    def missing(self, name: str, *, expected: bool) -> None:
        self.lost.append((name, expected))

    def worker_exit(self, name: str, event: dict[str, Any]) -> None:
        self.exits.append(name)

    def ours(self, name: Any) -> bool:
        return True

    def deaths(self, names: Any) -> str:
        self.asked.append(list(names))
        return f"they died: {', '.join(names)}"

    def evidence(self, names: Any) -> Evidence:
        return self.found

    def heard(self, name: str) -> None:
        pass


@contextlib.asynccontextmanager
async def working(
    folder: Path, count: int = 1, **options: Any
) -> AsyncIterator[tuple[ClusterScheduler, Client, list[Worker]]]:
    """A scheduler with a witness, a client, and workers ``w0``, ``w1``, ..."""
    async with contextlib.AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(running(dashboard=False, **options))
        scheduler.failure_info = Listener()
        workers = [
            Worker(scheduler.address, name=f"w{i}", nthreads=1, local_directory=folder)
            for i in range(count)
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        client = Client(scheduler.address, asynchronous=True, set_as_default=False)
        yield scheduler, await stack.enter_async_context(client), workers


def nap() -> None:
    """A task that is still running when its worker is lost."""
    import time

    time.sleep(0.5)


async def lose(scheduler: ClusterScheduler, worker: Worker) -> None:
    """As when its host is lost: the connection breaks."""
    worker.batched_stream.comm.abort()
    await until(lambda: worker.address not in scheduler.workers, "it is missed")
