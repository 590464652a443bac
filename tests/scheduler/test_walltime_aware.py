"""No task is started where it cannot be done in time; real workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from distributed import Client, Worker
from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.scheduler.task_durations import RECENT
from dask_gridengine.scheduler.walltime_aware import WalltimeAwareScheduler
from tests.waiting import until


@contextlib.asynccontextmanager
async def running(
    folder: Path, count: int = 2
) -> AsyncIterator[tuple[WalltimeAwareScheduler, Client]]:
    """A scheduler and workers ``w0``, ``w1``, ... of one thread each."""
    async with contextlib.AsyncExitStack() as stack:
        options = {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}
        scheduler = WalltimeAwareScheduler(dashboard=False, **options)
        await stack.enter_async_context(scheduler)
        for index in range(count):
            worker = Worker(
                scheduler.address,
                name=f"w{index}",
                nthreads=1,
                local_directory=str(folder),
            )
            await stack.enter_async_context(worker)
        client = Client(scheduler.address, asynchronous=True, set_as_default=False)
        yield scheduler, await stack.enter_async_context(client)


def nap(number: int) -> int:
    time.sleep(0.05)
    return number


def brief(number: int) -> int:
    return number


def where(scheduler: WalltimeAwareScheduler, futures: list[object]) -> set[str]:
    """Names of the workers that hold these results."""
    keys = [future.key for future in futures]  # type: ignore[attr-defined]
    return {ws.name for key in keys for ws in scheduler.tasks[key].who_has}


@pytest.mark.parametrize("many", [3, 40])
def test_a_task_longer_than_what_is_left_is_not_started_there(
    tmp_path: Path, many: int
) -> None:
    """Few tasks or so many that they queue; short ones still run there."""

    async def main() -> None:
        async with running(tmp_path) as (scheduler, client):
            await client.gather(client.map(nap, range(4), pure=False))
            for _ in range(RECENT):
                scheduler.durations.note("nap", 30.0)
            now = steady_time()
            scheduler.ends, scheduler.fresh = (
                {"w0": now + 10, "w1": now + 90},
                {"": 100},
            )
            long = client.map(nap, range(many), pure=False)
            short = client.map(brief, range(2 * many), pure=False)
            await client.gather([*long, *short])
            assert where(scheduler, long) == {"w1"}
            assert "w0" in where(scheduler, short)

    asyncio.run(main())


def test_it_waits_for_a_worker_that_stays_longer(tmp_path: Path) -> None:
    """Nothing is started in vain; who comes next takes it."""

    async def main() -> None:
        async with running(tmp_path, 1) as (scheduler, client):
            await client.submit(nap, 0)
            scheduler.durations.note("nap", 30.0)
            scheduler.ends, scheduler.fresh = {"w0": steady_time() + 10}, {"": 100}
            waiting = client.submit(nap, 1)
            await until(
                lambda: scheduler.unrunnable or scheduler.queued, "it waits for one"
            )
            async with Worker(
                scheduler.address, name="w1", local_directory=str(tmp_path)
            ):
                assert await waiting == 1
                assert where(scheduler, [waiting]) == {"w1"}

    asyncio.run(main())


def test_what_no_worker_has_time_for_is_started_anyhow(tmp_path: Path) -> None:
    """A task longer than a new worker's whole life would otherwise wait for ever."""

    async def main() -> None:
        async with running(tmp_path, 1) as (scheduler, client):
            scheduler.durations.note("nap", 1000.0)
            scheduler.ends, scheduler.fresh = {"w0": steady_time() + 10}, {"": 100}
            assert await client.submit(nap, 1) == 1

    asyncio.run(main())


def test_what_was_sent_and_does_not_fit_any_more_is_found(tmp_path: Path) -> None:
    """It waits in a worker's own queue; what runs already is let run."""

    async def main() -> None:
        async with running(tmp_path, 1) as (scheduler, client):
            done = client.submit(brief, 0)
            await done
            (ws,) = scheduler.workers.values()
            assert isinstance(ws, WorkerState)
            ts: TaskState = scheduler.tasks[done.key]
            scheduler.durations.note("brief", 30.0)
            ws.processing.add(ts)
            try:
                assert scheduler.misfits(ws) == []
                scheduler.ends, scheduler.fresh = (
                    {"w0": steady_time() + 10},
                    {"": 100},
                )
                assert scheduler.misfits(ws) == [ts]
                ws.executing[ts] = 1.0
                assert scheduler.misfits(ws) == []
            finally:
                ws.processing.discard(ts)

    asyncio.run(main())


def test_durations_are_learnt_as_tasks_end(tmp_path: Path) -> None:
    """The longest of each kind; nothing is known of what was not seen."""

    async def main() -> None:
        async with running(tmp_path) as (scheduler, client):
            done = client.submit(nap, 0)
            await done
            known = scheduler.duration(scheduler.tasks[done.key].prefix)
            assert known is not None
            assert 0.05 <= known < 5
            assert scheduler.durations.longest("brief") is None

    asyncio.run(main())


def test_a_node_that_nobody_cares_for_is_told_so(tmp_path: Path) -> None:
    """It then has to hand its data over by itself; else it hears how long it has."""

    async def main() -> None:
        async with running(tmp_path, 1) as (scheduler, client):
            assert client.scheduler is not None
            with pytest.raises(LookupError):
                await client.scheduler.gridengine_asked_to_go(name="w0", signal="SIGX")
            heard: list[tuple[str, str]] = []

            def asked(name: str, signal: str) -> float:
                heard.append((name, signal))
                return 7.0

            scheduler.on_asked_to_go = asked
            given = await client.scheduler.gridengine_asked_to_go(name="w0", signal="X")
            assert (given, heard) == (7.0, [("w0", "X")])

    asyncio.run(main())
