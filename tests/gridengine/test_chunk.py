"""What a worker makes of a chunk; called here, without a worker."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridengine.chunk import MOST_RESULT_BYTES, Done, run_chunk
from gridengine.errors import NotPicklable, RemoteTraceback
from gridengine.sealed import Sealed

NAP = 0.004  # seconds
OVERRUN = 3  # NAPs after the budget: the timer's thread has to be given a turn
KEPT = np.arange(100_000)


class Odd(Exception):
    """Raised for some items."""


class Counted:
    """A function that knows how often it was unpickled."""

    times = 0

    def __getstate__(self) -> object:
        return "state"

    def __setstate__(self, state: object) -> None:
        type(self).times += 1

    def __call__(self, x: int) -> int:
        return -x


class Unwilling:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


class Unrebuildable:
    """Can be pickled, but not be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("seventeen",)


def run(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    seconds: float | None = None,
    stop: bool = False,
) -> Done:
    """As a worker does, and over the wire."""
    sealed = Sealed.of(function, "the function"), Sealed.of(items, "the items")
    done: Done = pickle.loads(pickle.dumps(run_chunk(*sealed, seconds, stop)))
    values = done.values.open()
    assert type(values) is list
    assert len(values) == done.count
    assert [failure.index for failure in done.failures] == sorted(
        {failure.index for failure in done.failures}
    )
    assert all(values[failure.index] is None for failure in done.failures)
    return done


def nap(x: int) -> int:
    time.sleep(NAP)
    return x


def kept(x: int) -> np.ndarray:
    return KEPT


def failing(*bad: int, how: BaseException | None = None) -> Callable[[int], int]:
    """Negates, but raises for some items."""

    def negate(x: int) -> int:
        if x in bad:
            raise how or Odd(x)
        return -x

    return negate


@pytest.mark.parametrize(
    "items", [[], [1], [3, 1, 2], (1, 2), range(5, 100), range(3000), np.arange(7)]
)
def test_all_items_in_their_order(items: Sequence[Any]) -> None:
    """Within its time, and without any limit, a chunk is the builtin `map`."""
    for seconds in (60.0, None):
        done = run(lambda x: x * x, items, seconds)
        assert done.values.open() == [x * x for x in items]
        assert done.failures == ()
        assert done.seconds >= 0


def test_rows_of_an_array_are_its_items() -> None:
    """A function gets the same from a 2-d array as in a loop: one row at a time."""
    rows = np.arange(12).reshape(4, 3)
    assert run(lambda row: (row.shape, row.sum()), rows).values.open() == [
        ((3,), row.sum()) for row in rows
    ]


def test_results_that_are_none_are_results() -> None:
    """A function for its effect fails nowhere."""
    done = run(lambda x: None, range(10))
    assert done.values.open() == [None] * 10
    assert done.failures == ()


def test_time_up_returns_what_is_done() -> None:
    """The results of the first items, in order; the others are for somebody else."""
    done = run(nap, range(1000), seconds=17 * NAP)
    assert 1 <= done.count <= 17 + OVERRUN
    assert done.values.open() == list(range(done.count))
    assert done.seconds >= done.count * NAP


def test_no_time_at_all_is_time_for_one() -> None:
    """Every chunk gets on by an item, however slow: no map goes round for ever."""
    assert run(nap, range(10), seconds=0.0).count == 1


def test_without_a_budget_all_is_done() -> None:
    """Who gave a chunksize gets chunks of that size."""
    assert run(nap, range(25), seconds=None).count == 25


def test_items_that_get_slower_are_noticed() -> None:
    """A few fast items do not hide the slow ones behind them for long."""

    def slow_later(x: int) -> int:
        return nap(x) if x >= 3 else x

    assert run(slow_later, range(1000), seconds=5 * NAP).count <= 20


@given(bad=st.sets(st.integers(0, 30)), count=st.integers(0, 30), stop=st.booleans())
@settings(max_examples=60, deadline=None)
def test_failures_are_where_they_happened(
    bad: set[int], count: int, stop: bool
) -> None:
    """Each failing item has its failure, the others their result; `stop` ends it."""
    done = run(failing(*bad), range(count), stop=stop)
    expected = [x for x in range(count) if x in bad]
    if stop and expected:
        assert done.count == expected[0] + 1
        expected = expected[:1]
    else:
        assert done.count == count
    found = [(failure.index, failure.item) for failure in done.failures]
    assert found == [(x, repr(x)) for x in expected]
    assert done.values.open() == [None if x in bad else -x for x in range(done.count)]


def test_a_failure_is_the_exception() -> None:
    """It comes back with its type, args, item and the user's traceback."""
    (failure,) = run(failing(102), range(100, 105)).failures
    assert (failure.index, failure.item, failure.worker) == (2, "102", "")
    error = failure.rebuild()
    assert isinstance(error, Odd)
    assert error.args == (102,)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in negate" in error.__cause__.text
    assert "run_chunk" not in error.__cause__.text


@pytest.mark.parametrize(
    "how",
    [
        StopIteration(5),
        GeneratorExit(),
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        MemoryError(),
    ],
    ids=lambda how: type(how).__name__,
)
def test_what_a_function_raises_is_its_own(how: BaseException) -> None:
    """No exception ends the worker, nor cuts the results short as if items ended."""
    whole = [0, -1, None, -3, -4, -5]
    for stop, values in ((False, whole), (True, whole[:3])):
        done = run(failing(2, how=how), range(6), stop=stop)
        (failure,) = done.failures
        assert failure.index == 2
        assert type(failure.rebuild()) is type(how)
        assert done.values.open() == values


def test_failing_slow_items_end_in_time_too() -> None:
    """A function that always raises keeps to the budget as any other."""

    def fail_slowly(x: int) -> int:
        raise Odd(nap(x))

    done = run(fail_slowly, range(1000), seconds=5 * NAP)
    assert 1 <= done.count <= 5 + OVERRUN
    assert len(done.failures) == done.count


@pytest.mark.parametrize("stop", [False, True])
def test_results_that_cannot_be_pickled_fail_their_item(stop: bool) -> None:
    """Each such result is a NotPicklable of its own item; the others arrive."""

    def odd_ones_are_locks(x: int) -> Any:
        return {"lock": threading.Lock()} if x % 2 else x

    done = run(odd_ones_are_locks, range(5), stop=stop)
    assert done.values.open() == [0, None, 2, None, 4]
    assert [failure.index for failure in done.failures] == [1, 3]
    for failure in done.failures:
        error = failure.rebuild()
        assert isinstance(error, NotPicklable)
        assert error.path.endswith("['lock']")
    assert "'lock'" in done.failures[0].item


def test_both_kinds_of_failure_are_in_order() -> None:
    """What could not be pickled is among what was raised, by place."""

    def mixed(x: int) -> Any:
        if x in (0, 3):
            raise Odd(x)
        return Unwilling() if x in (1, 4) else x

    done = run(mixed, range(6))
    assert done.values.open() == [None, None, 2, None, None, 5]
    kinds = [type(failure.rebuild()) for failure in done.failures]
    assert kinds == [Odd, NotPicklable, Odd, NotPicklable]


def test_heavy_results_end_a_chunk_early() -> None:
    """A worker does not gather gigabytes; a few big results are enough."""
    weight = MOST_RESULT_BYTES // 4
    done = run_chunk(
        Sealed.of(lambda x: np.zeros(weight, "u1"), "the function"),
        Sealed.of(range(1000), "the items"),
        60.0,
        False,
    )
    assert 4 <= done.count <= 16


def test_with_a_chunksize_heavy_results_are_the_users_wish() -> None:
    """Without a budget all is done, whatever it weighs."""
    weight = MOST_RESULT_BYTES // 2
    function = Sealed.of(lambda x: np.zeros(weight, "u1"), "the function")
    items = Sealed.of(range(8), "the items")
    assert run_chunk(function, items, None, False).count == 8


def test_big_results_are_not_copied() -> None:
    """An array that a function returns is sent from where it is."""
    function, items = Sealed.of(kept, "the function"), Sealed.of([1], "the items")
    done = run_chunk(function, items, None, False)
    assert np.shares_memory(done.values.open()[0], KEPT)


def test_a_function_is_opened_once() -> None:
    """A worker that holds a big function does not unpickle it for every chunk."""
    function = Sealed.of(Counted(), "the function")
    Counted.times = 0
    for _ in range(3):
        done = run_chunk(function, Sealed.of([1, 2], "the items"), None, False)
        assert done.values.open() == [-1, -2]
    assert Counted.times == 1


def test_items_are_new_for_every_run() -> None:
    """A function that changes its argument finds it unchanged when it is run again."""
    function = Sealed.of(lambda x: (x.append(1), len(x))[1], "the function")
    items = Sealed.of([[], [0]], "the items")
    for _ in range(2):
        assert run_chunk(function, items, None, False).values.open() == [1, 2]


@pytest.mark.parametrize("which", ["the function", "the items"])
def test_what_cannot_be_opened_is_named(which: str) -> None:
    """It is the chunk's error, not an item's, and says what could not be rebuilt."""
    sealed = {what: Sealed.of([], what) for what in ("the function", "the items")}
    sealed[which] = Sealed.of(Unrebuildable(), which)
    with pytest.raises(NotPicklable, match=which):
        run_chunk(sealed["the function"], sealed["the items"], None, False)


def test_items_that_turn_slow_are_noticed() -> None:
    """Thousands of quick items before do not keep the budget from being respected."""

    def slows_down(x: int) -> int:
        time.sleep(NAP if x >= 8200 else 0)
        return x

    done = run_chunk(
        Sealed.of(slows_down, "f"), Sealed.of(range(9000), "x"), 0.1, False
    )
    assert done.count < 8200 + 0.1 / NAP + 10


def test_a_result_that_has_no_size() -> None:
    """A dict that holds itself is a result like any other."""

    def knot(x: int) -> dict[str, object]:
        made: dict[str, object] = {"x": x}
        made["me"] = made
        return made

    done = run_chunk(Sealed.of(knot, "f"), Sealed.of(range(5), "x"), 1.0, False)
    assert [value["x"] for value in done.values.open()] == list(range(5))
