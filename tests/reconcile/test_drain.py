"""Draining, at a real Scheduler with Workers in this process."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
from distributed import Worker
from distributed.core import Status

from dask_gridengine.reconcile.drain import retire
from tests.waiting import until
from tests.workers import Steps, names, running


async def test_running_tasks_end_and_no_new_ones_come(
    tmp_path: Path, steps: Steps
) -> None:
    """Running tasks end there, and run once; new ones run elsewhere."""
    async with running(tmp_path) as (scheduler, client, workers):
        first = steps.submit(client, "first", workers=["w0"])
        await until(lambda: steps.begun("first"), "it runs")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=30))
        await asyncio.sleep(0)
        others = client.map(lambda i: i, range(20), pure=False)
        assert sorted(await client.gather(others)) == list(range(20))
        holders = await client.who_has(others)
        assert {*holders.values()} == {(workers[1].address,)}
        assert not leaving.done()
        assert names(scheduler) == {"w0", "w1"}
        steps.end("first")
        assert await leaving == []
        assert names(scheduler) == {"w1"}
        assert await first == "first"
        assert steps.begun("first") == 1


def test_a_task_that_takes_too_long_runs_again_elsewhere(
    tmp_path: Path, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    """After `timeout` the worker leaves; the log names its tasks."""

    async def main() -> None:
        async with running(tmp_path) as (scheduler, client, _):
            long = steps.submit(client, "long", workers=["w0"])
            await until(lambda: steps.begun("long"), "it runs")
            leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=0.2))
            await until(lambda: steps.begun("long") == 2, "it runs again")
            steps.end("long")
            assert await leaving == []
            assert await long == "long"
            assert names(scheduler) == {"w1"}

    with caplog.at_level(logging.WARNING, logger="dask_gridengine"):
        asyncio.run(main())
    assert "Tasks of w0 still ran after 0.2 s" in caplog.text


async def test_data_is_moved(tmp_path: Path) -> None:
    """Results and scattered data are still there, and nothing is computed again."""
    async with running(tmp_path, 3) as (scheduler, client, _):
        computed = client.map(lambda i: (i, time.monotonic()), range(30), pure=False)
        before = await client.gather(computed)
        (scattered,) = await client.scatter([b"only here"], workers=["w1"])
        assert await retire(scheduler, ["w0", "w1", "unknown"], timeout=5) == []
        assert names(scheduler) == {"w2"}
        assert await client.gather(computed) == before
        assert await scattered == b"only here"


async def test_an_idle_worker_does_not_wait_for_a_busy_one(
    tmp_path: Path, steps: Steps
) -> None:
    """The idle one leaves soon, the busy one when its task is done."""
    async with running(tmp_path, 3) as (scheduler, client, _):
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: steps.begun("task"), "it runs")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0", "w1"], timeout=30))
        await until(lambda: names(scheduler) == {"w0", "w2"}, "the idle one left")
        assert not leaving.done()
        steps.end("task")
        assert await leaving == []
        assert names(scheduler) == {"w2"}
        assert await task == "task"


async def test_a_worker_that_dies_meanwhile_is_not_waited_for(
    tmp_path: Path, steps: Steps
) -> None:
    """Its task runs again elsewhere, and the call returns."""
    async with running(tmp_path) as (scheduler, client, workers):
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: steps.begun("task"), "it runs")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=60))
        await asyncio.sleep(0)
        workers[0].batched_stream.comm.abort()
        await until(lambda: steps.begun("task") == 2, "it runs elsewhere")
        steps.end("task")
        assert await asyncio.wait_for(leaving, 5) == []
        assert await task == "task"


async def test_a_worker_that_registers_meanwhile_leaves_too(
    tmp_path: Path, steps: Steps
) -> None:
    """It runs nothing for long, and nothing is lost."""
    async with running(tmp_path) as (scheduler, client, _):
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: steps.begun("task"), "it runs")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0", "late"], timeout=30))
        await asyncio.sleep(0)
        async with Worker(
            scheduler.address, name="late", nthreads=1, local_directory=tmp_path
        ) as late:
            await until(lambda: names(scheduler) == {"w0", "w1"}, "the late one left")
            await asyncio.wait_for(late.finished(), 10)
        others = client.map(lambda i: i, range(20), pure=False)
        assert sorted(await client.gather(others)) == list(range(20))
        assert not leaving.done()
        steps.end("task")
        assert await leaving == []
        assert await task == "task"
        assert steps.begun("task") == 1


async def test_a_worker_that_resumes_meanwhile_gets_no_new_task(
    tmp_path: Path, steps: Steps
) -> None:
    """Its memory was full, and is not any more; it leaves all the same."""
    async with running(tmp_path, memory_limit=0) as (scheduler, client, workers):
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: steps.begun("task"), "it runs")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=30))
        ws = scheduler.workers[workers[0].address]
        await until(lambda: ws.status is Status.paused, "it takes no new task")
        workers[0].status = Status.paused
        workers[0].status = Status.running

        def statuses() -> list[str]:
            events = [event for _, event in scheduler.get_events(ws.address)]
            return [event["status"] for event in events if "status" in event]

        again = ["paused", "running", "paused"]
        await until(lambda: statuses()[-3:] == again, "no new task again", 10, statuses)
        steps.end("task")
        assert await leaving == []
        assert await task == "task"


async def test_the_last_worker_with_data_stays_and_is_returned(tmp_path: Path) -> None:
    """Data that no other worker can store is not dropped."""
    async with running(tmp_path) as (scheduler, client, _):
        (kept,) = await client.scatter([b"only here"], workers=["w0"])
        assert await retire(scheduler, ["w0", "w1"], timeout=5) == ["w0"]
        assert names(scheduler) == {"w0"}
        assert await kept == b"only here"


async def test_tasks_that_wait_on_a_leaving_worker_run_elsewhere(
    tmp_path: Path, steps: Steps
) -> None:
    """Tasks that it has not begun are not waited for."""
    async with running(tmp_path) as (scheduler, client, _):
        first = steps.submit(client, "first", workers=["w0"])
        await until(lambda: steps.begun("first"), "it runs")
        (data,) = await client.scatter([b"x" * 2**24], workers=["w0"])
        queued = [client.submit(len, data, pure=False, priority=-i) for i in range(5)]
        ws = next(ws for ws in scheduler.workers.values() if ws.name == "w0")
        await until(lambda: len(ws.processing) > 1, "tasks wait at w0")
        leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=30))
        assert await asyncio.wait_for(client.gather(queued), 10) == [2**24] * 5
        assert steps.begun("first") == 1
        steps.end("first")
        assert await leaving == []
        assert await first == "first"
