"""`gridengine.imap` and `imap_unordered`: lazy, bounded, and shared by threads."""

from __future__ import annotations

import collections
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridengine
from tests.gridengine.helpers import wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster

both = pytest.mark.parametrize("imap", [gridengine.imap, gridengine.imap_unordered])
Imap = Callable[..., Any]


class Odd(Exception):
    """Raised for some items."""


def picky(x: int) -> int:
    if x % 7 == 3:
        raise Odd(x)
    return x * x


def drain(results: Iterator[Any]) -> list[Any]:
    """All results, with the args of exceptions in their place."""
    found: list[Any] = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Odd as exc:
            found.append(exc.args)


def expected(items: Any) -> list[Any]:
    return [(x,) if x % 7 == 3 else x * x for x in items]


@given(
    items=st.lists(st.integers(-50, 50), max_size=60),
    chunksize=st.none() | st.integers(1, 9),
    ordered=st.booleans(),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_it_goes_on_after_an_exception(
    warm: gridengine.ProcessScheduler,
    items: list[int],
    chunksize: int | None,
    ordered: bool,
) -> None:
    """As with the builtin, next() raises for one item and goes on with the others."""
    imap = gridengine.imap if ordered else gridengine.imap_unordered
    with imap(picky, iter(items), warm, chunksize=chunksize) as results:
        found = drain(results)
        with pytest.raises(StopIteration):
            next(results)
    if ordered:
        assert found == expected(items)
    else:
        assert collections.Counter(found) == collections.Counter(expected(items))


@both
def test_exceptions_may_stand_in_place_of_results(
    warm: gridengine.ProcessScheduler, imap: Imap
) -> None:
    """With reraise=False, next() returns them."""
    found = list(imap(picky, range(20), warm, reraise=False))
    odd = [value for value in found if isinstance(value, Exception)]
    assert sorted(exc.args for exc in odd) == [(3,), (10,), (17,)]
    assert len(found) == 20


@both
def test_nothing_is_read_before_the_first_result_is_wanted(
    fresh: gridengine.ProcessScheduler, imap: Imap
) -> None:
    """Neither is a cluster started, nor is one needed for no items."""
    read = itertools.count()
    results = imap(abs, (next(read) for _ in iter(int, 1)), fresh)
    assert next(read) == 0
    results.close()
    assert list(imap(abs, [], fresh)) == []
    assert fresh.cluster is None


def test_it_reads_no_further_than_it_must(warm: gridengine.ProcessScheduler) -> None:
    """An endless input is read a bounded way ahead."""
    read = itertools.count()

    def items() -> Iterator[int]:
        while True:
            yield next(read)

    results = gridengine.imap(abs, items(), scheduler=warm, chunksize=10)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    results.close()
    assert next(read) < 500
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [None, 10])
@both
def test_it_delivers_a_result_before_it_has_the_next_item(
    warm: gridengine.ProcessScheduler, imap: Imap, chunksize: int | None
) -> None:
    """An iterable may wait for the result of its last item, whatever the chunks."""
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
@both
def test_it_delivers_what_came_before_the_iterable_failed(
    warm: gridengine.ProcessScheduler, imap: Imap, count: int
) -> None:
    """As with the builtin map and Pool.imap: all results, then the exception, once."""

    def items() -> Iterator[int]:
        yield from range(count)
        raise Odd("the input")

    found: list[int] = []
    with imap(abs, items(), scheduler=warm) as results:
        with pytest.raises(Odd, match="the input"):
            found.extend(results)  # keeps what comes before the exception
        assert list(results) == []
    assert sorted(found) == list(range(count))


def test_it_does_not_wait_for_an_iterable_that_blocks(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Results come, and imap can be closed, while the next item never comes."""
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


def test_it_reads_only_what_keeps_workers_busy(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """While no item is done, little more is read than the workers can hold."""
    read: list[int] = []

    def wait(x: int) -> int:
        (tmp_path / f"begun-{x}").touch()
        wait_for(str(tmp_path / "go"))
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


def test_results_that_wait_for_the_first_one_are_bounded(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """While the first item takes long, others are done, but not endlessly many."""
    read = itertools.count()

    def slow_first(x: int) -> int:
        if x == 0:
            wait_for(str(tmp_path / "go"))
        elif x == 10:
            (tmp_path / "others").touch()
        return x

    found: list[int] = []
    with gridengine.imap(slow_first, read, warm, chunksize=5) as results:
        thread = threading.Thread(target=lambda: found.append(next(results)))
        thread.start()
        wait_until((tmp_path / "others").exists, "others are done", 30)
        counts = [0] * 20

        def stands_still() -> bool:
            counts.append(int(repr(read)[6:-1]))  # "count(17)"
            return counts[-1] == counts[-20]

        wait_until(stands_still, "the input stands still", 60, lambda: counts[-20:])
        (tmp_path / "go").touch()
        thread.join(60)
    assert found == [0]


def test_unordered_does_not_wait(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A slow first item comes last; imap would have waited for it."""

    def slow_first(x: int) -> int:
        if x == 0:
            wait_for(str(tmp_path / "go"))
        return x

    found = []
    with gridengine.imap_unordered(slow_first, range(20), warm, chunksize=1) as results:
        for result in results:
            found.append(result)
            if len(found) == 15:  # some may have been sent to wait behind it
                (tmp_path / "go").touch()
    assert sorted(found) == list(range(20))
    assert found.index(0) >= 15


def test_threads_share_the_results(warm: gridengine.ProcessScheduler) -> None:
    """Each result, and each exception, goes to one of the threads, as with Pool.imap"""
    found: list[Any] = []  # extend is one step
    with gridengine.imap(picky, iter(range(3000)), warm) as results:
        threads = [
            threading.Thread(target=lambda: found.extend(drain(results)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert collections.Counter(found) == collections.Counter(expected(range(3000)))


def test_another_thread_closes_it(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A thread that waits for a result then sees the end, and no error."""

    def wait(x: int) -> int:
        (tmp_path / "begun").touch()
        wait_for(str(tmp_path / "go"))
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


@pytest.mark.parametrize("end", ["close", "del"])
def test_ending_it_early_frees_the_workers(
    fresh: gridengine.ProcessScheduler, tmp_path: Path, end: str
) -> None:
    """What is under way is called back; a worker that does not stop is restarted."""

    def work(x: int) -> int:
        if x:
            wait_for(str(tmp_path / "never"))
        return x

    results = gridengine.imap(work, itertools.count(), fresh, chunksize=1)
    assert next(results) == 0
    if end == "close":
        results.close()
        results.close()
    del results
    assert gridengine.map(abs, [-1, -2], scheduler=fresh) == [1, 2]


def test_a_long_input_is_not_kept_in_memory(warm: gridengine.ProcessScheduler) -> None:
    """Neither Dask's tasks nor its log of messages grow with the items."""
    for _ in gridengine.imap(abs, iter(range(3000)), warm, chunksize=10):
        pass

    def kept(dask_scheduler: Any) -> list[int]:
        streams = dask_scheduler.stream_comms.values()
        logs = [len(stream.recent_message_log) for stream in streams]
        return [len(dask_scheduler.tasks), *logs]

    def total() -> int:
        return sum(warm.client.run_on_scheduler(kept))

    wait_until(lambda: total() < 50, "little kept", 10, total)
