"""A host whose network cable is pulled: for a minute, and for good."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from tests.chaos.conftest import (
    Cell,
    counted,
    explained,
    none_in_vain,
    runs,
    states,
    wait_until,
    working,
)

pytestmark = pytest.mark.grid

JOBS = 4
OUTAGE = 60.0  # seconds
#: Seconds until it is known that a worker is lost, as Dask has them: the connection's
#: 30 s, which become 50 s if there is something on its way (the kernel looks only when
#: it sends that again), and 15 s in which the worker might come back. And some.
REPLACED = 120.0
CLOSED = 60.0  # seconds close() may take while it cannot reach a node


class Cable:
    """The network cable of a host, which is connected again after the test."""

    def __init__(self, grid: Cell) -> None:
        self._grid, self.host = grid, ""
        self._pulled = 0.0

    def pull(self, host: str) -> None:
        self.host, self._pulled = host, time.monotonic()
        self._grid.control("cut", host)

    def put_back(self) -> None:
        if self.host:
            self._grid.control("heal", self.host)
            self.host = ""

    @property
    def seconds(self) -> float:
        """Seconds since it was pulled."""
        return time.monotonic() - self._pulled


@pytest.fixture
def cable(grid: Cell) -> Iterator[Cable]:
    made = Cable(grid)
    yield made
    made.put_back()


@pytest.fixture
def short_timeouts() -> Iterator[None]:
    """Lost workers are detected after some seconds instead of a minute."""
    settings = {
        "distributed.comm.timeouts.tcp": "11s",
        "distributed.deploy.lost-worker-timeout": "2s",
    }
    with dask.config.set(settings):
        yield


def busiest(cluster: GridEngineCluster) -> str:
    hosts = [row.host for row in working(cluster)]
    return max(hosts, key=hosts.count)


def on(cluster: GridEngineCluster, host: str) -> set[str | None]:
    return {row.worker for row in cluster.jobs() if row.host == host}


def all_elsewhere(cluster: GridEngineCluster, host: str) -> bool:
    rows = working(cluster)
    return len(rows) == JOBS and host not in {row.host for row in rows}


def queue(grid: Cell) -> list[str]:
    return grid.qstat().splitlines()[2:]


@pytest.mark.timeout(240)
def test_a_cable_pulled_for_a_minute(
    grid: Cell,
    grid_options: dict[str, Any],
    cable: Cable,
    book: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The results of the host are computed again elsewhere, and its nodes are replaced.
    When it is back, no node exists twice."""
    with (
        GridEngineCluster(jobs=JOBS, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(JOBS, timeout=60)
        numbers = client.map(counted, range(200), path=str(book), seconds=0.2)
        total = client.submit(sum, numbers)
        wait_until(lambda: len(runs(book)) > 3 * JOBS, "it computes", 20)
        lost = busiest(cluster)
        cable.pull(lost)
        victims = on(cluster, lost)
        wait_until(
            lambda: all_elsewhere(cluster, lost),
            "replaced on the other host",
            REPLACED,
            lambda: (states(cluster), cluster.explain()),
        )
        record_property("seconds to replace", cable.seconds)
        assert total.result(timeout=60) == sum(range(200))
        none_in_vain(book, 200, victims)
        explanation = explained(cluster, Cause.HOST_LOST)
        assert lost in explanation
        time.sleep(max(0.0, OUTAGE - cable.seconds))
        cable.put_back()
        back = time.monotonic()
        wait_until(
            lambda: len(queue(grid)) == JOBS, "no surplus job", 60, lambda: queue(grid)
        )
        wait_until(
            lambda: cluster.jobs().counts() == {"working": JOBS, "gone": len(victims)},
            "the lost nodes gone",
            30,
            lambda: states(cluster),
        )
        record_property("seconds of surplus", time.monotonic() - back)
        assert all_elsewhere(cluster, lost)
        assert client.gather(numbers) == list(range(200))
        none_in_vain(book, 200, victims)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("short_timeouts")
def test_a_cable_pulled_for_good(
    grid: Cell,
    grid_options: dict[str, Any],
    cable: Cable,
    book: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The computation finishes on the other host, and close() does not wait for
    nodes that are not reachable."""
    grid_options["drain_timeout"] = 5
    with contextlib.ExitStack() as stack:
        cluster = GridEngineCluster(jobs=JOBS, **grid_options)
        stack.callback(cluster.close)
        client = stack.enter_context(Client(cluster))
        client.wait_for_workers(JOBS, timeout=60)
        numbers = client.map(counted, range(80), path=str(book), seconds=0.2)
        total = client.submit(sum, numbers)
        wait_until(lambda: len(runs(book)) > 2 * JOBS, "it computes", 20)
        lost = busiest(cluster)
        cable.pull(lost)
        victims = on(cluster, lost)
        assert total.result(timeout=60) == sum(range(80))
        none_in_vain(book, 80, victims)
        record_property("seconds to the result", cable.seconds)
        wait_until(lambda: all_elsewhere(cluster, lost), "replaced", 40)
        record_property("seconds to replace", cable.seconds)
        assert f"Excluding host {lost}" in explained(cluster, Cause.HOST_LOST)
        client.close()
        began = time.monotonic()
        cluster.close()
        took = time.monotonic() - began
        record_property("seconds to close", took)
        assert took < CLOSED
        others = {row.host for row in cluster.jobs()} - {lost}
        assert queue(grid), "the grid does not know yet that they are over"
        assert not [line for line in queue(grid) for host in others if host in line]
    cable.put_back()
    wait_until(lambda: grid.qstat() == "", "an empty queue", 60, grid.qstat)
