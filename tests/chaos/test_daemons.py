"""Faults of Grid Engine's daemons, and of the child process that uses DRMAA."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from tests.chaos.conftest import (
    Cell,
    counted,
    explained,
    healed,
    kill,
    node_pid,
    none_in_vain,
    states,
    wait_until,
    working,
)

pytestmark = pytest.mark.grid

ANSWERED = 5.0  # seconds scale() may take while the master is away
BACK = 120.0  # seconds; for half a minute a new master knows no host
BOOKED = 45.0  # seconds; the accounting is written every 15 s, and asked every 5


@pytest.fixture
def short_timeout() -> Iterator[None]:
    """A silent worker is declared lost after 3 s instead of 15 s."""
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "3s"}):
        yield


class Execd:
    """The daemon of one host."""

    def __init__(self, grid: Cell, host: str) -> None:
        self._grid, self._host = grid, host
        self._pid_file = grid.directory / "spool" / "execd" / host / "execd.pid"

    def kill(self) -> None:
        process = psutil.Process(int(self._pid_file.read_text()))
        assert process.name() == "sge_execd"
        kill(process.pid)

    def start(self) -> None:
        """Start it as a boot of the host does: without a user's environment."""
        before = self._pid_file.read_text()
        self._grid.control("as", "root", self._host, "sge_execd")
        wait_until(lambda: self._pid_file.read_text() != before, "an execd", 20)


@pytest.fixture
def swept(grid: Cell) -> Iterator[None]:
    """Start the master after the test, and wait until it has no nodes of the test."""
    yield
    grid.control("start-master")
    # What ended while it was away it takes for running, for ten minutes; and a new
    # execd tells only after one of what ends.
    for job in {line.split()[0] for line in queue(grid)}:
        with contextlib.suppress(Exception):
            grid.run("qdel", "-f", job)
    # Where the ends come late, the close parts from its session, which sees to them.
    children = psutil.Process().children
    wait_until(lambda: not children(), "the end of its session", 60, children)


def queue(grid: Cell) -> list[str]:
    return grid.qstat().splitlines()[2:]


def drmaa_child() -> psutil.Process:
    """Return the child process that uses DRMAA for this process."""

    def command(child: psutil.Process) -> str:
        try:
            return " ".join(child.cmdline())
        except psutil.Error:  # a zombie, or gone since
            return ""

    (found,) = (
        child
        for child in psutil.Process().children()
        if "launchers.drmaa.process" in command(child)
    )
    return found


@pytest.mark.usefixtures("swept")
def test_an_execd_that_is_killed_costs_no_node(
    grid: Cell,
    grid_options: dict[str, Any],
    book: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Its nodes continue, none is declared lost, and a new execd manages them."""
    grid_options["drain_timeout"] = 5
    with (
        GridEngineCluster(jobs=4, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 4, timeout=60)
        execd = Execd(grid, working(cluster)[0].host)
        numbers = client.map(counted, range(120), path=str(book), seconds=0.2)
        execd.kill()
        try:
            assert client.gather(numbers) == list(range(120))
            assert states(cluster) == [f"{row.id} working" for row in cluster.jobs()]
        finally:
            execd.start()
        none_in_vain(book, 120, victims=())
        assert client.gather(client.map(abs, range(20))) == list(range(20))
        assert len(cluster.jobs()) == len(working(cluster)) == 4
        began = time.monotonic()
    record_property("seconds to close", time.monotonic() - began)


def test_the_drmaa_child_and_a_node_killed_at_once(
    grid: Cell,
    grid_options: dict[str, Any],
    book: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """A new child finds the end of the node, which is replaced."""
    with (
        GridEngineCluster(jobs=3, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 3, timeout=60)
        numbers = client.map(counted, range(60), path=str(book), seconds=0.1)
        victim, child = working(cluster)[0], drmaa_child()
        kill(child.pid)
        kill(node_pid(victim))
        began = time.monotonic()
        healed(cluster, 3)
        record_property("seconds to heal", time.monotonic() - began)
        explained(cluster, Cause.KILLED, BOOKED)
        assert client.gather(numbers) == list(range(60))
        none_in_vain(book, 60, victims=[victim.worker])
        assert len(cluster.jobs()) == 4
        kill(drmaa_child().pid)
        cluster.scale(4)  # by the next child
        healed(cluster, 4)
        assert len(cluster.jobs()) == len(queue(grid)) + 1 == 5


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("swept", "short_timeout")
def test_an_outage_of_the_master(
    grid: Cell,
    grid_options: dict[str, Any],
    book: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Nodes continue without it. Requests and ends during the outage lead to one
    submission when the master is back."""
    grid_options["drain_timeout"] = 5
    with (
        GridEngineCluster(jobs=3, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 3, timeout=60)
        grid.control("stop-master")
        away = time.monotonic()
        numbers = client.map(counted, range(60), path=str(book), seconds=0.1)
        began = time.monotonic()
        cluster.scale(5)
        said_in = time.monotonic() - began
        assert said_in < ANSWERED
        assert "Submission failed, will retry" in cluster.explain()
        victim = working(cluster)[0]
        kill(node_pid(victim))
        # Silence is all there is: whether of the node or of its host is not known.
        wait_until(
            lambda: "has missed its worker" in cluster.explain(),
            "its silence explained",
            20,
            cluster.explain,
        )
        assert client.gather(numbers) == list(range(60))
        none_in_vain(book, 60, victims=[victim.worker])
        assert len(working(cluster)) == 2, "those that only idle are not given up"
        assert len(cluster.jobs()) == 3
        wait_until(lambda: time.monotonic() - away > 15, "15 s without a master", 20)
        grid.control("start-master")
        back = time.monotonic()
        healed(cluster, 5, timeout=BACK)
        record_property("seconds of scale()", said_in)
        record_property("seconds to heal", time.monotonic() - back)
        assert "does not answer" not in cluster.explain().split("decided:")[0]
        # Two more and one for the dead node, each asked for once.
        rows = cluster.jobs()
        assert len(rows) == 6, states(cluster)
        known = {row.id.job for row in rows}
        assert {line.split()[0] for line in queue(grid)} <= known
        assert len(queue(grid)) in (5, 6)  # it may not know yet of the node's end
        assert client.gather(client.map(abs, range(20))) == list(range(20))
        began = time.monotonic()
    record_property("seconds to close", time.monotonic() - began)
