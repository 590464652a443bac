"""Items dealt out and taken back: none is lost, none is done twice."""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridengine.source import Batch, Source, is_sliceable

#: How many items there are at most, and how many are taken at once.
MOST, COUNTS = 40, st.integers(1, 12)
DEATH = ChildProcessError()


class Lying:
    """Has another length than it says."""

    def __init__(self, said: int, items: int) -> None:
        self.said, self.items = said, items

    def __len__(self) -> int:
        return self.said

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.items))


class Read:
    """An iterator that counts how often it was asked."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items, self.times = iter(items), 0

    def __iter__(self) -> Read:
        return self

    def __next__(self) -> Any:
        self.times += 1
        return next(self._items)


class Sliceless(list[int]):
    """A list whose slices are not its items."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("it was sliced")


KINDS: dict[str, Callable[[int], Iterable[Any]]] = {
    "list": lambda n: [f"item {i}" for i in range(n)],
    "tuple": lambda n: tuple(range(n)),
    "range": lambda n: range(7, 7 + 3 * n, 3),
    "range backwards": lambda n: range(n, 0, -1),
    "numpy 1-d": lambda n: np.arange(n) / 2,
    "numpy 2-d": lambda n: np.arange(3 * n).reshape(n, 3),
    "numpy 3-d": lambda n: np.arange(6 * n).reshape(n, 2, 3)[::-1],
    "numpy objects": lambda n: np.array([None, *range(n)], dtype=object)[1:],
    "dict": lambda n: {f"key {i}": i for i in range(n)},
    "dict values": lambda n: dict.fromkeys(range(n), 0).values(),
    "set": lambda n: set(range(n)),
    "str": lambda n: "äöü"[: n % 4] * n,
    "bytes": bytes,
    "deque": lambda n: collections.deque(range(n)),
    "generator": lambda n: (i for i in range(n)),
    "map": lambda n: map(str, range(n)),
    "says less": lambda n: Lying(n // 2, n),
    "says more": lambda n: Lying(2 * n + 1, n),
    "subclass of list": lambda n: Sliceless(range(n)),
}


def plain(items: Iterable[Any]) -> list[Any]:
    """Items in a form that can be compared."""
    return [x.tolist() if isinstance(x, np.ndarray) else x for x in items]


def drained(source: Source, count: int) -> Iterator[Batch]:
    while (batch := source.take(count)) is not None:
        yield batch


class Books:
    """Follows a source: who has which item, and how often it was dealt out."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.dealt: collections.Counter[int] = collections.Counter()
        self.back: collections.Counter[int] = collections.Counter()
        self.held: list[Batch] = []
        self.end: int | None = None  # items from here on were cut

    def take(self, count: int) -> Batch | None:
        """Take, and hold what was said about order and bounds against it."""
        there = sorted((self.back - self._redealt).elements())
        batch = self.source.take(count)
        if batch is None:
            assert there == [], "given back and forgotten"
            return None
        assert 1 <= len(batch.items) <= count
        assert batch.stop == batch.start + len(batch.items)
        assert self.end is None or batch.stop <= self.end, "cut, and dealt out"
        first = there[0] if there else len(self.dealt)
        assert batch.start == first, "out of order"
        for index in range(batch.start, batch.stop):
            self.dealt[index] += 1
            assert self.dealt[index] == self.back[index] + 1
        self.held.append(batch)
        return batch

    @property
    def _redealt(self) -> collections.Counter[int]:
        """How often each item came back and was dealt out again."""
        return collections.Counter({i: n - 1 for i, n in self.dealt.items()})

    def give_back(self, which: int, first: int, last: int) -> None:
        """Give back a part of what is held; the rest of it is done."""
        batch = self.held.pop(which % len(self.held))
        first = first % len(batch.items)
        part = batch.part(first, first + 1 + last % (len(batch.items) - first))
        self.source.give_back(part)
        self.back.update(range(part.start, part.stop))

    def cut(self, which: int) -> None:
        """Forget what is behind an item that was dealt out."""
        index = sorted(self.dealt)[which % len(self.dealt)]
        self.source.cut(index)
        self.end = index if self.end is None else min(index, self.end)
        self.held = [batch for batch in self.held if batch.stop <= index]
        for item in [i for i in self.back if i >= index]:
            self.back[item] = self.dealt[item] - 1


steps = st.lists(
    st.tuples(st.just("take"), COUNTS)
    | st.tuples(st.just("give_back"), *(st.integers(0, 2 * MOST) for _ in range(3))),
    max_size=40,
)


def play(books: Books, steps: Iterable[tuple[Any, ...]]) -> None:
    for name, *numbers in steps:
        if name == "take":
            books.take(*numbers)
        elif books.held:
            books.give_back(*numbers)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    count=st.integers(0, MOST),
    steps=steps,
    last=COUNTS,
)
@settings(max_examples=200, deadline=None)
def test_every_item_is_dealt_out_once_more_than_it_came_back(
    kind: str, count: int, steps: list[tuple[Any, ...]], last: int
) -> None:
    """Whatever is taken and given back, and of whatever the items are."""
    expected = plain(KINDS[kind](count))
    books = Books(Source(KINDS[kind](count)))
    play(books, steps)
    while books.take(last) is not None:
        pass
    assert books.dealt == collections.Counter(
        {i: 1 + books.back[i] for i in range(len(expected))}
    )
    for batch in books.held:
        assert plain(batch.items) == expected[batch.start : batch.stop]
    assert books.source.total == len(expected)
    assert books.source.remaining == books.source.fresh == books.source.returned == 0


@given(
    kind=st.sampled_from(["list", "generator", "dict", "says less", "says more"]),
    before=steps,
    cuts=st.lists(st.tuples(st.integers(0, 2 * MOST), steps), min_size=1, max_size=3),
)
@settings(max_examples=120, deadline=None)
def test_after_a_cut_nothing_behind_it_is_dealt_out(
    kind: str, before: list[Any], cuts: list[tuple[int, list[Any]]]
) -> None:
    """What is before it goes on as ever, however often it is cut."""
    books = Books(Source(KINDS[kind](MOST)))
    books.take(1)
    play(books, before)
    for which, after in cuts:
        books.cut(which)
        play(books, after)
    while books.take(3) is not None:
        pass
    assert books.end is not None
    for index in range(books.end):
        assert books.dealt[index] == books.back[index] + 1
    assert books.source.remaining == 0


@given(kind=st.sampled_from(sorted(KINDS)), count=st.integers(0, MOST), size=COUNTS)
@settings(max_examples=80, deadline=None)
def test_batches_in_a_row_are_the_items(kind: str, count: int, size: int) -> None:
    """Full batches as long as there are items, then None for ever."""
    expected = plain(KINDS[kind](count))
    source = Source(KINDS[kind](count))
    batches = list(drained(source, size))
    assert [x for batch in batches for x in plain(batch.items)] == expected
    assert all(len(batch.items) == size for batch in batches[:-1])
    assert source.take(size) is None


@given(steps=steps)
@settings(max_examples=80, deadline=None)
def test_an_iterator_is_read_no_further_than_asked(steps: list[Any]) -> None:
    """An endless input is fine, and so is one whose next item is not there yet."""
    read = Read(itertools.count())
    books = Books(Source(read))
    assert read.times == 0, "read before anything was taken"
    play(books, steps)
    assert read.times == len(books.dealt)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_thread_reads_all_items(kind: str) -> None:
    """In the same order and number as without it, whatever the items are."""
    source, read = Source(KINDS[kind](20), in_thread=True), threading.Event()
    source.notify(read.set)
    found: list[Any] = []
    while (batch := source.take(3)) is not None or source.is_open:
        if batch is None:
            read.wait(source.seconds_to_more or 5)
            read.clear()
        else:
            found += plain(batch.items)
    assert found == plain(KINDS[kind](20))
    assert (source.total, source.remaining, source.error) == (len(found), 0, None)


def test_an_iterator_that_ended_is_not_asked_again() -> None:
    """A file or a queue may block, or begin anew, when asked after its end."""
    read = Read("abc")
    source = Source(read)
    assert source.take(5) is not None
    assert read.times == 4
    assert source.remaining == 0
    source.cut(1)
    assert source.take(5) is None
    assert read.times == 4


def test_an_unknown_total_is_known_at_the_end() -> None:
    """None as long as nobody can say; then what there was."""
    source = Source(x for x in range(5))
    assert (source.total, source.fresh, source.remaining) == (None, None, None)
    assert source.take(4) is not None
    assert source.total is None
    assert source.take(4) is not None
    assert (source.total, source.fresh, source.remaining) == (5, 0, 0)


@given(steps=steps)
@settings(max_examples=60, deadline=None)
def test_remaining_is_what_is_to_be_dealt_out(steps: list[Any]) -> None:
    """Fresh items and those that came back, at any time."""
    books = Books(Source(range(MOST)))
    play(books, steps)
    dealt, back = books.dealt.total(), books.back.total()
    assert books.source.total == MOST
    assert books.source.fresh == MOST - len(books.dealt)
    assert books.source.remaining == MOST - dealt + back
    assert (books.source.returned > 0) == (books.source.remaining > books.source.fresh)


def test_a_container_may_have_more_than_it_says() -> None:
    """The builtin `map` takes all items, so we do; the rest is unknown from there on"""
    source = Source(Lying(3, 6))
    assert source.total == 3
    taken = []
    for remaining in (1, None, None):
        batch = source.take(2)
        assert batch is not None
        taken += batch.items
        assert source.remaining == remaining
    assert source.take(2) is None
    assert taken == list(range(6))
    assert source.total == 6


def test_what_came_back_is_first_and_stays_apart() -> None:
    """The lowest index first, and never joined with its neighbours."""
    source = Source(range(100))
    one, two, three = (source.take(10) for _ in range(3))
    assert one is not None
    assert two is not None
    assert three is not None
    for batch in (three, one, two.part(5, 10), two.part(0, 5)):
        source.give_back(batch)
    assert source.returned == 4
    taken = [(batch.start, batch.stop) for batch in drained(source, 50)]
    assert taken == [(0, 10), (10, 15), (15, 20), (20, 30), (30, 80), (80, 100)]


def test_what_came_back_and_is_too_long_is_cut() -> None:
    """No batch is longer than was asked for; the rest waits in its place."""
    source = Source("abcdefgh")
    batch = source.take(8)
    assert batch is not None
    source.give_back(batch)
    assert [plain(batch.items) for batch in drained(source, 3)] == [
        ["a", "b", "c"],
        ["d", "e", "f"],
        ["g", "h"],
    ]


@given(first=st.integers(0, 9), size=st.integers(1, 10))
@settings(deadline=None)
def test_a_part_keeps_what_is_known_of_its_batch(first: int, size: int) -> None:
    """Failures and deaths are counted for each item, wherever batches are cut."""
    batch = Batch(start=100, items=range(10), failed=2, deaths=(DEATH,))
    part = batch.part(first, first + size)
    assert part.start == 100 + first
    assert part.stop == min(110, part.start + size)
    assert plain(part.items) == plain(range(10))[first : first + size]
    assert (part.failed, part.deaths) == (2, (DEATH,))


def test_marks_come_back_with_the_batch() -> None:
    """What is known of items that were given back is known when they are dealt out."""
    source = Source(range(10))
    batch = source.take(4)
    assert batch is not None
    source.give_back(replace(batch, failed=1, deaths=(DEATH,)))
    first, second, fresh = source.take(1), source.take(9), source.take(9)
    marks = [(b.start, b.failed, b.deaths) for b in (first, second, fresh) if b]
    assert marks == [(0, 1, (DEATH,)), (1, 1, (DEATH,)), (4, 0, ())]


@given(
    kind=st.sampled_from(["list", "tuple", "range", "numpy 1-d", "numpy 2-d"]),
    count=st.integers(0, MOST),
    size=COUNTS,
)
@settings(deadline=None)
def test_a_preview_takes_nothing(kind: str, count: int, size: int) -> None:
    """Everything is seen, in its place, and all is there afterwards."""
    source = Source(KINDS[kind](count))
    seen = list(source.preview(size))
    taken = list(drained(source, size))
    assert [(b.start, plain(b.items)) for b in seen] == [
        (b.start, plain(b.items)) for b in taken
    ]


def test_a_preview_iterates_nothing() -> None:
    """What could be had only once, or would have to be copied, is not looked at."""
    for kind in ("generator", "dict", "set", "str", "says less"):
        source = Source(KINDS[kind](6))
        assert list(source.preview(2)) == []
        assert len(list(drained(source, 1))) == len(list(KINDS[kind](6)))


def test_an_error_of_the_input_is_the_callers() -> None:
    """What a generator raises comes out of `take`, and what came before is kept."""

    def breaks() -> Iterator[int]:
        yield from range(3)
        raise OSError("disk on fire")

    source = Source(breaks())
    assert source.take(2) is not None
    with pytest.raises(OSError, match="disk on fire"):
        source.take(2)


def test_what_cannot_be_iterated_is_a_type_error() -> None:
    """As with the builtin `map`, and at once rather than at the first item."""
    wrong: Any
    for wrong in (5, None, np.array(3), object()):
        with pytest.raises(TypeError, match="iter"):
            Source(wrong)


def test_only_what_is_known_is_sliced() -> None:
    """A subclass may do anything in its __getitem__; its iterator is what counts."""
    pair = collections.namedtuple("Pair", "a b")(1, 2)
    masked = np.ma.masked_array([1, 2], [0, 1])
    for items in ([], (1,), range(3), np.zeros(3), np.zeros((3, 2))):
        assert is_sliceable(items), items
    for other in (np.array(3), "abc", b"abc", {}, set(), iter([]), pair, masked):
        assert not is_sliceable(other), other
