"""Silent workers, suspended nodes and clocks that are set."""

from __future__ import annotations

import time
from pathlib import Path

import distributed.scheduler
import pytest
from distributed.core import Status

from dask_gridengine.clock import steady_time
from dask_gridengine.scheduler import worker_liveness as module
from tests.scheduler.scene import info_of, working
from tests.waiting import until


@pytest.mark.parametrize("change", ["suspended", "wall forward", "wall back", "both"])
async def test_neither_suspension_nor_a_step_of_the_clock_is_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """After a laptop was suspended or its clock was set, no worker is removed;
    afterwards silence counts as before."""
    steady, wall = {
        "suspended": (3600, 3600),
        "wall forward": (0, 3600),
        "wall back": (0, -3600),
        "both": (3600, 7200),
    }[change]

    async with working(tmp_path) as (scheduler, _, (w,)):
        scheduler.worker_ttl = 60
        with monkeypatch.context() as patched:
            for place in (module, distributed.scheduler):
                patched.setattr(place, "time", lambda: time.time() + wall)
            patched.setattr(module, "steady_time", lambda: steady_time() + steady)
            await scheduler.check_worker_ttl()
            assert w.address in scheduler.workers
            scheduler.workers[w.address].last_seen -= 70
            await scheduler.check_worker_ttl()
            assert w.address not in scheduler.workers


async def test_a_worker_of_a_suspended_node_gets_no_new_task(tmp_path: Path) -> None:
    """It is not removed for its silence either; resumed, it goes on."""
    async with working(tmp_path) as (scheduler, client, (worker,)):
        (ws,) = scheduler.workers.values()
        worker.periodic_callbacks["heartbeat"].stop()  # it is silent from now on
        scheduler.liveness.set_suspended(["w0"], True)
        waiting = client.submit(int, 7)
        await until(lambda: scheduler.unrunnable, "it waits")
        ws.last_seen -= 1000.0
        assert scheduler.liveness.silent(10.0) == ["w0"]
        scheduler.worker_ttl = 1.0
        await scheduler.check_worker_ttl()
        assert scheduler.workers[worker.address] is ws
        scheduler.liveness.set_suspended(["w0"], False)
        assert await waiting == 7
        assert scheduler.liveness.silent(10.0) == []
        assert info_of(scheduler).resumed == []


async def test_a_heartbeat_resumes_a_suspended_node(tmp_path: Path) -> None:
    """The grid reports it later."""
    async with working(tmp_path) as (scheduler, _, (worker,)):
        (ws,) = scheduler.workers.values()
        worker.periodic_callbacks["heartbeat"].stop()
        scheduler.liveness.set_suspended(["w0"], True)
        scheduler.liveness.correct_last_seen()
        assert ws.status is Status.paused
        await worker.heartbeat()
        scheduler.liveness.correct_last_seen()
        assert info_of(scheduler).resumed == ["w0"]
        assert ws.status is Status.running


async def test_a_heartbeat_resumes_all_workers_of_the_node(tmp_path: Path) -> None:
    """The cluster resumes the others when it is told of the first."""
    async with working(tmp_path, 2) as (scheduler, _, workers):
        for worker in workers:
            worker.periodic_callbacks["heartbeat"].stop()
        scheduler.liveness.set_suspended(["w0", "w1"], True)
        info_of(scheduler).on_heard = lambda name: scheduler.liveness.set_suspended(
            ["w0", "w1"], False
        )
        for worker in workers:
            await worker.heartbeat()
        scheduler.liveness.correct_last_seen()
        statuses = {ws.status for ws in scheduler.workers.values()}
        assert statuses == {Status.running}


async def test_a_worker_that_leaves_is_not_resumed(tmp_path: Path) -> None:
    """It was paused for another reason when its node was suspended."""
    async with working(tmp_path) as (scheduler, _, _):
        (ws,) = scheduler.workers.values()
        scheduler.handle_worker_status_change(Status.paused, ws, "it leaves")
        for suspended in (True, False):
            scheduler.liveness.set_suspended(["w0"], suspended)
            assert ws.status is Status.paused
