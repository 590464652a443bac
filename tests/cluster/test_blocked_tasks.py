"""Why tasks wait although nodes work, at a real Scheduler with real Workers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker
from distributed.core import Status

from dask_gridengine.cluster.blocked_tasks import (
    STEAL_AFTER,
    WARN_AFTER,
    BlockedTasks,
)
from dask_gridengine.reconcile.drain import retire
from tests.clusters import running as cluster_running
from tests.pools import FakeCluster, bearing, make_pool
from tests.waiting import until, wait_until
from tests.workers import Steps, names, running


class Scene:
    """A `BlockedTasks` with its own clock, and nodes with these workers."""

    def __init__(self, scheduler: Scheduler, *workers: str, **options: Any) -> None:
        self.now = 0.0
        cluster: Any = FakeCluster(scheduler)
        cluster.adaptive[""] = None  # or it hints that no nodes are requested
        self.noted = cluster.notes
        self.pool = make_pool(cluster=cluster, **options)
        for number, name in enumerate(workers, 1):
            bearing(self.pool, name, number)
        self.blocked = BlockedTasks(cluster, clock=lambda: self.now)

    def look(self, seconds: float = 0.0) -> str:
        """The findings after these seconds."""
        self.now += seconds
        self.blocked.check()
        return "\n".join(self.blocked.findings)


async def pause(scheduler: Scheduler, worker: Worker) -> None:
    worker.status = Status.paused
    await has_status(scheduler, worker, Status.paused)


async def has_status(scheduler: Scheduler, worker: Worker, status: Status) -> None:
    await until(
        lambda: scheduler.workers[worker.address].status is status, f"it is {status}"
    )


# They are paused by hand: their memory monitor would see what all of pytest needs.
QUIET: dict[str, Any] = {"memory_limit": 0}


async def test_a_paused_worker_is_reported_with_advice(tmp_path: Path) -> None:
    """Which worker, on which host, for how long, how full it is, and Dask's rule."""
    async with running(tmp_path, **QUIET) as (scheduler, _, workers):
        scene = Scene(scheduler, "w0", "w1")
        assert scene.look() == ""
        await pause(scheduler, workers[0])
        ws = scheduler.workers[workers[0].address]
        ws.memory_limit = 400_000_000
        scene.look()
        text = scene.look(61)
        assert text.startswith(
            "1 worker is paused and starts no task: w0 on node1 for 1 min, with "
        )
        assert " of 381 MiB in use" in text
        assert "above 80 % of its memory (distributed.worker.memory.pause)" in text
        assert "client.restart_workers(['w0'])" in text
        with_advice = re.search(r"memory='(\d+) MB'", text)
        assert with_advice is not None
        assert int(with_advice[1]) >= 600
        assert scene.blocked.paused == 1
        (of_node,) = scene.blocked.about("w0")
        assert of_node.startswith("paused, it starts no task: w0 on node1")
        assert scene.blocked.about("w1") == []
        await pause(scheduler, workers[1])
        assert scene.look().startswith("2 workers are paused and start no task: ")
        for worker in workers:
            worker.status = Status.running
            await has_status(scheduler, worker, Status.running)
        assert scene.look() == ""
        assert scene.blocked.paused == 0


async def test_memory_is_that_of_all_workers_of_a_node(tmp_path: Path) -> None:
    """What is advised is the option's value, which several processes share."""
    async with running(tmp_path, **QUIET) as (scheduler, _, workers):
        scene = Scene(scheduler, "w0", "w1", cores=4, processes=4)
        await pause(scheduler, workers[0])
        scheduler.workers[workers[0].address].memory_limit = 10**9
        assert "memory='6 GB'" in scene.look()


async def test_a_worker_that_leaves_is_not_reported(
    tmp_path: Path, steps: Steps
) -> None:
    """A scale-down pauses workers, too, at the scheduler only."""
    async with running(tmp_path, **QUIET) as (scheduler, client, _):
        scene = Scene(scheduler, "w0", "w1")
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: steps.begun("task"), "it runs")
        scene.pool.mark_cancelled(["w0"])
        leaving = asyncio.ensure_future(retire(scheduler, ["w0"], timeout=30))
        ws = next(ws for ws in scheduler.workers.values() if ws.name == "w0")
        await until(lambda: ws.status is Status.paused, "it is paused")
        assert scene.look() == ""
        steps.end("task")
        assert await leaving == []
        assert await task == "task"


async def test_it_is_logged_once_if_it_lasts_and_work_waits(
    tmp_path: Path, steps: Steps
) -> None:
    """A worker that spills is paused for a moment, and an idle one delays no task."""
    async with running(tmp_path, 1, **QUIET) as (scheduler, client, workers):
        scene = Scene(scheduler, "w0")
        await pause(scheduler, workers[0])
        scene.look()
        scene.look(WARN_AFTER)
        assert scene.noted == []
        assert not scene.blocked.lasting
        task = steps.submit(client, "task", workers=["w0"])
        await until(lambda: scheduler.unrunnable or scheduler.queued, "the task waits")
        scene.look()
        scene.look()
        assert len(scene.noted) == 1
        assert scene.blocked.lasting == {"": 1}
        workers[0].status = Status.running
        ws = scheduler.workers[workers[0].address]
        await until(lambda: ws.executing, "the worker says what it runs")
        scene.look()
        await pause(scheduler, workers[0])
        scene.look()
        scene.look(WARN_AFTER)
        assert len(scene.noted) == 1  # what runs does not wait
        assert not scene.blocked.lasting
        steps.end("task")
        assert await task == "task"


async def test_what_waits_at_a_paused_worker_is_run_by_others(
    tmp_path: Path, steps: Steps
) -> None:
    """Dask leaves the last task of a worker where it is, however long that lasts."""
    async with running(tmp_path, **QUIET) as (scheduler, client, workers):
        scene = Scene(scheduler, "w0", "w1")
        first = steps.submit(client, "first", workers=["w0"])
        other = steps.submit(client, "other", workers=["w1"])
        await until(lambda: steps.begun("first") and steps.begun("other"), "busy")
        ws = scheduler.workers[workers[0].address]
        second = steps.submit(client, "second", workers=["w0"])
        await until(lambda: len(ws.processing) == 2, "it waits at w0")
        await until(lambda: ws.executing, "the worker says what it runs")
        await pause(scheduler, workers[0])
        steps.end("first")
        steps.end("other")
        assert [await first, await other] == ["first", "other"]
        scene.look()
        await until(lambda: not ws.executing, "the worker says that it idles")
        assert not steps.begun("second")
        scene.look(STEAL_AFTER)
        await until(lambda: steps.begun("second"), "it runs elsewhere")
        assert not ws.processing
        steps.end("second")
        assert await second == "second"


async def test_tasks_for_workers_that_are_gone_are_named(tmp_path: Path) -> None:
    """Dask has them wait for ever, unless other workers may run them."""
    async with running(tmp_path, 1, **QUIET) as (scheduler, client, _):
        async with Worker(
            scheduler.address, name="gone", nthreads=1, local_directory=tmp_path
        ) as gone:
            address = gone.address
        await until(lambda: names(scheduler) == {"w0"}, "it is gone")
        scene = Scene(scheduler, "w0")
        bound = client.submit(int, 1, workers=[address], key="bound")
        free = client.submit(
            int, 2, workers=[address], allow_other_workers=True, key="free"
        )
        assert await free == 2
        await until(lambda: scheduler.unrunnable, "the task waits")
        text = scene.look()
        assert text == (
            f"1 task waits for workers that are not there, e.g. 'bound': no other"
            f" than {address} may run it (workers=). Submit it without that, or"
            " with allow_other_workers=True."
        )
        assert scene.noted == []
        scene.look(WARN_AFTER)
        assert scene.noted == [text]
        await bound.cancel()
        await until(lambda: not scheduler.unrunnable, "it is cancelled")
        assert scene.look() == ""


async def test_tasks_for_a_host_with_workers_are_not_named(
    tmp_path: Path,
) -> None:
    """They wait for something else, e.g. for a paused worker of that host."""
    async with running(tmp_path, 1, **QUIET) as (scheduler, client, workers):
        scene = Scene(scheduler)
        await pause(scheduler, workers[0])
        task = client.submit(int, 1, workers=["127.0.0.1"])
        await until(lambda: scheduler.unrunnable, "the task waits")
        assert "not there" not in scene.look()
        elsewhere = client.submit(int, 1, workers=["192.0.2.1"], pure=False)
        await until(lambda: len(scheduler.unrunnable) == 2, "that one, too")
        assert "no other than 192.0.2.1 may run it" in scene.look()
        workers[0].status = Status.running
        assert await task == 1
        await elsewhere.cancel()


def hog(size: int) -> int:
    """Have the worker keep bytes that belong to no result."""
    from distributed import get_worker

    get_worker().hog = bytearray(size)
    return size


def one() -> int:
    return 1


def test_a_full_worker_is_reported_everywhere(shared: Path) -> None:
    """`explain`, one line, `wait_for_workers`; freed as advised, it runs what waits."""
    with (
        cluster_running(shared, jobs=1, slots=1, memory="400 MB") as cluster,
        Client(cluster) as client,
    ):
        client.submit(hog, 275_000_000, pure=False).result(timeout=30)
        wait_until(lambda: "1 worker paused" in repr(cluster), "paused", 20)
        text = "1 worker is paused and starts no task: ge-0 on "
        task = client.submit(one, pure=False)
        with pytest.raises(asyncio.TimeoutError, match="1 worker is paused"):
            cluster.wait_for_workers(1, timeout=0.5)
        assert text in cluster.explain()
        assert "paused, it starts no task" in cluster.explain("ge-0")
        assert client.restart_workers(["ge-0"]) == {"ge-0": "OK"}
        assert task.result(timeout=30) == 1
        wait_until(lambda: "paused" not in cluster.explain(), "resumed", 20)


def test_adaptive_scaling_does_not_wait_for_a_full_worker(shared: Path) -> None:
    """Work that waits for a worker that is paused for long gets another node."""
    with (
        cluster_running(shared, slots=2, memory="400 MB") as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(maximum_jobs=2, interval="100ms")
        kept = client.submit(hog, 275_000_000, pure=False)
        assert kept.result(timeout=30) == 275_000_000
        wait_until(lambda: "1 worker paused" in repr(cluster), "paused", 20)
        assert client.submit(one, pure=False).result(timeout=60) == 1
        assert cluster.counts["working"] == 2
