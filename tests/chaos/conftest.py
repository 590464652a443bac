"""Clusters to be broken, on local processes and on the cell, and looks at them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.tasks import counted, runs, slow_identity
from tests.grid.conftest import Cell, grid
from tests.waiting import wait_until

__all__ = [
    "Cell",
    "counted",
    "explained",
    "grid",
    "healed",
    "kill",
    "node_pid",
    "none_in_vain",
    "runs",
    "slow_identity",
    "states",
    "wait_until",
    "worker_pid",
    "working",
]


@pytest.fixture(params=["process", pytest.param("drmaa", marks=pytest.mark.grid)])
def launcher(request: pytest.FixtureRequest) -> str:
    """The launchers there are; of the cell's, queue and hosts are empty afterwards."""
    if request.param == "drmaa":
        request.getfixturevalue("grid")
    return str(request.param)


@pytest.fixture
def options(launcher: str, shared: Path) -> Iterator[dict[str, Any]]:
    """Options of a cluster of three nodes at most, that leaves nothing but logs."""
    slots = {"slots": 3} if launcher == "process" else {}
    yield {**_options(shared), **slots, "launcher": launcher}
    only_logs(shared)


@pytest.fixture
def grid_options(grid: Cell, shared: Path) -> Iterator[dict[str, Any]]:
    """The same, for what only the cell can do."""
    yield {**_options(shared), "launcher": "drmaa"}
    only_logs(shared)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Where `counted` enters its runs."""
    return tmp_path / "book"


def _options(shared: Path) -> dict[str, Any]:
    return {
        "memory": "500 MB",
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
        "death_timeout": 20,
    }


def only_logs(shared: Path) -> None:
    """Nothing is left but logs, and these are of nodes whose log says more."""
    left = [path for path in shared.rglob("*") if path.is_file()]
    assert not list(shared.rglob(FILE_NAME))
    assert [path for path in left if path.suffix != ".log"] == []
    # Without a log there is no reason for a directory either.
    assert left or list(shared.iterdir()) == []


def working(cluster: GridEngineCluster) -> list[JobRow]:
    """Nodes whose workers the scheduler has, or had a moment ago."""
    return [row for row in cluster.jobs() if row.state is NodeState.WORKING]


def states(cluster: GridEngineCluster) -> list[str]:
    """What each node there ever was is at, and why it ended."""
    rows = cluster.jobs()
    return [f"{row.id} {row.state.value} {row.cause}".strip() for row in rows]


def node_pid(row: JobRow) -> int:
    """The process a node is; all hosts of the cell share their process ids."""
    assert row.pid, f"{row} has not arrived"
    return row.pid


def worker_pid(client: Client, row: JobRow) -> int:
    """The process of a node's worker, which is not the node's own.

    Waits for it: the scheduler may know more than the cluster's view of it.
    """

    def there() -> str | None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        found = (a for a, info in workers.items() if info["name"] == row.worker)
        return next(found, None)

    address = wait_until(there, f"worker {row.worker}", 20)
    return int(client.run(os.getpid, workers=[address])[address])


def kill(pid: int) -> None:
    """SIGKILL, and wait until it has had its effect."""
    process = psutil.Process(pid)
    process.kill()

    def dead() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True  # it has been reaped

    wait_until(dead, f"{pid} dead", 10)


def healed(cluster: GridEngineCluster, count: int, timeout: float = 30) -> float:
    """Wait until so many nodes work, their workers running; the seconds that took."""
    began = time.monotonic()

    def whole() -> bool:
        names = {row.worker for row in working(cluster)}
        there = {info["name"] for info in cluster.scheduler_info["workers"].values()}
        return len(names) == count and names == there

    wait_until(whole, f"{count} nodes work", timeout, lambda: states(cluster))
    return time.monotonic() - began


def explained(cluster: GridEngineCluster, cause: Cause, timeout: float = 20) -> str:
    """Wait until ``cluster.explain()`` names a cause; what it says then."""
    plural = cause.value.replace("was ", "were ", 1)
    said = ""

    def names_it() -> bool:
        nonlocal said
        said = cluster.explain()
        return cause.value in said or plural in said

    wait_until(names_it, f"explained by {cause.name}", timeout, lambda: said)
    return said


def none_in_vain(book: Path, count: int, victims: Collection[str | None]) -> None:
    """Each of the tasks ran, and again only if it had run on a victim before."""
    found = runs(book)
    assert sorted(found) == list(range(count))
    again = {number: names for number, names in found.items() if len(names) > 1}
    needless = {
        number: names
        for number, names in again.items()
        if not {*names[:-1]} <= {*victims}
    }
    assert not needless, f"ran again without need, by number: {needless}"
