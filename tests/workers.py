"""A real Scheduler with Workers in this process, and tasks controlled by files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler, Worker


@contextlib.asynccontextmanager
async def running(
    folder: Path, count: int = 2, **options: Any
) -> AsyncIterator[tuple[Scheduler, Client, list[Worker]]]:
    """A scheduler and workers ``w0``, ``w1``, ... of one thread each."""
    async with contextlib.AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(
            Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0")
        )
        workers = [
            Worker(
                scheduler.address,
                name=f"w{index}",
                nthreads=1,
                local_directory=str(folder),
                **options,
            )
            for index in range(count)
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        client = await stack.enter_async_context(
            Client(scheduler.address, asynchronous=True, set_as_default=False)
        )
        yield scheduler, client, workers


class Steps:
    """Files by which tasks report that they run, and by which a test ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begun(self, name: str) -> int:
        """Return how often a task of this name has begun."""
        log = self.folder / f"{name}.begun"
        return log.read_text().count("x") if log.exists() else 0

    def end(self, name: str) -> None:
        (self.folder / f"{name}.end").touch()

    def work(self, name: str, folder: Path) -> str:
        with (folder / f"{name}.begun").open("a") as log:
            log.write("x")
        while not (folder / f"{name}.end").exists():
            time.sleep(0.01)
        return name

    def submit(self, client: Client, name: str, **where: Any) -> Any:
        options = {"pure": False, "allow_other_workers": True, **where}
        return client.submit(self.work, name, self.folder, **options)

    def __reduce__(self) -> Any:
        return Steps, (self.folder,)


def names(scheduler: Scheduler) -> set[str]:
    return {ws.name for ws in scheduler.workers.values()}
