"""Nodes that go although they are wanted, on local processes: others come first."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.tasks import counted, runs
from tests.waiting import wait_until


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    return {
        "launcher": "process",
        "slots": 4,
        "memory": "500 MB",
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
    }


def working(cluster: GridEngineCluster) -> list[JobRow]:
    return [row for row in cluster.jobs() if row.state is NodeState.WORKING]


def ended(cluster: GridEngineCluster, cause: Cause, timeout: float = 30) -> JobRow:
    """Wait until a node is gone for this cause; the node."""

    def found() -> JobRow | None:
        rows = (row for row in cluster.jobs() if row.state is NodeState.GONE)
        return next((row for row in rows if row.cause == cause.value), None)

    row: JobRow = wait_until(
        found, f"a node that {cause.value}", timeout, cluster.explain
    )
    return row


def begun(book: Path, number: int) -> None:
    wait_until(lambda: number in runs(book), f"task {number} runs", 20)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_node_leaves_before_its_walltime(
    options: dict[str, Any], tmp_path: Path, processes: int
) -> None:
    """Another is there before; the data is handed over; no budget, no failure.

    All workers of a node go together.
    """
    book = tmp_path / "book"
    several = {"cores": processes, "processes": processes}
    with (
        GridEngineCluster(jobs=1, walltime=12, **several, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(processes, timeout=30)
        result = client.submit(counted, 1, str(book))
        assert result.result(timeout=20) == 1
        wait_until(lambda: len(working(cluster)) == 2, "both work", 20, cluster.explain)
        assert cluster.wanted == 1
        ended(cluster, Cause.EXPIRED)
        assert result.result(timeout=20) == 1
        assert len(runs(book)[1]) == 1
        said = cluster.explain()
        assert "left before its walltime: as its 12 s of walltime" in said
        assert "which will leave" in said
        assert cluster.wanted == 1


def test_it_may_be_switched_off(options: dict[str, Any]) -> None:
    """Then the walltime is run into, and told as that."""
    with GridEngineCluster(
        jobs=1, walltime=4, drain_before_walltime=False, **options
    ) as cluster:
        ended(cluster, Cause.WALLTIME)


def test_what_cannot_finish_is_named(options: dict[str, Any], tmp_path: Path) -> None:
    """By key, in the log and in explain(), while the node still waits for it."""
    book = tmp_path / "book"
    with (
        GridEngineCluster(jobs=1, walltime=14, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=30)
        # One of its kind is known, so it is known what this one will take.
        endless = client.submit(counted, 2, str(book), 40.0)
        wait_until(
            lambda: f"it cannot finish: {endless.key!r}" in cluster.explain(),
            "the task is named",
            30,
            cluster.explain,
        )
        endless.cancel(force=True)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_of_the_grid_waits_for_tasks(
    number: signal.Signals, options: dict[str, Any], tmp_path: Path
) -> None:
    """What runs is finished there, what is done is handed over, and neither again."""
    book = tmp_path / "book"
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        done = client.map(counted, range(10, 20), path=str(book))
        assert client.gather(done) == [*range(10, 20)]
        running = client.submit(counted, 1, str(book), 4.0)
        begun(book, 1)
        (victim,) = (row for row in working(cluster) if row.worker == runs(book)[1][0])
        os.killpg(os.getpgid(victim.pid), number)  # to all processes of its job
        assert running.result(timeout=30) == 1
        ended(cluster, Cause.DRAINED)
        assert client.gather(done) == [*range(10, 20)]
        assert all(len(names) == 1 for names in runs(book).values())
        wait_until(lambda: len(working(cluster)) == 2, "whole", 20, cluster.explain)
        assert cluster.wanted == 2


def test_a_node_that_leaves_may_have_to_hurry(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """A signal may come while it drains already; the shorter time counts."""
    book = tmp_path / "book"
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(1, timeout=30)
        long = client.submit(counted, 1, str(book), 120.0)
        begun(book, 1)
        (record,) = cluster.pool().registry.in_state(NodeState.WORKING)
        record.notify = 5.0

        def ask(signal: str) -> None:
            assert cluster.scheduler.on_node_signal is not None
            cluster.scheduler.on_node_signal("ge-0", signal)

        cluster.loop.add_callback(ask, "SIGTERM")
        wait_until(lambda: record.state is NodeState.DRAINING, "it drains")
        assert len(runs(book)[1]) == 1
        cluster.loop.add_callback(ask, "SIGUSR2")
        ended(cluster, Cause.DRAINED, 25)
        wait_until(lambda: len(runs(book)[1]) == 2, "it runs elsewhere", 20)
        long.cancel(force=True)


def test_scaling_while_nodes_leave_counts_those_that_stay(
    options: dict[str, Any],
) -> None:
    """scale(n) leaves n that stay, and scale(0) takes those that leave along."""
    with GridEngineCluster(jobs=1, walltime=16, **options) as cluster:
        cluster.wait_for_workers(1, timeout=30)
        wait_until(lambda: len(working(cluster)) == 2, "both work", 20, cluster.explain)
        cluster.scale(1)
        assert len(cluster.plan) == 1
        cluster.scale(2)
        wait_until(lambda: len(cluster.plan) == 2, "one more is asked for", 5)
        cluster.scale(0)
        wait_until(lambda: not working(cluster), "none works", 20, cluster.explain)
        assert cluster.wanted == 0
        assert not cluster.plan
