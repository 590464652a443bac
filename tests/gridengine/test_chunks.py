"""How items travel: in chunks that fit, each run once, and big ones without copies."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import gridengine
from tests.gridengine.helpers import task_key

pytestmark = pytest.mark.keeps_cluster


def chunks(keys: list[str]) -> list[int]:
    """Sizes of the chunks, from the task in which each item was run."""
    return list(Counter(keys).values())


@pytest.mark.parametrize(
    "run",
    [gridengine.map, lambda *given, **more: list(gridengine.imap(*given, **more))],
)
def test_a_chunksize_is_obeyed(
    warm: gridengine.ProcessScheduler, run: Callable[..., list[str]]
) -> None:
    """Items go in tasks of that many, whatever they take."""

    def slow(x: int) -> str:
        time.sleep(0.02)
        return task_key()

    assert chunks(run(task_key, list(range(100)), warm, chunksize=7)) == [7] * 14 + [2]
    assert chunks(run(slow, list(range(45)), warm, chunksize=40)) == [40, 5]


def test_quick_items_go_by_the_many(warm: gridengine.ProcessScheduler) -> None:
    """A hundred thousand items are some hundred tasks, also of an iterator."""
    assert len(chunks(gridengine.map(task_key, range(100_000), warm))) < 1000
    results = gridengine.imap(task_key, iter(range(100_000)), warm)
    assert len(chunks(list(results))) < 1000


def test_slow_items_go_by_the_few(warm: gridengine.ProcessScheduler) -> None:
    """Both workers get some, and none holds back many."""

    def slow(x: int) -> tuple[int, str]:
        time.sleep(0.1)
        return os.getpid(), task_key()

    found = gridengine.map(slow, range(16), scheduler=warm)
    assert min(Counter(pid for pid, _ in found).values()) >= 4
    assert max(chunks([key for _, key in found])) <= 4


def test_a_slow_item_holds_back_no_others(warm: gridengine.ProcessScheduler) -> None:
    """What was sent along with a slow item is run by the other worker meanwhile."""

    def where(x: int) -> int:
        time.sleep(0.5 if x == 0 else 0.005)
        return os.getpid()

    found = gridengine.map(where, range(40), scheduler=warm)
    assert found[1:].count(found[0]) < 20


def test_items_that_turn_slow_are_noticed(warm: gridengine.ProcessScheduler) -> None:
    """Thousands of quick items before do not make a long chunk of the slow ones."""

    def slows_down(x: int) -> str:
        if x >= 20_000:
            time.sleep(0.05)
        return task_key()

    keys = gridengine.map(slows_down, range(20_100), scheduler=warm)
    assert max(chunks(keys[20_000:])) < 50


def test_no_item_is_run_twice(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Each item is run once, although chunks are handed back half done."""

    def note(x: int) -> None:
        time.sleep(0.002)
        with (tmp_path / str(x)).open("x"):
            pass

    gridengine.map(note, range(400), scheduler=warm)
    assert len(list(tmp_path.iterdir())) == 400


def test_big_items_both_ways(warm: gridengine.ProcessScheduler) -> None:
    """An item of 200 MB goes there and back, as bytes and as an array."""
    (text,) = gridengine.map(lambda b: b, [b"x" * 200_000_000], scheduler=warm)
    assert len(text) == 200_000_000
    (array,) = gridengine.map(lambda a: a + 1, [np.zeros(25_000_000)], scheduler=warm)
    assert array.sum() == 25_000_000


def test_big_items_do_not_pass_through_the_scheduler(
    warm: gridengine.ProcessScheduler,
) -> None:
    """It does not keep what it sends, and no chunk is of a hundred of them."""
    items = [np.full(1_000_000, i) for i in range(12)]
    found = gridengine.map(lambda a: (int(a[0]), task_key()), items, warm)
    assert [first for first, _ in found] == list(range(12))
    assert max(chunks([key for _, key in found])) <= 8

    def biggest_task(dask_scheduler: Any) -> int:
        from dask.sizeof import sizeof

        specs = [task.run_spec for task in dask_scheduler.tasks.values()]
        return max(map(sizeof, specs), default=0)

    with gridengine.imap(np.sum, iter(items), warm, chunksize=1) as results:
        next(results)
        assert warm.client.run_on_scheduler(biggest_task) < 4_000_000
        assert len(list(results)) == 11


def test_heavy_results_come_in_several_chunks(
    warm: gridengine.ProcessScheduler,
) -> None:
    """A worker does not gather gigabytes, though the items are quick."""
    found = gridengine.map(
        lambda x: (np.zeros(10_000_000, "u1"), task_key()), range(40), warm
    )
    assert max(chunks([key for _, key in found])) <= 20


def test_a_big_closure_is_not_sent_with_each_chunk(
    warm: gridengine.ProcessScheduler,
) -> None:
    """A function that holds an array of 8 MB is unpickled a few times, not 100."""
    table, unpickled = np.arange(1_000_000), Unpickled()

    def run(i: int) -> tuple[int, tuple[int, int]]:
        return int(table[i]), (os.getpid(), unpickled.number)

    found = gridengine.map(run, range(100), warm, chunksize=1)
    assert [value for value, _ in found] == list(range(100))
    assert len({copy for _, copy in found}) <= 4


class Unpickled:
    """Numbers its copies in a process."""

    copies = 0
    number = 0

    def __getstate__(self) -> object:
        return "state"

    def __setstate__(self, state: object) -> None:
        type(self).copies += 1
        self.number = type(self).copies


@pytest.mark.parametrize("size", [4, 1_000_000])
def test_arrays_can_be_written_to(warm: gridengine.ProcessScheduler, size: int) -> None:
    """A function may change its argument and the caller its result; not each other's"""

    def change(a: np.ndarray) -> np.ndarray:
        a[0] = 17
        return a

    given = [np.zeros(size) for _ in range(3)]
    for found in gridengine.map(change, given, scheduler=warm):
        assert found[0] == 17
        found[0] = 18
    assert [a[0] for a in given] == [0, 0, 0]


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.arange(60_000).reshape(300, -1), id="2-d"),
        pytest.param(np.asfortranarray(np.ones((300, 300))), id="fortran"),
        pytest.param(np.arange(60_000)[::-2], id="strided"),
        pytest.param(np.broadcast_to(np.int64(3), (60_000,)), id="broadcast"),
        pytest.param(np.array([["a", None], [1.5, (1,)]], dtype=object), id="object"),
        pytest.param(np.zeros((0, 5)), id="empty"),
        pytest.param(np.zeros(60_000, "i1,f4"), id="records"),
    ],
)
def test_arrays_of_any_layout(
    warm: gridengine.ProcessScheduler, array: np.ndarray
) -> None:
    """Values, shape and type arrive, and come back."""
    (found,) = gridengine.map(lambda a: a, [array], scheduler=warm)
    np.testing.assert_array_equal(found, array, strict=True)


def test_a_retried_item_is_new(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A function that changes its argument finds it unchanged when it is run again."""

    def run(x: list[int]) -> int:
        x.append(1)
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise ValueError
        return len(x)

    assert gridengine.map(run, [[]], scheduler=warm, retries=1) == [1]


def test_a_result_that_holds_itself(warm: gridengine.ProcessScheduler) -> None:
    """Its size cannot be summed up naively."""

    def knot(x: int) -> dict[str, object]:
        made: dict[str, object] = {"x": x}
        made["me"] = made
        return made

    found = gridengine.map(knot, range(5), scheduler=warm)
    assert [value["x"] for value in found] == list(range(5))
    assert found[0]["me"] is found[0]


def test_with_any_client_big_items_travel_too(client: Client) -> None:
    """Large functions and items arrive, and are not sent in the task."""
    table = np.arange(1_000_000)
    items = [np.full(500_000, i) for i in range(4)]
    found = gridengine.map(
        lambda a: int(a.sum() + table[-1]), items, client=client, chunksize=1
    )
    assert found == [500_000 * i + 999_999 for i in range(4)]
