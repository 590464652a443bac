"""Adaptive scaling where there is a queue, on the process launcher."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Adaptive, Client, Event
from distributed.scheduler import WorkerState

from dask_gridengine import GridEngineCluster, OptionError
from dask_gridengine.cluster.adaptive import ADAPTIVE_MAXIMUM
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.registry import NodeState
from tests.samples import hello
from tests.waiting import until

FAST: dict[str, Any] = {"interval": "20 ms", "idle_grace": 0, "target_duration": "1 ms"}


@asynccontextmanager
async def running(
    shared: Path, **options: Any
) -> AsyncIterator[tuple[GridEngineCluster, Client]]:
    given = {
        "launcher": "process",
        "slots": 2,
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "security": False,
        "quiet": True,
    }
    async with (
        GridEngineCluster(asynchronous=True, **{**given, **options}) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        yield cluster, client


def gate(shared: Path, unless: str = "false") -> dict[str, Any]:
    """Options that have nodes wait before they say hello, until `go`."""
    wait = f"while ! test -e {shared.parent}/go; do sleep 0.05; done"
    return {"job_script_prologue": [f"{unless} || {wait}"]}


def go(shared: Path) -> None:
    (shared.parent / "go").touch()


async def test_a_lull_keeps_queue_places_and_the_next_rise_uses_them(
    shared: Path,
) -> None:
    """No job is deleted, no second array is submitted, and the work is done."""
    async with running(shared, **gate(shared)) as (cluster, client):
        cluster.adapt(minimum=0, maximum=2, **FAST)
        for _ in range(3):
            work = client.map(abs, range(-8, 0), pure=False)
            await until(lambda: len(cluster.requested) == 2, "a rise")
            await client.cancel(work)
            await until(lambda: not cluster.workers, "a lull")
        work = client.map(abs, range(-8, 0), pure=False)
        await until(lambda: len(cluster.requested) == 2, "the last rise")
        assert cluster.jobs().counts() == {"queued": 2}
        go(shared)
        assert await client.gather(work) == [8, 7, 6, 5, 4, 3, 2, 1]
        assert {str(node.id) for node in cluster.jobs()} == {"1.1", "1.2"}


async def rise_and_lull(cluster: GridEngineCluster, client: Client) -> None:
    """Have two nodes requested for work, and cancel it before they start."""
    cluster.adapt(minimum=0, maximum=2, **FAST)
    work = client.map(abs, range(-8, 0))
    await until(lambda: len(cluster.requested) == 2, "a rise")
    await client.cancel(work)
    await until(lambda: not cluster.workers, "a lull")


async def test_nodes_that_are_not_needed_when_they_start_end_at_once(
    shared: Path,
) -> None:
    """They are neither failures nor replaced."""
    async with running(shared, **gate(shared)) as (cluster, client):
        await rise_and_lull(cluster, client)
        go(shared)
        counts = {"gone": 2}
        await until(lambda: cluster.jobs().counts() == counts, "both gone", 20)
        assert {node.cause for node in cluster.jobs()} == {Cause.LEFT.value}
        assert all(node.working is None for node in cluster.jobs())
        assert cluster.pool().reconciler.decisions == []


async def test_a_lull_keeps_the_successor_of_a_node_that_leaves(shared: Path) -> None:
    """A successor goes when the node that it replaces would have gone: after the
    grace."""
    late = gate(shared, unless="[ $JOB_ID = 1 ]")
    async with running(shared, **late) as (cluster, client):
        scheduler = cluster.scheduler
        adaptive = cluster.adapt(maximum=1, interval="1h", idle_grace="1h")
        work = client.submit(abs, -1)
        await until(lambda: scheduler.unrunnable or scheduler.queued, "it waits")
        await adaptive.adapt()
        assert await work == 1
        await work.cancel()
        await scheduler.node_signal("ge-0", "SIGUSR1")
        await adaptive.adapt()
        assert cluster.plan == {"ge-1"}
        counts = {"gone": 1, "queued": 1}
        await until(lambda: cluster.counts == counts, "the node leaves", 30)
        await adaptive.adapt()
        assert cluster.plan == {"ge-1"}
        go(shared)
        await cluster.wait_for_workers(1, timeout=30)
        await adaptive.adapt()
        assert cluster.plan == {"ge-1"}
        await cluster.adapt(maximum=1, interval="1h", idle_grace=0).adapt()
        assert cluster.plan == set()


async def test_idle_workers_are_given_back(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the work is over they go, without a warning."""
    with caplog.at_level(logging.WARNING, logger="dask_gridengine"):
        async with running(shared) as (cluster, client):
            cluster.adapt(minimum=0, maximum=2, **FAST)
            work = client.map(abs, range(-8, 0))
            assert await client.gather(work) == [8, 7, 6, 5, 4, 3, 2, 1]
            del work
            await until(
                lambda: set(cluster.counts) == {"gone"}, "all gone", 20, cluster.jobs
            )
            causes = {node.cause for node in cluster.jobs()}
            assert causes <= {Cause.CANCELLED.value, Cause.LEFT.value}
            assert cluster.pool().reconciler.decisions == []
            assert cluster.pool().wanted == 0
            logs = await cluster.get_logs(scheduler=False, workers=False)
            assert "adaptive: requests" in logs["Cluster"]
            assert "not needed or idle for 0 s" in logs["Cluster"]
    assert [r.message for r in caplog.records if r.name.startswith("dask_grid")] == []


async def test_bounds(shared: Path) -> None:
    """Without a maximum there is a finite one; options hold for one call only."""
    async with running(shared, cores=2, memory="1 GB") as (cluster, _):
        assert cluster.adapt().maximum == ADAPTIVE_MAXIMUM
        assert cluster.adapt(minimum=2, maximum=7.0, wait_count=9).maximum == 7
        assert cluster.adapt(maximum_cores=9).maximum == 4
        assert cluster.adapt(maximum_memory="3 GB").maximum == 3
        assert cluster.adapt(maximum=float("inf")).maximum == float("inf")
        assert cluster.adapt(minimum_jobs=1, maximum_jobs=3).maximum == 3
        with pytest.raises(OptionError, match="give one"):
            cluster.adapt(maximum=4, maximum_jobs=3)
        last = cluster.adapt()
        assert (last.minimum, last.wait_count) == (0, 3)
        more = ADAPTIVE_MAXIMUM + 50
        assert cluster.adapt(minimum=more).maximum == more


async def test_a_wrong_option_changes_nothing(shared: Path) -> None:
    """The error has the nearest name, and the present adaptive scaling continues."""
    async with running(shared) as (cluster, _):
        before = cluster.adapt(maximum=2)
        with pytest.raises(TypeError, match=r"'max'[\s\S]*'maximum'"):
            cluster.adapt(max=3)
        with pytest.raises(TypeError, match="'interval'"):
            cluster.adapt(intervall="1s")
        with pytest.raises(OptionError, match="minimum=5"):
            cluster.adapt(minimum=5, maximum=2)
        with pytest.raises(OptionError, match="GridAdaptive"):
            cluster.adapt(Adaptive, idle_grace="1s")
        await until(before.periodic_callback.is_running, "it adapts")


async def test_wait_count_is_a_grace_in_intervals(shared: Path) -> None:
    """Scripts for other clusters use it for how long an idle worker stays."""
    async with running(shared) as (cluster, client):
        cluster.adapt(maximum=1, interval="20 ms", wait_count=2)
        assert await client.submit(abs, -1) == 1
        await until(lambda: len(cluster.scheduler.workers) == 0, "it goes", 30)


async def test_nodes_with_the_same_worker_key_go_together(shared: Path) -> None:
    """Of four nodes in two groups of two, one alone never goes."""

    def parity(ws: WorkerState) -> int:
        return int(str(ws.name).removeprefix("ge-")) % 2

    async with running(shared, slots=4) as (cluster, _):
        await cluster.scale(4)
        await cluster.wait_for_workers(4, timeout=30)
        adaptive = cluster.adapt(minimum=3, worker_key=parity, **FAST)
        deadline = time.monotonic() + 0.5
        await until(lambda: time.monotonic() > deadline, "some adapting")
        assert len(cluster.scheduler.workers) == 4
        assert len(adaptive.log) == 0
        cluster.adapt(minimum=2, worker_key=parity, **FAST)
        await until(lambda: len(cluster.scheduler.workers) == 2, "two go", 30)
        left = {parity(ws) for ws in cluster.scheduler.workers.values()}
        assert len(left) == 1


async def test_it_clears_no_failures(shared: Path) -> None:
    """Where every node fails few are submitted, however often they are requested."""
    async with running(shared, python="/nowhere/python") as (cluster, client):
        cluster.adapt(minimum=1, maximum=2, **FAST)
        work = client.submit(os.getpid, pure=False)
        await until(cluster.stuck, "no hope", 20, cluster.explain)
        asked = len(cluster.jobs())
        turns = len(cluster.adaptive[""].log)
        deadline = time.monotonic() + 1
        await until(lambda: time.monotonic() > deadline, "a second of adapting")
        assert len(cluster.jobs()) == asked <= 6, turns
        assert "could not find Python" in str(cluster.stuck())
        work.release()


def held(number: int, book: str = os.devnull) -> int:
    """Run until the event is set; each run is entered in the book."""
    with open(book, "a") as file:
        file.write(str(number))
    Event("go").wait(timeout=60)
    return number


async def test_tasks_of_unknown_length_get_nodes_and_busy_nodes_stay(
    shared: Path,
) -> None:
    """Dask takes the unknown for half a second: ten such tasks are worth one worker.

    A task that still runs shows that it is longer. A busy node stays when less work
    is left.
    """
    async with running(shared, slots=3) as (cluster, client):
        options = {**FAST, "target_duration": "1s"}
        cluster.adapt(maximum=3, **options)
        work = client.map(held, range(6))
        await until(
            lambda: len(cluster.scheduler.workers) == 3,
            "as many as may be",
            30,
            lambda: (cluster.jobs(), cluster.adaptive[""].log),
        )
        busy = {ws.name for ws in cluster.scheduler.workers.values()}
        # So much less is wanted now, but all of them are at work.
        cluster.adapt(maximum=3, **{**FAST, "target_duration": "1h"})
        turns = len(cluster.adaptive[""].log)
        deadline = time.monotonic() + 1
        await until(lambda: time.monotonic() > deadline, "a second of adapting")
        assert {ws.name for ws in cluster.scheduler.workers.values()} == busy
        assert len(cluster.adaptive[""].log) == turns
        await Event("go", client=client).set()
        assert await client.gather(work) == list(range(6))
        del work
        await until(lambda: not cluster.scheduler.workers, "idle ones go", 20)


async def test_a_lowered_maximum_holds_at_once(shared: Path) -> None:
    """Busy nodes beyond it finish their tasks, which run once, and leave."""
    book = shared.parent / "book"
    async with running(shared, slots=3) as (cluster, client):
        cluster.adapt(minimum=3, maximum=3, **FAST)
        await cluster.wait_for_workers(3, timeout=60)
        work = client.map(held, range(3), book=str(book))
        workers = cluster.scheduler.workers
        await until(lambda: all(ws.processing for ws in workers.values()), "busy")
        cluster.adapt(maximum=1, **FAST)
        await until(lambda: len(cluster.worker_spec) == 1, "two are given up", 20)
        assert len(workers) == 3  # they finish their tasks first
        await Event("go", client=client).set()
        assert await client.gather(work) == [0, 1, 2]
        await until(lambda: len(workers) == 1, "they leave", 20)
        assert sorted(book.read_text()) == ["0", "1", "2"]  # each ran once


@pytest.mark.parametrize(
    "bound", [{"maximum": 2}, {"maximum_jobs": 1}, {"maximum_cores": 2}]
)
async def test_a_lowered_maximum_takes_places_in_the_queue_too(
    shared: Path, bound: dict[str, Any]
) -> None:
    """In any unit, and of one pool only."""
    options: dict[str, Any] = {"cores": 2, "processes": 2, "slots": 2}
    pools: dict[str, Any] = {"a": {}, "b": {}}
    async with running(shared, pools=pools, **options, **gate(shared)) as (cluster, _):
        cluster.adapt(minimum_jobs=3, maximum_jobs=3, **FAST)
        await until(lambda: len(cluster.jobs()) == 6, "three of each", 20)
        cluster.adapt(pool="a", **bound, **FAST)
        live = {"a": 1, "b": 3}
        await until(lambda: alive(cluster) == live, "queued nodes of a go", 20)


def alive(cluster: GridEngineCluster) -> dict[str, int]:
    """Nodes of each pool that are not gone."""
    rows = [row for row in cluster.jobs() if row.state is not NodeState.GONE]
    return {name: sum(row.pool == name for row in rows) for name in ("a", "b")}


async def test_scale_gives_back_the_queue_places_that_a_lull_has_kept(
    shared: Path,
) -> None:
    """scale() deletes queued jobs that adaptive scaling would keep."""
    async with running(shared, **gate(shared)) as (cluster, client):
        await rise_and_lull(cluster, client)
        assert cluster.jobs().counts() == {"queued": 2}
        await cluster.scale(0)
        counts = {"gone": 2}
        await until(lambda: cluster.jobs().counts() == counts, "deleted", 20)


async def test_a_scale_down_does_not_change_a_later_scale(shared: Path) -> None:
    """A scale_down() that gives up nothing does not change a later scale()."""
    slow = gate(shared, unless="[ $JOB_ID = 1 ]")
    async with running(shared, **slow) as (cluster, _):
        await cluster.scale(1)
        states = cluster.jobs().counts
        await until(lambda: "importing" in cluster.counts, "it imports", 30, states)
        await cluster.scale_down(list(cluster.worker_spec))
        await cluster.scale(2)
        await cluster.scale(0)
        counts = {"gone": 2}
        await until(lambda: cluster.jobs().counts() == counts, "all go", 30)


@pytest.mark.parametrize(
    ("maximum", "tasks", "nodes"), [(5, 10, 2), (1, 10, 1), (4, 3, 2), (4, 0, 0)]
)
async def test_nodes_of_several_workers_come_whole(
    shared: Path, maximum: int, tasks: int, nodes: int
) -> None:
    """No more workers than the maximum, unless one node is more; and it stays so."""
    options = {"cores": 2, "processes": 2, "slots": 4}
    async with running(shared, **options, **gate(shared)) as (
        cluster,
        client,
    ):
        adaptive = cluster.adapt(maximum=maximum, **FAST)
        work = client.map(abs, range(tasks), pure=False)
        await until(lambda: len(cluster.worker_spec) == nodes, "asked for", 20)
        before = len(adaptive.log)
        deadline = time.monotonic() + 0.5
        await until(lambda: time.monotonic() > deadline, "some adapting")
        assert len(cluster.worker_spec) == nodes
        assert len(adaptive.log) == before
        await client.cancel(work)


async def test_a_queue_place_that_is_not_needed_for_long_is_given_back(
    shared: Path,
) -> None:
    """After 60 times ``idle-grace``; until then it waits for the next rise."""
    async with running(shared, idle_grace="20ms", **gate(shared)) as (
        cluster,
        client,
    ):
        cluster.adapt(maximum=2, **FAST)
        work = client.map(abs, range(-8, 0))
        await until(lambda: len(cluster.requested) == 2, "a rise")
        await client.cancel(work)
        counts = {"gone": 2}
        await until(lambda: cluster.jobs().counts() == counts, "deleted", 20)
        assert {node.cause for node in cluster.jobs()} == {Cause.CANCELLED.value}
        assert "not needed for 1.2 s" in cluster.explain()


async def test_a_node_with_data_stays_while_others_still_start(
    shared: Path,
) -> None:
    """A node that is not there yet cannot take the data of one that is idle."""
    late = gate(shared, unless="[ $SGE_TASK_ID = 1 ]")
    async with running(shared, **late) as (cluster, client):
        adaptive = cluster.adapt(minimum=2, maximum=2, **FAST)
        held = client.map(abs, range(-8, 0))
        assert await client.gather(held) == [8, 7, 6, 5, 4, 3, 2, 1]
        there = {ws.name for ws in cluster.scheduler.workers.values()}
        record = next(r for r in cluster.pool().registry if r.worker not in there)
        # It has its name, like a node that imports, so no queue place is given up.
        cluster.pool().registry.arrive(record, hello(job=record.id.job))
        cluster.pool().registry.bind(record)
        adaptive.minimum = 1
        assert await adaptive.recommendations(1) == {"status": "same"}
        adaptive.stop()
        del held
