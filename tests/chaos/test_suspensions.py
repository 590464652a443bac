"""Nodes that the grid suspends get no tasks, are not lost, and continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.conftest import (
    Cell,
    counted,
    explained,
    healed,
    runs,
    states,
    wait_until,
    working,
)
from tests.chaos.tasks import slow_identity

TTL = "24s"  # after which Dask ends a silent worker


def suspended(cluster: GridEngineCluster) -> list[str]:
    """Return the ids of the nodes that are shown as suspended."""
    return [str(r.id) for r in cluster.jobs() if r.state is NodeState.SUSPENDED]


@pytest.fixture
def short_ttl() -> Any:
    """Set a short timeout for silent workers, which Dask reads when it starts."""
    with dask.config.set({"distributed.scheduler.worker-ttl": TTL}):
        yield


@pytest.mark.grid
@pytest.mark.timeout(240)
@pytest.mark.parametrize("by", ["job", "queue"])
def test_a_suspended_node_is_neither_at_work_nor_lost(
    grid: Cell,
    grid_options: dict[str, Any],
    short_ttl: None,
    book: Path,
    by: str,
) -> None:
    """It outlives Dask's timeout, others get the new tasks, and it continues later."""
    with (
        GridEngineCluster(jobs=2, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        (victim, other) = sorted(working(cluster))
        what = str(victim.id) if by == "job" else f"all.q@{victim.host}"
        if by == "queue" and other.host == victim.host:
            pytest.fail("both nodes are on one host")
        long = client.map(counted, range(2), path=str(book), seconds=3.0, pure=False)
        wait_until(lambda: len(runs(book)) == 2, "both run", 20)
        grid.run("qmod", "-sj" if by == "job" else "-sq", what)
        try:
            wait_until(
                lambda: suspended(cluster) == [str(victim.id)],
                "suspended",
                40,
                lambda: states(cluster),
            )
            assert cluster.counts == {"working": 1, "suspended": 1}
            assert "1 suspended" in repr(cluster)
            assert str(victim.id) in cluster.explain()
            assert "suspended by the grid since" in cluster.explain()
            # Work for longer than the limit, which the other one does alone.
            more = client.map(counted, range(2, 50), path=str(book), seconds=1.0)
            assert client.gather(more) == [*range(2, 50)]
            assert suspended(cluster) == [str(victim.id)], cluster.explain()
            assert {*cluster.counts} == {"working", "suspended"}
        finally:
            grid.run("qmod", "-usj" if by == "job" else "-usq", what)
        healed(cluster, 2, 40)
        assert client.gather(long) == [0, 1]
        names = {name for found in runs(book).values() for name in found}
        assert all(len(found) == 1 for found in runs(book).values())
        assert len(names) == 2
        assert [row.cause for row in cluster.jobs()] == ["", ""]
        assert "avoided" not in cluster.explain()


@pytest.mark.grid
@pytest.mark.timeout(120)
def test_a_node_suspended_for_too_long_is_replaced(
    grid: Cell, grid_options: dict[str, Any]
) -> None:
    """After suspended-timeout; its host is not excluded."""
    with GridEngineCluster(jobs=1, suspended_timeout=3, **grid_options) as cluster:
        healed(cluster, 1)
        (victim,) = working(cluster)
        grid.run("qmod", "-sj", str(victim.id))
        explained(cluster, Cause.SUSPENDED, 60)
        healed(cluster, 1)
        assert working(cluster)[0].id != victim.id
        assert "avoided" not in cluster.explain()


@pytest.mark.grid
@pytest.mark.timeout(180)
def test_scaling_down_removes_suspended_nodes_first(
    grid: Cell, grid_options: dict[str, Any]
) -> None:
    """A node that works and holds results stays, and all tasks finish."""
    with (
        GridEngineCluster(jobs=2, finish_timeout=5, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        (victim, other) = sorted(working(cluster))
        tasks = client.map(slow_identity, range(8), pure=False)
        grid.run("qmod", "-sj", str(victim.id))
        wait_until(
            lambda: suspended(cluster) == [str(victim.id)],
            "suspended",
            40,
            lambda: states(cluster),
        )
        cluster.scale(1)
        assert client.gather(tasks) == [*range(8)]
        wait_until(
            lambda: cluster.counts == {"working": 1, "gone": 1},
            "one is left",
            30,
            lambda: states(cluster),
        )
        assert [row.id for row in working(cluster)] == [other.id]
