"""Nodes and workers that are lost in a map: they are replaced, no result is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import gridengine
from dask_gridengine.nodes.registry import NodeState
from tests.gridengine.helpers import requested_nodes, wait_for, workers_of
from tests.waiting import wait_until


def working(scheduler: gridengine.ProcessScheduler) -> dict[str, int]:
    """Process ids of the working nodes, by the names of their workers."""
    cluster = scheduler.cluster
    assert cluster is not None
    rows = [row for row in cluster.jobs() if row.state is NodeState.WORKING]
    return {row.worker or "": row.pid for row in rows}


def map_while(
    scheduler: gridengine.ProcessScheduler, go: Path, harm: Callable[[], None]
) -> list[int]:
    """Map over 200 items while `harm` is done; the map does not end before that."""

    def slow(x: int) -> int:
        time.sleep(0.01)
        if x == 199:
            wait_for(str(go))
        return x

    def harm_then_go() -> None:
        try:
            harm()
        finally:
            go.touch()

    gridengine.map(abs, [-1, -2], scheduler=scheduler)
    scheduler.client.wait_for_workers(2, timeout=30)
    thread = threading.Thread(target=harm_then_go)
    thread.start()
    found = gridengine.map(slow, range(200), scheduler=scheduler, progress=False)
    thread.join()
    return found


def test_all_nodes_are_lost_at_once(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """The map goes on with others, and its results are right."""

    def kill_all() -> None:
        lost = working(fresh)
        for pid in lost.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: working(fresh).keys() - lost.keys(),
            "another node",
            30,
            lambda: fresh.cluster and fresh.cluster.explain(),
        )

    assert map_while(fresh, tmp_path / "go", kill_all) == list(range(200))
    wait_until(lambda: len(working(fresh)) == 2, "two nodes", 30)
    assert requested_nodes(fresh) == 2


def test_nodes_are_lost_one_by_one(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Each is replaced, as often as it happens, and no result is lost."""

    def kill_each() -> None:
        for _ in range(3):
            before = wait_until(
                lambda: len(found := working(fresh)) == 2 and found,
                "two nodes",
                30,
                lambda: fresh.cluster and fresh.cluster.explain(),
            )
            worker, pid = min(before.items())
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda lost=worker: lost not in working(fresh), "its end", 30)

    assert map_while(fresh, tmp_path / "go", kill_each) == list(range(200))


def test_a_worker_without_its_nanny(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A Nanny that is stopped for good takes nothing with it but its own worker."""

    def kill_nanny() -> None:
        worker, pid = min(working(fresh).items())
        children = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: worker not in working(fresh), "its end", 30)
        wait_until(
            lambda: not any(child.is_running() for child in children),
            "no process of it left",
            10,
            lambda: children,
        )

    assert map_while(fresh, tmp_path / "go", kill_nanny) == list(range(200))


def test_workers_are_lost_but_not_their_nodes(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Nannies start new ones in the same nodes; the map goes on there."""

    def kill_workers() -> None:
        client = fresh.client
        before = set(workers_of(fresh))
        killed = client.run(
            lambda dask_worker: os.kill(dask_worker.process.pid, signal.SIGKILL),
            nanny=True,
        )
        assert len(killed) == 2
        wait_until(lambda: workers_of(fresh) - before, "another worker", 30)

    assert map_while(fresh, tmp_path / "go", kill_workers) == list(range(200))
    assert fresh.cluster is not None
    assert len(fresh.cluster.jobs()) == 2
