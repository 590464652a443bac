"""Clusters to inject faults into, on local processes and on the cell."""

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
    """Each launcher; the queue and the hosts of the cell are empty afterwards."""
    if request.param == "drmaa":
        request.getfixturevalue("grid")
    return str(request.param)


@pytest.fixture
def options(launcher: str, shared: Path) -> Iterator[dict[str, Any]]:
    """Options of a cluster of at most three nodes, which leaves only logs."""
    slots = {"slots": 3} if launcher == "process" else {}
    yield {**_options(shared), **slots, "launcher": launcher}
    only_logs(shared)


@pytest.fixture
def grid_options(grid: Cell, shared: Path) -> Iterator[dict[str, Any]]:
    """The same options, for faults that only the cell can have."""
    yield {**_options(shared), "launcher": "drmaa"}
    only_logs(shared)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """The file in which `counted` records its runs."""
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
    """Only logs are left, of nodes whose log has more than the diagnosis."""
    left = [path for path in shared.rglob("*") if path.is_file()]
    assert not list(shared.rglob(FILE_NAME))
    assert [path for path in left if path.suffix != ".log"] == []
    # A directory is kept only for a log.
    assert left or list(shared.iterdir()) == []


def working(cluster: GridEngineCluster) -> list[JobRow]:
    """Return the nodes whose worker is registered, or was a moment ago."""
    return [row for row in cluster.jobs() if row.state is NodeState.WORKING]


def states(cluster: GridEngineCluster) -> list[str]:
    """Return the state of each node, and why it ended."""
    rows = cluster.jobs()
    return [f"{row.id} {row.state.value} {row.cause}".strip() for row in rows]


def node_pid(row: JobRow) -> int:
    """Return the process id of a node; all hosts of the cell share process ids."""
    assert row.pid, f"{row} has not arrived"
    return row.pid


def worker_pid(client: Client, row: JobRow) -> int:
    """Return the process id of a node's worker, which is not that of the node.

    Waits for it: the scheduler may know more than the cluster's view of it.
    """

    def there() -> str | None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        found = (a for a, info in workers.items() if info["name"] == row.worker)
        return next(found, None)

    address = wait_until(there, f"worker {row.worker}", 20)
    return int(client.run(os.getpid, workers=[address])[address])


def kill(pid: int) -> None:
    """Send SIGKILL and wait until the process has ended."""
    process = psutil.Process(pid)
    process.kill()

    def dead() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True  # it has been reaped

    wait_until(dead, f"{pid} dead", 10)


def healed(cluster: GridEngineCluster, count: int, timeout: float = 30) -> float:
    """Wait until `count` nodes work and their workers run; return the seconds."""
    began = time.monotonic()

    def whole() -> bool:
        names = {row.worker for row in working(cluster)}
        there = {info["name"] for info in cluster.scheduler_info["workers"].values()}
        return len(names) == count and names == there

    wait_until(whole, f"{count} nodes work", timeout, lambda: states(cluster))
    return time.monotonic() - began


def explained(cluster: GridEngineCluster, cause: Cause, timeout: float = 20) -> str:
    """Wait until ``cluster.explain()`` names a cause; return its text."""
    plural = cause.value.replace("was ", "were ", 1).replace(" its ", " their ")
    explanation = ""

    def has_cause() -> bool:
        nonlocal explanation
        explanation = cluster.explain()
        return cause.value in explanation or plural in explanation

    wait_until(has_cause, f"explained by {cause.name}", timeout, lambda: explanation)
    return explanation


def none_in_vain(book: Path, count: int, victims: Collection[str | None]) -> None:
    """Assert that each task ran, and ran again only if a victim had run it before."""
    found = runs(book)
    assert sorted(found) == list(range(count))
    again = {number: names for number, names in found.items() if len(names) > 1}
    needless = {
        number: names
        for number, names in again.items()
        if not {*names[:-1]} <= {*victims}
    }
    assert not needless, f"ran again without need, by number: {needless}"
