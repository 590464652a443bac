"""Two pools on two kinds of hosts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, get_worker

from dask_gridengine import GridEngineCluster, Unsatisfiable
from tests.grid.conftest import Cell
from tests.waiting import wait_until

pytestmark = pytest.mark.grid

#: Name, shortcut, type, relation, requestable, consumable, default, urgency.
COMPLEXES = ("large large BOOL == YES NO FALSE 0", "small small BOOL == YES NO FALSE 0")


@pytest.fixture
def two_kinds(grid: Cell, tmp_path: Path) -> Iterator[None]:
    """Make node1 a small host, and node2 a large one."""
    before = grid.run("qconf", "-sc")
    file, old = tmp_path / "complexes", tmp_path / "before"
    old.write_text(before)
    file.write_text(before + "\n".join(COMPLEXES) + "\n")
    grid.run("qconf", "-Mc", str(file))
    grid.run("qconf", "-aattr", "exechost", "complex_values", "small=TRUE", "node1")
    grid.run("qconf", "-aattr", "exechost", "complex_values", "large=TRUE", "node2")
    yield
    grid.run("qconf", "-dattr", "exechost", "complex_values", "small=TRUE", "node1")
    grid.run("qconf", "-dattr", "exechost", "complex_values", "large=TRUE", "node2")
    grid.run("qconf", "-Mc", str(old))


@pytest.fixture
def pools(options: dict[str, Any], two_kinds: None) -> dict[str, Any]:
    return {
        **options,
        "pools": {
            "cpu": {"resource_spec": "small=TRUE"},
            "big": {"resource_spec": "large=TRUE", "resources": {"BIG": 1}},
        },
    }


def where(*_: object) -> tuple[str, str]:
    return socket.gethostname(), str(get_worker().name).partition("-")[0]


def test_tasks_run_where_they_must(grid: Cell, pools: dict[str, Any]) -> None:
    """Tasks run on the hosts of their pool; each pool is scaled and repaired alone."""
    jobs = {"cpu": 2, "big": 1}
    with GridEngineCluster(jobs=jobs, **pools) as cluster, Client(cluster) as client:
        client.wait_for_workers(3, timeout=60)
        needy = client.map(where, range(6), resources={"BIG": 1}, pure=False)
        assert set(client.gather(needy)) == {("node2", "big")}
        hosts = {row.pool: row.host for row in cluster.jobs()}
        assert hosts == {"cpu": "node1", "big": "node2"}
        cluster.scale(pool="cpu", jobs=0)
        wait_until(
            lambda: len(grid.qstat().splitlines()[2:]) == 1,
            "one job",
            30,
            grid.qstat,
        )
        assert client.submit(where, 7).result(timeout=30) == ("node2", "big")
        (last,) = [row for row in cluster.jobs() if row.state.value == "working"]
        grid.run("qdel", str(last.id.job), "-t", str(last.id.index))
        wait_until(lambda: cluster.wanted == 0, "taken away", 30, cluster.explain)
        cluster.scale(pool="big", jobs=1)
        found = client.submit(where, 8, resources={"BIG": 1}).result(timeout=60)
        assert found == ("node2", "big")
    assert grid.qstat() == ""


def test_each_pool_follows_its_own_work(grid: Cell, pools: dict[str, Any]) -> None:
    """Nodes of the required pool start; a requirement that no pool has is reported."""
    with GridEngineCluster(**pools) as cluster, Client(cluster) as client:
        cluster.adapt(maximum_jobs=2, interval="200 ms", idle_grace="1 s", wait_count=1)
        found = client.submit(where, 1, resources={"BIG": 1}).result(timeout=60)
        assert found == ("node2", "big")
        assert cluster.pool("cpu").wanted == 0
        wait_until(lambda: cluster.wanted == 0, "no nodes", 60, cluster.explain)
        assert client.submit(where, 2).result(timeout=60) == ("node1", "cpu")
        assert cluster.pool("big").wanted == 0
        with pytest.raises(Unsatisfiable, match="requires GPU 1"):
            client.submit(where, 3, resources={"GPU": 1}).result(timeout=30)
    assert grid.qstat() == ""


def test_a_node_pins_its_devices(grid: Cell, options: dict[str, Any]) -> None:
    """Each worker sees its share of the granted devices. The prologue sets the variable
    that Univa sets for a resource map, which this Grid Engine does not have."""
    options |= {
        "cores": 2,
        "processes": 2,
        "parallel_environment": "smp",
        "resources": {"GPU": 1},
        "job_script_prologue": ['export SGE_HGR_gpu="gpu1 gpu3"'],
    }
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["1", "3"]
    assert grid.qstat() == ""
