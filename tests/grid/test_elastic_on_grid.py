"""A cluster that grows and shrinks on a real Grid Engine."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, get_worker

from dask_gridengine import GridEngineCluster
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.tasks import counted, runs
from tests.grid.conftest import Cell
from tests.nannies import watched
from tests.waiting import wait_until

pytestmark = pytest.mark.grid

PERIODS = 10


@pytest.fixture
def spreading(grid: Cell, tmp_path: Path) -> Iterator[str]:
    """A parallel environment that spreads the slots of a job over the hosts."""
    name = "spread"
    file = tmp_path / name
    shown = re.sub(r"(pe_name\s+)\S+", rf"\g<1>{name}", grid.run("qconf", "-sp", "smp"))
    file.write_text(re.sub(r"(allocation_rule\s+)\S+", r"\1$round_robin", shown))
    grid.run("qconf", "-Ap", str(file))
    grid.run("qconf", "-aattr", "queue", "pe_list", name, "all.q")
    yield name
    grid.run("qconf", "-dattr", "queue", "pe_list", name, "all.q")
    grid.run("qconf", "-dp", name)


def test_threads_are_the_slots_of_the_nodes_own_host(
    grid: Cell, options: dict[str, Any], spreading: str
) -> None:
    """One warning names the environment and what admins can change."""
    of_six = {"cores": 6, "parallel_environment": spreading}
    with GridEngineCluster(jobs=2, **{**options, **of_six}) as cluster:
        cluster.wait_for_workers(2, timeout=60)
        workers = cluster.scheduler_info["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [3, 3]
        warnings = [
            line for line in cluster.explain().splitlines() if spreading in line
        ]
        assert len(warnings) == 1
        assert "$pe_slots" in warnings[0]


def test_nodes_of_four_workers(grid: Cell, options: dict[str, Any]) -> None:
    """A worker that is killed is back without a new job; scaling down loses nothing."""
    of_four = {"cores": 4, "processes": 4, "parallel_environment": "smp"}
    with (
        GridEngineCluster(jobs=2, **{**options, **of_four}) as cluster,
        Client(cluster) as client,
    ):
        watched(client, 8, timeout=60)
        assert len(grid.qstat().splitlines()[2:]) == 2
        before = client.run(os.getpid)
        victim = min(before)
        os.kill(before[victim], signal.SIGKILL)
        wait_until(
            lambda: (
                victim not in cluster.scheduler_info["workers"]
                and len(cluster.scheduler_info["workers"]) == 8
            ),
            "whole again",
            30,
            cluster.explain,
        )
        assert len(cluster.jobs()) == 2
        held = client.map(os.urandom, [100] * 80, pure=False)
        values = client.gather(held)
        cluster.scale(n=4)
        wait_until(lambda: len(grid.qstat().splitlines()[2:]) == 1, "one job", 30)
        names = [w["name"] for w in cluster.scheduler_info["workers"].values()]
        assert len(names) == 4
        assert len({node_of(name) for name in names}) == 1
        assert client.gather(held) == values
    assert grid.qstat() == ""


@pytest.fixture
def limit(grid: Cell, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A cell with 3 for one of the limits of its global configuration."""
    listed = grid.run("qconf", "-sconf").splitlines()
    before = [line for line in listed if not line.startswith("#")]
    small = [re.sub(rf"^({request.param} +)\d+", r"\g<1>3", line) for line in before]
    assert small != before
    file = tmp_path / "global"  # qconf goes by its name
    for lines in (small, before):
        file.write_text("\n".join([*lines, ""]))
        grid.run("qconf", "-Mconf", str(file))
        if lines is small:
            yield


@pytest.mark.parametrize("limit", ["max_aj_tasks", "max_aj_instances"], indirect=True)
@pytest.mark.usefixtures("limit")
def test_too_many_nodes_for_one_array_become_several(
    options: dict[str, Any],
) -> None:
    """Each has as many nodes as the grid accepts, or runs at a time."""
    with GridEngineCluster(jobs=5, **options) as cluster:
        cluster.wait_for_workers(5, timeout=60)
        rows = [row for row in cluster.jobs() if row.state is NodeState.WORKING]
        arrays = [row.id.job for row in rows]
        assert len(arrays) == 5
        assert sorted(arrays.count(job) for job in {*arrays}) == [2, 3]
        cluster.scale(8)
        cluster.wait_for_workers(8, timeout=60)
        assert max(Counter(row.id.job for row in cluster.jobs()[-3:]).values()) == 3


@pytest.fixture
def closed_queue(grid: Cell) -> Iterator[None]:
    """Disable the queue, so that no job starts."""
    grid.run("qmod", "-d", "*")
    yield
    grid.run("qmod", "-e", "*")


@pytest.mark.usefixtures("closed_queue")
def test_a_square_wave_of_demand_costs_no_place_in_the_queue(
    grid: Cell, options: dict[str, Any], tmp_path: Path
) -> None:
    """Ten rises and falls while nothing starts: one array, no job deleted.

    When the queue opens, the work is done, and no task of it twice.
    """
    book = tmp_path / "book"
    with GridEngineCluster(**options) as cluster, Client(cluster) as client:
        cluster.adapt(maximum_jobs=4, interval="100 ms", idle_grace="1s")
        for period in range(PERIODS):
            work = client.map(
                counted, range(40), path=str(book), seconds=0.02, pure=False
            )
            wait_until(lambda: len(cluster.requested) == 4, f"rise {period}", 20)
            if period < PERIODS - 1:
                client.cancel(work)
                wait_until(lambda: not cluster.requested, f"fall {period}", 20)
        assert cluster.counts == {"queued": 4}
        assert len(grid.qstat().splitlines()[2:]) == 1, "one line for an array"
        assert {row.id.job for row in cluster.jobs()} == {cluster.jobs()[0].id.job}
        grid.run("qmod", "-e", "*")
        assert client.gather(work) == list(range(40))
        assert all(len(names) == 1 for names in runs(book).values())
        del work
        wait_until(lambda: grid.qstat() == "", "idle nodes end", 30)
        assert len(cluster.jobs()) == 4


def hog(size: int) -> int:
    """Let the worker allocate `size` bytes that belong to no result."""
    get_worker().hog = bytearray(size)
    return size


def worker_name() -> str:
    return str(get_worker().name)


def test_a_full_worker_is_reported_and_another_node_requested(
    grid: Cell, options: dict[str, Any]
) -> None:
    """Dask starts no task there any more; the tasks run elsewhere."""
    with (
        GridEngineCluster(**{**options, "memory": "400 MB"}) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(maximum_jobs=2, interval="100 ms")
        kept = client.submit(hog, 275_000_000, pure=False)
        assert kept.result(timeout=60) == 275_000_000
        wait_until(lambda: "1 worker paused" in repr(cluster), "paused", 20)
        host = cluster.jobs()[0].host
        assert f"paused and starts no task: ge-0 on {host} for" in cluster.explain()
        assert client.submit(worker_name, pure=False).result(timeout=60) == "ge-1"
        assert len(grid.qstat().splitlines()[2:]) == 2
        assert "ge-0 on" in str(cluster.get_logs()["Cluster"])
