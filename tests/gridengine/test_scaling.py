"""How many nodes a scheduler holds: none without work, few for short work."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

import gridengine
from dask_gridengine import GridEngineCluster
from tests.gridengine.helpers import requested_nodes, wait_for, workers_of
from tests.waiting import wait_until


@pytest.fixture
def short_idle_timeout() -> Iterator[None]:
    """Give nodes back soon after they were last needed."""
    with dask.config.set({"gridengine.map.idle-timeout": "200ms"}):
        yield


def in_thread(run: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start something; its thread, and a list for its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    return thread, found


def wait_for_nodes(scheduler: Any, count: int, timeout: float = 60) -> None:
    """Wait until a scheduler wants that many nodes."""
    requested = functools.partial(requested_nodes, scheduler)
    wait_until(lambda: requested() == count, f"{count} nodes", timeout, requested)


def test_idle_nodes_are_given_back(
    fresh: gridengine.ProcessScheduler, short_idle_timeout: None
) -> None:
    """After the idle timeout no node is left; the next map starts them again."""
    gridengine.map(abs, [-1, -2], scheduler=fresh)
    wait_for_nodes(fresh, 0)
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_a_map_that_comes_while_nodes_are_given_back(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """It has nodes, however close the two are."""
    with dask.config.set({"gridengine.map.idle-timeout": "1ms"}):
        for pause in (0.0, 0.0005, 0.001, 0.002, 0.004):
            deadline = time.monotonic() + pause
            wait_until(lambda end=deadline: time.monotonic() >= end, "a moment")
            assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_without_an_idle_timeout_nodes_stay(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """null in the configuration keeps them until the scheduler is closed."""
    with dask.config.set({"gridengine.map.idle-timeout": None}):
        gridengine.map(abs, [-1, -2], scheduler=fresh)
        before = workers_of(fresh)
        assert requested_nodes(fresh) == 2
        gridengine.map(abs, [-1], scheduler=fresh)
        assert requested_nodes(fresh) == 2
        assert before <= workers_of(fresh)


def test_the_tail_of_a_map_holds_no_idle_nodes(
    tmp_path: Path, short_idle_timeout: None
) -> None:
    """One long item keeps one node; the next map has all of them again."""

    def straggle(x: int) -> int:
        if x == 3:
            wait_for(str(tmp_path / "go"))
        return -x

    with gridengine.ProcessScheduler(3) as scheduler:
        thread, found = in_thread(
            lambda: gridengine.map(straggle, range(4), scheduler, chunksize=1)
        )
        wait_until(lambda: requested_nodes(scheduler), "started", 30)
        wait_for_nodes(scheduler, 1)
        assert thread.is_alive()
        (tmp_path / "go").touch()
        thread.join(30)
        assert found == [[0, -1, -2, -3]]
        nine = list(range(9, 0, -1))
        assert gridengine.map(abs, range(-9, 0), scheduler=scheduler) == nine


def test_another_map_keeps_the_nodes_of_a_tail(
    fresh: gridengine.ProcessScheduler, tmp_path: Path, short_idle_timeout: None
) -> None:
    """It may want them in a moment."""

    def wait(x: int) -> int:
        wait_for(str(tmp_path / f"go{x}"))
        return x

    one, found_one = in_thread(lambda: gridengine.map(wait, [0], fresh))
    two, found_two = in_thread(lambda: gridengine.map(wait, [1, 2], fresh))
    wait_for_nodes(fresh, 2)
    fresh.client.wait_for_workers(2, timeout=30)
    (tmp_path / "go1").touch()
    deadline = time.monotonic() + 1.5  # several times the timeout
    wait_until(lambda: time.monotonic() > deadline, "a while", 5)
    assert requested_nodes(fresh) == 2
    for x in (0, 2):
        (tmp_path / f"go{x}").touch()
    for thread in (one, two):
        thread.join(30)
    assert (found_one, found_two) == ([[0]], [[1, 2]])


def test_quick_items_start_few_nodes(local_options: dict[str, Any]) -> None:
    """A thousand squares do not ask for a hundred nodes, also with imap."""
    with gridengine.GridEngineScheduler(options=local_options) as scheduler:
        squares = [x * x for x in range(1000)]
        assert gridengine.map(lambda x: x * x, range(1000), scheduler) == squares
        numbers = iter(range(1000))
        assert list(gridengine.imap(lambda x: x * x, numbers, scheduler)) == squares
        assert 1 <= requested_nodes(scheduler) <= 10


@pytest.mark.parametrize("run", [gridengine.map, gridengine.imap])
def test_long_items_get_the_nodes_they_are_worth(
    local_options: dict[str, Any], tmp_path: Path, run: Callable[..., Any]
) -> None:
    """While no item ends more nodes are requested, up to max_jobs."""

    def wait(x: int) -> int:
        wait_for(str(tmp_path / "go"))
        return x

    options = {"max_jobs": 12, "options": local_options}
    with gridengine.GridEngineScheduler(**options) as scheduler:
        items = (x for x in range(100))
        thread, found = in_thread(
            lambda: list(run(wait, items, scheduler, chunksize=1))
        )
        wait_for_nodes(scheduler, 12)
        (tmp_path / "go").touch()
        thread.join(60)
    assert found == [list(range(100))]


def test_a_cluster_that_waits_gets_the_idle_nodes_of_another(
    local_options: dict[str, Any],
) -> None:
    """Long before the idle timeout, also if it is a cluster of the user's own."""
    with gridengine.GridEngineScheduler(options=local_options) as idle:
        gridengine.map(abs, range(-9, 0), scheduler=idle)
        idle.client.wait_for_workers(2, timeout=30)
        with GridEngineCluster(3, **local_options) as waiting:
            wait_until(lambda: waiting.counts.get("queued"), "one waits", 30)
            wait_for_nodes(idle, 0)
        assert gridengine.map(abs, [-1, -2], scheduler=idle) == [1, 2]


def test_nodes_at_work_are_not_given_to_a_cluster_that_waits(
    local_options: dict[str, Any], tmp_path: Path
) -> None:
    """A map keeps what it needs, and gives up what only its tail would hold."""

    def wait(x: int) -> int:
        if x == 1:
            wait_for(str(tmp_path / "go"))
        return x

    with gridengine.GridEngineScheduler(options=local_options) as busy:
        gridengine.map(abs, [-1, -2], scheduler=busy)
        busy.client.wait_for_workers(2, timeout=30)
        thread, found = in_thread(lambda: gridengine.map(wait, [0, 1], busy))
        with GridEngineCluster(3, **local_options):
            wait_for_nodes(busy, 1)
            (tmp_path / "go").touch()
            thread.join(30)
    assert found == [[0, 1]]
