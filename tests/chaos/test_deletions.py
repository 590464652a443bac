"""Jobs that a person deletes, and jobs that the grid cannot start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster, NodesFailed
from dask_gridengine.exit_causes import Cause
from tests.chaos.conftest import (
    Cell,
    counted,
    explained,
    healed,
    none_in_vain,
    runs,
    states,
    wait_until,
    working,
)

pytestmark = pytest.mark.grid

NOT_AGAIN = 3.0  # seconds in which a replacement would have been asked for


def gone(cluster: GridEngineCluster) -> list[str]:
    return [row.cause for row in cluster.jobs() if row.state.value == "gone"]


def arrays(cluster: GridEngineCluster) -> int:
    """Return how many arrays have been submitted."""
    return len({row.id.job for row in cluster.jobs()})


def test_a_running_node_is_deleted(
    grid: Cell, grid_options: dict[str, Any], book: Path
) -> None:
    """One node less is requested, its tasks run on others, and explain() says so."""
    with (
        GridEngineCluster(jobs=3, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 3)
        results = client.map(
            counted, range(40), path=str(book), seconds=0.1, pure=False
        )
        victim = working(cluster)[0]
        wait_until(lambda: [victim.worker] in runs(book).values(), "it computes", 10)
        grid.run("qdel", str(victim.id))
        assert client.gather(results) == list(range(40))
        none_in_vain(book, 40, victims=[victim.worker])
        explanation = explained(cluster, Cause.DELETED)
        assert explanation.startswith("2 nodes requested: 2 working.")
        assert explanation.count("requested from now on: 2") == 1
        time.sleep(NOT_AGAIN)
        assert len(cluster.jobs()) == 3
        with pytest.raises(NodesFailed, match=r"(?s)deleted.*requested now: 2"):
            client.wait_for_workers(3, timeout=20)


def test_a_queued_node_is_deleted(
    grid: Cell, grid_options: dict[str, Any], book: Path
) -> None:
    """A queued node that was deleted is not submitted again."""
    options = {**grid_options, "job_extra_directives": ["-tc 1"]}
    with (
        GridEngineCluster(jobs=3, **options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 1)
        victim = next(row for row in cluster.jobs() if row.state.value == "queued")
        grid.run("qdel", str(victim.id))
        wait_until(lambda: gone(cluster), "it is gone", 20, lambda: states(cluster))
        explanation = explained(cluster, Cause.DELETED)
        assert explanation.startswith("2 nodes requested: 1 queued, 1 working")
        assert client.submit(counted, 0, path=str(book)).result(timeout=30) == 0
        time.sleep(NOT_AGAIN)
        assert len(cluster.jobs()) == 3


def test_all_nodes_are_deleted(
    grid: Cell, grid_options: dict[str, Any], book: Path
) -> None:
    """None is replaced; one line explains it, and waiting calls fail immediately."""
    with (
        GridEngineCluster(jobs=4, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 4)
        done = client.map(counted, range(4), path=str(book), seconds=0.1, pure=False)
        assert client.gather(done) == list(range(4))
        none_in_vain(book, 4, victims=())
        del done
        waiting = client.submit(counted, 4, path=str(book), seconds=60)
        wait_until(lambda: 4 in runs(book), "it runs", 10)
        grid.run("qdel", "*")
        with pytest.raises(NodesFailed, match="deleted"):
            waiting.result(timeout=30)
        with pytest.raises(NodesFailed, match="deleted"):
            client.wait_for_workers(1, timeout=20)
        late = client.submit(counted, 6, path=str(book))
        with pytest.raises(NodesFailed, match="deleted"):
            late.result(timeout=20)
        explanation = explained(cluster, Cause.DELETED)
        assert explanation.startswith("no nodes requested.")
        assert gone(cluster) == [Cause.DELETED.value] * 4
        time.sleep(NOT_AGAIN)
        assert len(cluster.jobs()) == 4
        cluster.scale(1)  # the user's word counts
        healed(cluster, 1)
        assert client.submit(counted, 5, path=str(book)).result(timeout=30) == 5


@pytest.fixture
def prolog(grid: Cell, tmp_path: Path) -> Iterator[Path]:
    """Set a prolog of the queue with which the grid can start no job (Eqw)."""
    script = tmp_path / "prolog"
    script.write_text("#!/bin/sh\nexit 100\n")
    script.chmod(0o755)
    before = grid.run("qconf", "-sq", "all.q").split("prolog")[1].split()[0]
    grid.run("qconf", "-mattr", "queue", "prolog", str(script), "all.q")
    yield script
    grid.run("qconf", "-mattr", "queue", "prolog", before, "all.q")


def test_nodes_that_the_grid_cannot_start(
    grid: Cell, grid_options: dict[str, Any], prolog: Path, book: Path
) -> None:
    """Few arrays are submitted, waiting calls fail, and the error has the reason."""
    with (
        GridEngineCluster(jobs=2, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        result = client.submit(counted, 0, path=str(book))
        with pytest.raises(NodesFailed, match="could not be started by the grid"):
            client.wait_for_workers(2, timeout=30)
        with pytest.raises(NodesFailed, match="could not be started by the grid"):
            result.result(timeout=10)
        assert "Submission is suspended" in explained(cluster, Cause.NOT_STARTED)
        wait_until(
            lambda: "30: application error returned" in cluster.explain(),
            "the grid's reason",
            30,  # the master writes its accounting every 15 s
            cluster.explain,
        )
        assert arrays(cluster) <= 5, states(cluster)
        assert len(cluster.jobs()) <= 6, states(cluster)
        assert runs(book) == {}
        prolog.write_text("#!/bin/sh\nexit 0\n")
        cluster.scale(2)
        healed(cluster, 2)
        assert client.submit(counted, 1, path=str(book)).result(timeout=30) == 1


def test_under_adaptive_scaling_all_nodes_are_deleted(
    grid: Cell, grid_options: dict[str, Any], book: Path
) -> None:
    """Nodes are requested again for the waiting tasks, and no task fails."""
    with GridEngineCluster(**grid_options) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=2, interval="3s")
        waiting = client.submit(counted, 0, path=str(book), seconds=3)
        wait_until(lambda: 0 in runs(book), "it runs", 20, lambda: states(cluster))
        victims = [row.worker for row in working(cluster)]
        grid.run("qdel", "*")
        assert waiting.result(timeout=40) == 0
        none_in_vain(book, 1, victims=victims)
        explained(cluster, Cause.DELETED)
