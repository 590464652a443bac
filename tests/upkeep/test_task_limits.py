"""Limits for the time a task runs, at a real scheduler with workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from distributed import Client, Worker

from dask_gridengine.errors import TaskTimeLimit
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.upkeep.task_limits import TaskLimits, running_tasks
from tests.waiting import until

GO_ON = threading.Event()


def hang() -> str:
    GO_ON.wait(30)
    return "done"


class Scene:
    """What the limits said, and whom they had replaced."""

    def __init__(self, scheduler: ClusterScheduler, client: Client) -> None:
        self.scheduler, self.client = scheduler, client
        self.said: list[str] = []
        self.turned: list[tuple[str, str]] = []

    def limits(self, soft: float | None, hard: float | None) -> TaskLimits:
        return TaskLimits(
            lambda: list(self.scheduler.workers.values()),
            self.scheduler.fail,
            soft=soft,
            hard=hard,
            say=self.said.append,
            turn_over=lambda name, why: self.turned.append((name, why)),
        )

    async def runs_for(self, seconds: float) -> None:
        """Wait until the only worker says that its task has run so long."""
        (ws,) = self.scheduler.workers.values()
        await until(
            lambda: any(ran >= seconds for ran in running_tasks(ws).values()),
            f"a task that runs for {seconds} s",
        )


@contextlib.asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    GO_ON.clear()
    async with contextlib.AsyncExitStack() as stack:
        scheduler = await ClusterScheduler(
            host="127.0.0.1", port=0, dashboard_address=":0", dashboard=False
        )
        stack.push_async_callback(scheduler.close)
        worker = Worker(
            scheduler.address, name="w0", nthreads=1, local_directory=str(folder)
        )
        await stack.enter_async_context(worker)
        client = Client(scheduler.address, asynchronous=True, set_as_default=False)
        stack.callback(GO_ON.set)
        yield Scene(scheduler, await stack.enter_async_context(client))


def test_a_soft_limit_names_the_task_once(tmp_path: Path) -> None:
    """The task, where it runs, and the limit; it may go on."""

    async def main() -> None:
        async with scene(tmp_path) as at:
            future = at.client.submit(hang)
            limits = at.limits(soft=0.3, hard=None)
            limits.look()
            assert at.said == []
            await at.runs_for(0.3)
            limits.look()
            limits.look()
            (said,) = at.said
            assert future.key in said
            assert "on w0 (127.0.0.1), longer than task_soft_limit=0.3" in said
            GO_ON.set()
            assert await future == "done"
            assert at.turned == []

    asyncio.run(main())


def test_a_hard_limit_is_the_task_s_error(tmp_path: Path) -> None:
    """Its future names the limit, it is not tried again, and its process must go."""

    async def main() -> None:
        async with scene(tmp_path) as at:
            future = at.client.submit(hang, retries=3)
            limits = at.limits(soft=None, hard=0.3)
            await at.runs_for(0.3)
            limits.look()
            limits.look()
            with pytest.raises(TaskTimeLimit, match=r"task_hard_limit=0.3 seconds, on"):
                await future
            why = f"task {future.key!r} ran longer than task_hard_limit=0.3"
            assert at.turned == [("w0", why)]
            assert at.said == []

    asyncio.run(main())


def test_without_limits_nothing_is_looked_at(tmp_path: Path) -> None:
    """As by default: tasks may take as long as they like."""

    async def main() -> None:
        async with scene(tmp_path) as at:
            future = at.client.submit(hang)
            await at.runs_for(0.3)
            at.limits(soft=None, hard=None).look()
            assert (at.said, at.turned) == ([], [])
            GO_ON.set()
            assert await future == "done"

    asyncio.run(main())
