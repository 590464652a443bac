"""The contract of `multiprocessing.Pool`, kept by `gridengine.map` and its kin.

Each test runs on both, so that it says what Pool really does. Python's own tests of
Pool run on `gridengine` too, if the interpreter has them (not on Debian by default).
"""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import operator
import threading
import unittest
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest

import gridengine
from tests.waiting import wait_until

try:
    from test import _test_multiprocessing as of_python
except (ImportError, unittest.SkipTest):
    of_python = None

pytestmark = pytest.mark.keeps_cluster


class Pool:
    """`multiprocessing.Pool`, made of a ProcessScheduler.

    It translates names, but no behaviour: of arguments, methods and two exceptions.
    """

    def __init__(self, processes: int) -> None:
        self.scheduler = gridengine.ProcessScheduler(processes)
        self._threads = concurrent.futures.ThreadPoolExecutor()
        self.map(abs, range(processes))  # start the workers, as Pool does
        self.scheduler.client.wait_for_workers(processes, timeout=60)

    def map(self, f: Any, items: Any, chunksize: int | None = None) -> list[Any]:
        with names_of_pool():
            return gridengine.map(f, items, self.scheduler, chunksize=chunksize)

    def starmap(self, f: Any, items: Any, chunksize: int | None = None) -> list[Any]:
        return gridengine.starmap(f, items, self.scheduler, chunksize=chunksize)

    def imap(self, f: Any, items: Any, chunksize: int = 1) -> Iterator[Any]:
        return gridengine.imap(f, items, self.scheduler, chunksize=chunksize)

    def imap_unordered(self, f: Any, items: Any, chunksize: int = 1) -> Iterator[Any]:
        return gridengine.imap_unordered(f, items, self.scheduler, chunksize=chunksize)

    def apply(self, f: Any, args: Any = (), kwds: Any = None) -> Any:
        return self.apply_async(f, args, kwds).get()

    def apply_async(self, f: Any, args: Any = (), kwds: Any = None) -> AsyncResult:
        job = gridengine.Job(target=f, args=args, kwargs=kwds, scheduler=self.scheduler)
        job.start()
        return AsyncResult(job.result)

    def map_async(self, *args: Any, **options: Any) -> AsyncResult:
        return AsyncResult(self._threads.submit(self.map, *args, **options).result)

    def starmap_async(self, *args: Any, **options: Any) -> AsyncResult:
        return AsyncResult(self._threads.submit(self.starmap, *args, **options).result)

    def close(self) -> None:
        self.scheduler.close()

    def join(self) -> None:
        self._threads.shutdown()

    terminate = close

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncResult:
    """`multiprocessing.pool.AsyncResult`, from a function that waits."""

    def __init__(self, result: Callable[[float | None], Any]) -> None:
        self._result = result

    def get(self, timeout: float | None = None) -> Any:
        with names_of_pool():
            return self._result(timeout)


class names_of_pool:
    """Raise two exceptions as Pool does, which has others or none of its own."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, exc: BaseException | None, where: object) -> None:
        if isinstance(exc, gridengine.TimeoutError):
            raise multiprocessing.TimeoutError from exc
        if isinstance(exc, gridengine.NotPicklable) and exc.__cause__ is not None:
            raise exc.__cause__


@pytest.fixture(scope="module", autouse=True)
def _directory_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    directory = tmp_path_factory.mktemp("pool")
    with dask.config.set({"gridengine.shared-directory": str(directory)}):
        yield


@pytest.fixture(scope="module", params=["multiprocessing", "gridengine"])
def pool(_directory_of_module: None, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A Pool of Python's, and one of ours, both with two processes."""
    make: Any = Pool
    if request.param == "multiprocessing":
        make = multiprocessing.get_context("spawn").Pool
    with make(2) as made:
        yield made
    made.join()


class Odd(Exception):
    """Raised for some items."""


def square(x: int) -> int:
    return x * x


def picky(x: int) -> int:
    if x % 5 == 3:
        raise Odd(x)  # some comment
    return x


def fail_at_length(x: int) -> None:
    raise Odd("x" * 2**20)


def a_lock(x: int) -> object:
    return threading.Lock() if x == 1 else x


def raises_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise Odd("the input")


class RaisesAtOnce:
    """An iterable with a length, whose first item is an exception."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> RaisesAtOnce:
        return self

    def __next__(self) -> int:
        raise Odd("the input")


class Unpicklable:
    def __reduce__(self) -> Any:
        raise Odd("cannot be pickled")


class Counted:
    """Can be referred to weakly."""


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_map_is_the_builtin(pool: Any, chunksize: int | None) -> None:
    """Results in the order of the items, whatever the chunks."""
    for items in ([], [3], range(100), iter(range(100)), "abc"):
        kept = list(items)
        f = str if "a" in kept else square
        assert pool.map(f, iter(kept), chunksize) == list(map(f, kept))


@pytest.mark.parametrize("chunksize", [None, 20])
def test_starmap_unpacks(pool: Any, chunksize: int | None) -> None:
    """Each item is a call's arguments."""
    pairs = [(x, 100 - x) for x in range(100)]
    products = [x * y for x, y in pairs]
    assert pool.starmap(operator.mul, pairs, chunksize) == products
    assert pool.starmap(operator.mul, [], chunksize) == []


@pytest.mark.parametrize("chunksize", [1, 100])
def test_imap_gives_results_one_by_one(pool: Any, chunksize: int) -> None:
    """In order, or all of them in any order; then StopIteration, for ever."""
    squares = [x * x for x in range(150)]
    results = pool.imap(square, range(150), chunksize)
    assert [next(results) for _ in range(150)] == squares
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)
    assert sorted(pool.imap_unordered(square, range(150), chunksize)) == squares
    for imap in (pool.imap, pool.imap_unordered):
        assert list(imap(square, [], chunksize)) == []


def test_an_exception_is_raised_with_the_workers_traceback(pool: Any) -> None:
    """Type and args are kept; the cause shows the line on the worker."""
    with pytest.raises(Odd) as caught:
        pool.map(picky, range(5))
    assert caught.value.args == (3,)
    assert "raise Odd(x)  # some comment" in str(caught.value.__cause__)


def test_imap_goes_on_after_an_exception(pool: Any) -> None:
    """It takes the place of one result."""
    results, found = pool.imap(picky, range(8)), []
    for _ in range(8):
        try:
            found.append(next(results))
        except Odd as exc:
            found.append(exc.args)
    assert found == [0, 1, 2, (3,), 4, 5, 6, 7]


def test_long_exceptions_block_nothing(pool: Any) -> None:
    """Of many that fail one is raised, and the pool goes on."""
    with pytest.raises(Odd):
        pool.map(fail_at_length, range(8), 1)
    assert pool.map(square, [1, 2, 3]) == [1, 4, 9]


@pytest.mark.parametrize("make", [RaisesAtOnce, lambda: raises_after(0)])
def test_an_iterable_that_raises_at_once(pool: Any, make: Any) -> None:
    """Its exception comes as it is, from all of them, each time."""
    for run in (pool.map, pool.imap, pool.imap_unordered) * 2:
        with pytest.raises(Odd, match="the input") as caught:
            list(run(square, make(), 1))
        assert caught.value.__cause__ is None


def test_results_before_an_exception_of_the_iterable(pool: Any) -> None:
    """They come first; map has none to give, and Pool's imap_unordered lacks some."""
    with pytest.raises(Odd, match="the input"):
        pool.map(square, raises_after(10), 1)
    squares, found, some = [x * x for x in range(10)], list[int](), list[int]()
    with pytest.raises(Odd, match="the input"):
        found.extend(pool.imap(square, raises_after(10), 1))
    with pytest.raises(Odd, match="the input"):
        some.extend(pool.imap_unordered(square, raises_after(10), 1))
    assert found == squares
    assert set(some) <= set(squares)


def test_an_item_that_cannot_be_pickled(pool: Any) -> None:
    """An error, and not a wait; the pool can be used again."""
    with pytest.raises(Odd, match="cannot be pickled"):
        pool.map(square, [Unpicklable()] * 10)
    assert pool.map(square, [1, 2, 3]) == [1, 4, 9]


def test_a_result_that_cannot_be_pickled(pool: Any) -> None:
    """The item's error; no process is lost by it."""
    for _ in range(5):
        with pytest.raises(Exception, match="pickle"):
            pool.map(a_lock, range(4), 1)
    assert pool.map(square, [1, 2, 3]) == [1, 4, 9]


def test_items_are_not_kept_alive(pool: Any) -> None:
    """After map neither the items nor its results are referred to."""
    items = [Counted() for _ in range(10)]
    results = pool.map(copy_of, items)
    references = [weakref.ref(x) for x in [*items, *results]]
    del items, results

    def alive() -> list[object]:
        gc.collect()
        return [x for x in references if x() is not None]

    wait_until(lambda: not alive(), "all are forgotten", 10, alive)


def copy_of(x: Counted) -> Counted:
    return x


#: Python's tests that are of no use here, and why.
NOT_OURS = {
    "test_map_async_callbacks": "there is no map_async",
    "test_imap_handle_iterable_exception": "of chunks above 1 we deliver more: all that"
    " was read before the iterable raised, not only whole chunks",
    "test_make_pool": "looks at Pool's private list of processes",
    "test_context": "a closed scheduler raises RuntimeError, where Pool has ValueError",
    "test_enter": "the same",
    "test_traceback": "asks for the class of multiprocessing's cause; ours is another",
    "test_resource_warning": "a scheduler that is not closed is no mistake",
}


if of_python is None:

    def test_pythons_own_tests() -> None:
        """Python's own tests of Pool run, where it has them."""
        pytest.skip(
            "this Python has no test._test_multiprocessing, so its own tests of Pool"
            " were not run; Debian has them in libpython3.N-testsuite"
        )

else:

    class TestPythonsOwn(of_python._TestPool, unittest.TestCase):  # type: ignore
        """Python's own tests of Pool."""

        TYPE = "processes"
        Pool = Pool

    for _name in NOT_OURS:
        if hasattr(TestPythonsOwn, _name):
            setattr(TestPythonsOwn, _name, None)
