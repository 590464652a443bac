"""A computation that takes several walltimes of its nodes loses nothing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    none_in_vain,
    runs,
    wait_until,
    working,
)
from tests.chaos.tasks import finished

NODES, WALLTIME, SECONDS = 3, 24.0, 80.0
EVERY = 0.1  # seconds between looks


class Watch:
    """Records in a thread how many nodes work, and how many exist."""

    def __init__(self, cluster: GridEngineCluster) -> None:
        self._cluster, self._over = cluster, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.working: list[int] = []
        self.most = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            counts = self._cluster.counts
            self.working.append(counts.get(NodeState.WORKING.value, 0))
            self.most = max(self.most, sum(counts.values()) - counts.get("gone", 0))

    def longest_below(self, number: int) -> float:
        """Return the longest time in seconds with fewer working nodes."""
        stretches = itertools.groupby(self.working, lambda seen: seen < number)
        return max((EVERY * len([*s]) for below, s in stretches if below), default=0.0)


def add(*numbers: int) -> int:
    return sum(numbers)


@pytest.mark.grid
@pytest.mark.timeout(180)
def test_a_computation_outlives_its_nodes(
    grid_options: dict[str, Any], book: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Results are right, no finished task runs again, and few nodes are missing.

    What is cut off, on a busy host, is the last task of a node here and there; it is
    named, and only that one may have ended without an exit report.
    """
    done = book.with_name("done")
    began = time.monotonic()
    with (
        GridEngineCluster(jobs=NODES, walltime=WALLTIME, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(NODES, timeout=60)
        start = time.monotonic() - began
        count = int(SECONDS * NODES / 0.9)
        with Watch(cluster) as watch:
            # Held to the end, so that each result is handed from node to node.
            leaves = [
                client.submit(finished, i, str(book), str(done), seconds)
                for i, seconds in ((i, 0.3 + 0.12 * (i * 7 % 11)) for i in range(count))
            ]
            groups = itertools.zip_longest(*[iter(leaves)] * 50)
            sums = [client.submit(add, *filter(None, group)) for group in groups]
            assert sum(client.gather(sums)) == count * (count - 1) // 2
        found = runs(done)
        assert sorted(found) == [*range(count)]
        again = {n: names for n, names in found.items() if len(names) > 1}
        cut = {n for n, leaf in enumerate(leaves) if repr(leaf.key) in caplog.text}
        assert again.keys() <= cut, again
        cut_off = sum(len(names) - 1 for names in runs(book).values())
        assert cut_off <= len(cluster.jobs()), runs(book)
        ends = {row.cause for row in cluster.jobs() if row.cause}
        assert ends == {Cause.EXPIRED.value}, cluster.explain()
        assert len(cluster.jobs()) >= 3 * NODES
        assert watch.longest_below(NODES - 1) <= start
        # The slack: as many as leave at the same time.
        assert watch.most <= 2 * NODES


def gone(cluster: GridEngineCluster) -> list[str]:
    """Return why nodes have ended."""
    return [row.cause for row in cluster.jobs() if row.state is NodeState.GONE]


@pytest.fixture
def short_queue(grid: Cell) -> Iterator[None]:
    """Let the queue of the cell end all jobs after 20 s."""
    grid.run("qconf", "-mattr", "queue", "h_rt", "0:0:20", "all.q")
    yield
    grid.run("qconf", "-mattr", "queue", "h_rt", "INFINITY", "all.q")


@pytest.mark.grid
def test_the_queue_s_own_limit_is_known(
    grid_options: dict[str, Any], short_queue: None, book: Path
) -> None:
    """Nodes leave before it although no walltime was requested."""
    with (
        GridEngineCluster(jobs=1, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 1)
        result = client.submit(counted, 0, path=str(book))
        assert result.result(timeout=30) == 0
        wait_until(lambda: gone(cluster), "its end", 40, cluster.explain)
        assert gone(cluster) == [Cause.EXPIRED.value]
        assert result.result(timeout=30) == 0
        none_in_vain(book, 1, victims=())


@pytest.fixture
def short_by_default(grid: Cell) -> Iterator[None]:
    """Let the default request of the cell end jobs after 20 s."""
    defaults = grid.directory / "sge" / "default" / "common" / "sge_request"
    defaults.write_text("-l h_rt=20\n")
    yield
    defaults.unlink()


@pytest.mark.grid
@pytest.mark.timeout(180)
def test_a_walltime_that_the_site_adds_is_one_like_any_other(
    grid_options: dict[str, Any], short_by_default: None, book: Path
) -> None:
    """Nodes leave before it, no task runs again, and explain() names the limit."""
    with (
        GridEngineCluster(jobs=2, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        tasks = client.map(counted, range(24), path=str(book), seconds=2.0)
        assert client.gather(tasks) == [*range(24)]
        assert {*gone(cluster)} == {Cause.EXPIRED.value}, cluster.explain()
        assert all(len(names) == 1 for names in runs(book).values())
        assert "h_rt=20" in cluster.explain()
        assert "h_rt=20" in cluster.job_script()


@pytest.mark.grid
def test_an_end_by_a_walltime_that_the_site_adds_is_called_so(
    grid_options: dict[str, Any], short_by_default: None
) -> None:
    """If nodes may not leave before it."""
    grid_options["drain_before_walltime"] = False
    with GridEngineCluster(jobs=1, **grid_options) as cluster:
        healed(cluster, 1)
        assert "20 s" in explained(cluster, Cause.WALLTIME, 40)


@pytest.mark.grid
@pytest.mark.parametrize("extra", ["-notify", "-l s_rt=12"])
def test_the_grid_s_own_signals_drain_a_node(
    grid: Cell, grid_options: dict[str, Any], extra: str, book: Path
) -> None:
    """After a deletion with -notify, or s_rt, tasks finish and results are kept."""
    grid_options["job_extra_directives"] = [extra]
    # Otherwise it would be gone before the signal of s_rt comes.
    grid_options["drain_before_walltime"] = False
    with (
        GridEngineCluster(jobs=2, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        done = client.map(counted, range(10, 20), path=str(book))
        assert client.gather(done) == [*range(10, 20)]
        (victim, _) = working(cluster)
        if extra == "-notify":
            running = client.map(counted, range(2), path=str(book), seconds=5.0)
            wait_until(lambda: len(runs(book)) == 12, "both run", 10)
            grid.run("qdel", str(victim.id))
        else:
            assert victim.arrived is not None
            time.sleep(max(0.0, victim.arrived + 9 - time.time()))
            running = client.map(counted, range(2), path=str(book), seconds=5.0)
        assert client.gather(running) == [0, 1]
        assert "SIGUSR" in explained(cluster, Cause.DRAINED)
        assert client.gather(done) == [*range(10, 20)]
        assert all(len(names) == 1 for names in runs(book).values())
