"""The contract of `gridengine.map`: what the builtin does, on workers."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import operator
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridengine
from dask_gridengine import NodesFailed, OptionError
from gridengine.errors import NotPicklable, RemoteError, RemoteTraceback, WorkerDied
from gridengine.functional import isexception, isnumeric, partial
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster

REMOTELY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Odd(Exception):
    """Raised for some items."""


def picky(x: int) -> int:
    if x % 7 == 3:
        raise Odd(x)
    return x * x


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What came of it, in a form that can be compared."""
    try:
        return ("value", call())
    except Exception as exc:  # noqa: BLE001 - it is compared
        return ("error", type(exc), exc.args)


@given(
    items=st.lists(st.integers(-50, 50), max_size=60),
    chunksize=st.none() | st.integers(1, 9),
)
@REMOTELY
def test_map_is_the_builtin(
    warm: gridengine.ProcessScheduler, items: list[int], chunksize: int | None
) -> None:
    """Same results in the same order, or the exception of the first item with one."""

    def ours() -> Any:
        return gridengine.map(picky, items, scheduler=warm, chunksize=chunksize)

    assert outcome(ours) == outcome(lambda: [picky(x) for x in items])


@given(
    items=st.lists(st.integers(-50, 50), max_size=60),
    chunksize=st.none() | st.integers(1, 9),
)
@REMOTELY
def test_exceptions_in_the_place_of_results(
    warm: gridengine.ProcessScheduler, items: list[int], chunksize: int | None
) -> None:
    """With reraise=False each item has its result or its own exception."""
    found = gridengine.map(picky, items, warm, reraise=False, chunksize=chunksize)
    assert len(found) == len(items)
    for item, value in zip(items, found, strict=True):
        expected = outcome(lambda item=item: picky(item))
        is_error = isinstance(value, Exception)
        assert (
            ("error", type(value), value.args) if is_error else ("value", value)
        ) == expected


@given(items=st.lists(st.integers(-50, 50), max_size=60), ordered=st.booleans())
@REMOTELY
def test_imap_goes_on_after_an_exception(
    warm: gridengine.ProcessScheduler, items: list[int], ordered: bool
) -> None:
    """As with the builtin, next() raises for one item and goes on with the others."""
    imap = gridengine.imap if ordered else gridengine.imap_unordered
    found: list[Any] = []
    with imap(picky, iter(items), scheduler=warm) as results:
        while True:
            try:
                found.append(next(results))
            except StopIteration:
                break
            except Odd as exc:
                found.append(exc.args)
    expected = [(x,) if x % 7 == 3 else x * x for x in items]
    if ordered:
        assert found == expected
    else:
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


@pytest.mark.parametrize(
    "items",
    [
        [],
        [5],
        (1, 2),
        range(1000),
        {"a": 1, "b": 2},
        "text",
        np.arange(6),
        np.arange(6).reshape(3, 2),
        [None, None],
        [np.zeros(3), "mixed", {1: 2}],
    ],
    ids=lambda items: type(items).__name__,
)
def test_whatever_can_be_iterated(
    warm: gridengine.ProcessScheduler, items: Any
) -> None:
    """Lists, ranges, dicts, texts, arrays: the items are those of the builtin map."""
    found = gridengine.map(repr, items, scheduler=warm)
    assert found == [repr(x) for x in items]


def test_generators_and_none(warm: gridengine.ProcessScheduler) -> None:
    """A generator is consumed here, in this thread; None is a result like others."""
    seen = set()

    def items() -> Iterator[int]:
        for i in range(300):
            seen.add(threading.get_ident())
            yield i

    assert gridengine.map(lambda x: None, items(), scheduler=warm) == [None] * 300
    assert seen == {threading.get_ident()}


def test_an_exception_of_the_generator_is_raised(
    warm: gridengine.ProcessScheduler,
) -> None:
    """What the input raises comes out of map, and the workers are free again."""

    def items() -> Iterator[int]:
        yield from range(100)
        raise Odd("the input")

    with pytest.raises(Odd, match="the input"):
        gridengine.map(abs, items(), scheduler=warm)
    assert gridengine.map(abs, [-1], scheduler=warm) == [1]


def test_big_items_both_ways(warm: gridengine.ProcessScheduler) -> None:
    """An item of 200 MB goes there and back, as bytes and as an array."""
    (text,) = gridengine.map(lambda b: b, [b"x" * 200_000_000], scheduler=warm)
    assert len(text) == 200_000_000
    (array,) = gridengine.map(lambda a: a + 1, [np.zeros(25_000_000)], scheduler=warm)
    assert array.sum() == 25_000_000
    array[0] = 5  # what came back can be written to


def test_lambdas_closures_and_what_they_return(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Functions that have no name elsewhere go there, and come back as results."""
    offset = 10
    made = gridengine.map(lambda x: lambda: x + offset, [1, 2], scheduler=warm)
    assert [f() for f in made] == [11, 12]


def test_starmap(warm: gridengine.ProcessScheduler) -> None:
    """starmap(f, pairs) is [f(*pair) for pair in pairs]."""
    pairs = [(2, 3), (3, 2)]
    assert gridengine.starmap(operator.pow, pairs, scheduler=warm) == [8, 9]


def test_an_exception_says_where_it_comes_from(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Type kept; the cause has the remote traceback, index, item and worker."""
    with pytest.raises(Odd) as caught:
        gridengine.map(picky, [0, 1, 10, 3], scheduler=warm)
    assert caught.value.args == (10,)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert (cause.index, cause.item) == (2, "10")
    assert "ge-" in cause.worker
    assert "in picky" in str(cause)


def test_an_exception_that_cannot_travel(warm: gridengine.ProcessScheduler) -> None:
    """It arrives as a RemoteError that names it and shows its text."""

    def fail(x: int) -> None:
        raise Odd(f"about {x}", threading.Lock())

    with pytest.raises(RemoteError, match=r"Odd[\s\S]*about 4"):
        gridengine.map(fail, [4], scheduler=warm)


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, StopIteration])
def test_no_exception_ends_a_worker(
    warm: gridengine.ProcessScheduler, raised: type[BaseException]
) -> None:
    """SystemExit and its like are exceptions of their item; StopIteration too."""

    def fail(x: int) -> int:
        if x == 2:
            raise raised
        return x

    with pytest.raises(raised):
        gridengine.map(fail, range(4), scheduler=warm)
    found = gridengine.map(fail, range(4), warm, reraise=False)
    assert [type(x) for x in found] == [int, int, raised, int]


def test_what_cannot_be_pickled_is_named_before_anything_starts(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """Function, argument and attribute are named, and no worker was started for it."""
    lock = threading.Lock()
    with pytest.raises(NotPicklable, match=r"closure variable 'lock'"):
        gridengine.map(lambda x: lock, [1], scheduler=fresh)
    items: list[Any] = [*range(5000), {"deep": [lock]}]
    with pytest.raises(NotPicklable, match=r"item 5000 -> \['deep'\] -> \[0\]"):
        gridengine.map(str, items, scheduler=fresh)
    assert repr(fresh) == "<ProcessScheduler: 0/0 workers>"


def test_a_result_that_cannot_be_pickled(warm: gridengine.ProcessScheduler) -> None:
    """It is a failure of its item only."""

    def make(x: int) -> Any:
        return threading.Lock() if x == 1 else x

    found = gridengine.map(make, range(3), warm, reraise=False)
    assert found[::2] == [0, 2]
    assert isinstance(found[1], NotPicklable)


def test_retries(warm: gridengine.ProcessScheduler, tmp_path: Path) -> None:
    """An item is tried again as often as asked, the others are run once."""

    def flaky(x: int) -> int:
        tries = len(list(tmp_path.glob(f"{x}-*")))
        (tmp_path / f"{x}-{tries}").touch()
        if x % 2 and tries < 2:
            raise Odd(x)
        return tries

    assert gridengine.map(flaky, range(6), scheduler=warm, retries=2) == [0, 2] * 3
    with pytest.raises(Odd):
        gridengine.map(flaky, [7], scheduler=warm, retries=1)


def test_a_slow_item_holds_back_nobody(warm: gridengine.ProcessScheduler) -> None:
    """What was sent along with a slow item is run by others while that is waited for"""

    def where(x: int) -> int:
        time.sleep(0.5 if x == 0 else 0.005)
        return os.getpid()

    found = gridengine.map(where, range(40), scheduler=warm)
    assert found[1:].count(found[0]) < 20


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


def test_imap_reads_no_further_than_it_must(warm: gridengine.ProcessScheduler) -> None:
    """An endless input is read a bounded way ahead, and only when results are wanted"""
    read = itertools.count()

    def items() -> Iterator[int]:
        while True:
            yield next(read)

    results = gridengine.imap(abs, items(), scheduler=warm, chunksize=10)
    assert next(read) == 0
    assert list(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]
    results.close()
    ahead = next(read)
    assert ahead < 500
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [None, 10])
@pytest.mark.parametrize("ordered", [True, False])
def test_imap_delivers_a_result_before_it_has_the_next_item(
    warm: gridengine.ProcessScheduler, ordered: bool, chunksize: int | None
) -> None:
    """An iterable may wait for the result of its last item, whatever the chunks."""
    imap = gridengine.imap if ordered else gridengine.imap_unordered
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    received.put(0)

    def items() -> Iterator[int]:
        for _ in range(5):
            yield received.get(timeout=60)

    found = []
    with imap(lambda x: x + 1, items(), warm, chunksize=chunksize) as results:
        for result in results:
            found.append(result)
            received.put(result)
    assert found == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 1, 40, 1000])
@pytest.mark.parametrize("ordered", [True, False])
def test_imap_delivers_what_came_before_the_iterable_failed(
    warm: gridengine.ProcessScheduler, ordered: bool, count: int
) -> None:
    """As with the builtin map and Pool.imap: all results, then the exception, once."""
    imap = gridengine.imap if ordered else gridengine.imap_unordered

    def items() -> Iterator[int]:
        yield from range(count)
        raise Odd("the input")

    found: list[int] = []
    with imap(abs, items(), scheduler=warm) as results:
        with pytest.raises(Odd, match="the input"):
            found.extend(results)  # keeps what comes before the exception
        assert list(results) == []
    assert sorted(found) == list(range(count))


def test_imap_does_not_wait_for_an_iterable_that_blocks(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Its results come, and it can be closed, while the next item never comes."""
    blocked, over = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield from range(3)
        blocked.set()
        over.wait(60)

    with gridengine.imap(abs, items(), scheduler=warm) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert blocked.wait(30)
    assert list(results) == []
    assert not over.is_set()
    over.set()


def test_imap_reads_only_what_keeps_workers_busy(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """While no item is done no more is read than the workers there are can hold."""
    read: list[int] = []

    def wait(x: int) -> int:
        (tmp_path / f"begun-{x}").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.02)
        return x

    def items() -> Iterator[int]:
        for i in itertools.count():
            read.append(i)
            yield i

    found: list[int] = []
    with gridengine.imap(wait, items(), warm, chunksize=1) as results:
        thread = threading.Thread(target=lambda: found.append(next(results)))
        thread.start()
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both are busy", 30)
        ahead = len(read)
        (tmp_path / "go").touch()
        thread.join(60)
    assert found == [0]
    assert ahead < 20


def test_threads_share_the_results_of_imap(warm: gridengine.ProcessScheduler) -> None:
    """Each result, and each exception, goes to one of the threads, as with Pool.imap"""
    found: list[Any] = []  # append is one step

    def take() -> None:
        while True:
            try:
                found.append(next(results))
            except StopIteration:
                return
            except Odd as exc:
                found.append(exc.args)

    with gridengine.imap(picky, iter(range(3000)), warm) as results:
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    expected = [(x,) if x % 7 == 3 else x * x for x in range(3000)]
    assert collections.Counter(found) == collections.Counter(expected)


def test_another_thread_closes_imap(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A thread that waits for a result then sees the end, and no error."""

    def wait(x: int) -> int:
        (tmp_path / "begun").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.02)
        return x

    ends: list[list[int]] = []
    results = gridengine.imap(wait, [1], scheduler=warm)
    thread = threading.Thread(target=lambda: ends.append(list(results)))
    thread.start()
    wait_until((tmp_path / "begun").exists, "the item begins", 30)
    results.close()
    thread.join(30)
    (tmp_path / "go").touch()
    assert ends == [[]]


def test_imap_unordered_does_not_wait(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A slow first item comes last; imap would have waited for it."""

    def slow_first(x: int) -> int:
        while x == 0 and not (tmp_path / "go").exists():
            time.sleep(0.02)
        return x

    found = []
    with gridengine.imap_unordered(slow_first, range(20), warm, chunksize=1) as results:
        for result in results:
            found.append(result)
            if len(found) == 15:  # some may have been sent to wait behind it
                (tmp_path / "go").touch()
    assert sorted(found) == list(range(20))
    assert found.index(0) >= 15


def test_a_map_inside_of_a_map(warm: gridengine.ProcessScheduler) -> None:
    """The inner map uses the outer one's workers; no thread waits for itself."""

    def inner(n: int) -> int:
        return sum(gridengine.map(lambda x: x * x, range(n)))

    found = gridengine.map(inner, [10, 100, 50, 7], scheduler=warm, chunksize=1)
    assert found == [sum(i * i for i in range(n)) for n in (10, 100, 50, 7)]


def test_a_scheduler_cannot_go_inside_a_map(warm: gridengine.ProcessScheduler) -> None:
    """The error says that it is not needed there."""
    with pytest.raises(NotPicklable, match=r"without scheduler="):
        gridengine.map(lambda x: warm, [1], scheduler=warm)


def start_a_process(x: int) -> int:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(abs, (x,))


def test_multiprocessing_inside_of_a_map(
    warm: gridengine.ProcessScheduler, session_directory: Path
) -> None:
    """Dask forbids it by default, and a note on the error names its setting."""
    with pytest.raises(AssertionError, match="daemonic") as caught:
        gridengine.map(start_a_process, [-1], scheduler=warm)
    if sys.version_info >= (3, 11):
        assert "distributed.worker.daemon" in "".join(caught.value.__notes__)
    with (
        dask.config.set({"gridengine.shared-directory": str(session_directory)}),
        dask.config.set({"distributed.worker.daemon": False}),
        gridengine.ProcessScheduler(1) as scheduler,
    ):
        assert gridengine.map(start_a_process, [-1], scheduler=scheduler) == [1]


def test_big_closures_travel_once(warm: gridengine.ProcessScheduler) -> None:
    """A function that holds an array of 8 MB works, and is not sent with each chunk."""
    table = np.arange(1_000_000)
    found = gridengine.map(lambda i: int(table[i]), range(100), warm, chunksize=5)
    assert found == list(range(100))


def test_arguments_that_make_no_sense(warm: gridengine.ProcessScheduler) -> None:
    """They are refused at once, with what would make sense."""
    with pytest.raises(TypeError, match="not callable"):
        gridengine.map(3, [1], scheduler=warm)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not callable"):
        gridengine.imap(3, [1], scheduler=warm)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="chunksize=0"):
        gridengine.map(abs, [1], scheduler=warm, chunksize=0)
    with pytest.raises(OptionError, match="chunksize=True"):
        gridengine.imap(abs, [1], scheduler=warm, chunksize=True)
    with pytest.raises(OptionError, match="retries=-1"):
        gridengine.imap(abs, [1], scheduler=warm, retries=-1)
    with pytest.raises(TypeError, match="best_available"):
        gridengine.map(abs, [1], scheduler="process")
    with pytest.raises(TypeError, match="not iterable"):
        gridengine.map(abs, 5, scheduler=warm)  # type: ignore[arg-type]


def test_numbers_may_be_numpys(warm: gridengine.ProcessScheduler) -> None:
    """chunksize= and retries= take an int of any type."""
    numbers: Any = {"chunksize": np.int64(2), "retries": np.int8(1)}
    assert gridengine.map(abs, [-1, -2, -3], warm, **numbers) == [1, 2, 3]
    assert list(gridengine.imap(abs, iter([-1, -2]), warm, **numbers)) == [1, 2]


def test_many_threads_share_a_scheduler(warm: gridengine.ProcessScheduler) -> None:
    """Maps from several threads at once each get their own results."""
    found: dict[int, list[int]] = {}

    def run(n: int) -> None:
        found[n] = gridengine.map(lambda x: x + n, range(200), scheduler=warm)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [x + n for x in range(200)] for n in range(4)}


def test_somebodys_client(client: Client) -> None:
    """client= uses the workers of any Dask cluster, and leaves it as it was."""
    found = gridengine.map(lambda x: x + 1, range(50), client=client)
    assert found == list(range(1, 51))
    array = np.ones(1_000_000)
    assert gridengine.map(np.sum, [array, array], client=client) == [1e6, 1e6]
    assert client.status == "running"


def test_a_deadly_item_is_named(fresh: gridengine.ProcessScheduler) -> None:
    """It is found among a thousand and takes no other item with it."""

    def deadly(x: int) -> int:
        if x == 37:
            os._exit(3)
        return x

    found = gridengine.map(deadly, range(1000), fresh, reraise=False)
    killed = found.pop(37)
    assert found == [x for x in range(1000) if x != 37]
    assert isinstance(killed, WorkerDied)
    assert (killed.index, killed.item) == (37, "37")
    assert "reraise" not in str(killed)
    with pytest.raises(WorkerDied, match=r"(?s)item 1 .*reraise=False") as caught:
        gridengine.map(deadly, [36, 37, 38], scheduler=fresh)
    assert caught.value.others_lost
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_item_that_needs_too_much_memory(session_directory: Path) -> None:
    """WorkerDied names the limit, and what to ask for."""

    def greedy(x: int) -> int:
        for _ in range(100):
            held.append(b"x" * 10_000_000)
            time.sleep(0.01)
        return x

    held: list[bytes] = []
    options = {
        "launcher": "process",
        "memory": "300 MB",
        "shared_directory": session_directory,
        "quiet": True,
    }
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(WorkerDied, match="ended its worker process") as caught,
    ):
        gridengine.map(greedy, [7], scheduler=scheduler)
    assert "memory limit" in caught.value.reasons
    assert "memory='450 MB'" in str(caught.value)


def test_a_death_costs_a_chunk_only(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A worker that dies once, with one item, loses no result and the map goes on."""

    def dies_once(x: int) -> int:
        if x == 20 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        with (tmp_path / f"{x}-{time.monotonic_ns()}").open("x"):
            return x

    assert gridengine.map(dies_once, range(100), fresh, chunksize=5) == list(range(100))
    runs = collections.Counter(
        int(path.name.partition("-")[0]) for path in tmp_path.glob("*-*")
    )
    # Only what was on the dead worker may have been run twice: two chunks of five.
    assert sum(count > 1 for count in runs.values()) <= 10


def test_workers_that_cannot_start(session_directory: Path) -> None:
    """No map waits for them: it raises what is known of their end."""
    options = {
        "launcher": "process",
        "python": "/nowhere/python",
        "shared_directory": session_directory,
        "quiet": True,
    }
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(NodesFailed, match="/nowhere/python"),
    ):
        gridengine.map(abs, [1, 2, 3], scheduler=scheduler)


def test_a_failure_that_is_repaired(session_directory: Path, tmp_path: Path) -> None:
    """After NodesFailed the next map tries anew, at once."""
    python = tmp_path / "python"
    options = {
        "launcher": "process",
        "python": str(python),
        "shared_directory": session_directory,
        "quiet": True,
    }
    with gridengine.GridEngineScheduler(options=options) as scheduler:
        with pytest.raises(NodesFailed, match="could not find Python"):
            gridengine.map(abs, [-1], scheduler=scheduler)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o700)
        assert gridengine.map(abs, [-1, -2], scheduler=scheduler) == [1, 2]


@pytest.mark.parametrize("reraise", [True, False])
def test_no_worker_will_come(
    session_directory: Path, tmp_path: Path, reraise: bool
) -> None:
    """What the cluster then gives to tasks is raised once, as it is, by the map."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o700)
    options = {
        "launcher": "process",
        "python": str(python),
        "shared_directory": session_directory,
        "quiet": True,
    }
    raised: list[BaseException] = []

    def doomed() -> None:
        try:
            gridengine.map(abs, range(50), scheduler, reraise, chunksize=1)
        except NodesFailed as exc:
            raised.append(exc)

    with gridengine.GridEngineScheduler(max_jobs=2, options=options) as scheduler:
        scheduler.client  # noqa: B018 - starts its cluster
        assert scheduler.cluster is not None
        dask_scheduler = scheduler.cluster.scheduler
        thread = threading.Thread(target=doomed)
        thread.start()
        wait_until(
            lambda: len([*dask_scheduler.unrunnable, *dask_scheduler.queued]) > 1,
            "tasks that wait",
            10,
            lambda: dask_scheduler.tasks,
        )
        error = NodesFailed(1, 0, ["for a reason"])
        scheduler.client.loop.add_callback(dask_scheduler.fail_waiting, error)
        thread.join(20)
        assert not thread.is_alive()
    assert str(raised[0]) == str(error)


def test_partial_keeps_the_name() -> None:
    """It is functools.partial with the name, docstring and module of the function."""
    f = partial(pow, 2, mod=5)
    assert f(3) == 3
    assert f.__name__ == "pow_2_5"
    assert f.__doc__ == pow.__doc__
    assert partial(sorted, key=len).__name__ == "sorted_len"
    assert pickle.loads(pickle.dumps(f)).__name__ == "pow_2_5"


def test_isexception_and_isnumeric() -> None:
    """The small helpers of the old library."""
    assert isexception(ValueError())
    assert not isexception(3)
    assert isnumeric("3.5")
    assert not isnumeric([])
