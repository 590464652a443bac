"""How many items make a chunk: what holds whatever the constants are."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridengine.pace import LEAST_SECONDS, LONG_SECONDS, MOST_BYTES, PROBE_BLIND, Pace

SLOTS = st.integers(1, 1000)
REMAINING = st.integers(1, 10**9)
SECONDS = st.floats(1e-9, 1e5)  # that an item takes
BYTES = st.integers(1, 10 * MOST_BYTES)  # that an item has
ITEMS = st.integers(1, 10**6)

#: What a pace may have been told, in any order.
events = st.lists(
    st.tuples(st.just("sent"), ITEMS, st.integers(0, 2**40))
    | st.tuples(st.just("landed"), ITEMS, st.floats(0, 1e6), st.integers(0, 2**40))
    | st.tuples(st.just("next_size"), REMAINING | st.none(), SLOTS),
    max_size=8,
)


def told(events: list[tuple[Any, ...]], chunksize: int | None = None) -> Pace:
    pace = Pace(chunksize)
    for name, *numbers in events:
        getattr(pace, name)(*numbers)
    return pace


def measured(seconds: float, nbytes: int = 1, items: int = 1000) -> Pace:
    """A pace whose items have all been alike so far."""
    pace = Pace()
    for _ in range(3):
        pace.sent(items, nbytes * items)
        pace.landed(items, seconds * items, nbytes * items)
    return pace


@given(events=events, remaining=REMAINING, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_a_chunk_has_items_and_not_more_than_there_are(
    events: list[Any], remaining: int, slots: int
) -> None:
    """At least one, at most what remains, and a whole number, whatever was measured."""
    size = told(events).next_size(remaining, slots)
    assert isinstance(size, int)
    assert 1 <= size <= remaining


@given(events=events, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_an_unknown_rest_is_no_trouble(events: list[Any], slots: int) -> None:
    """Nor is an empty one: a size is always one that can be taken."""
    for remaining in (None, 0):
        size = told(events).next_size(remaining, slots)
        assert isinstance(size, int)
        assert size >= 1


@given(chunksize=ITEMS, events=events, remaining=REMAINING | st.none(), slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_a_chunksize_that_was_given_is_obeyed(
    chunksize: int, events: list[Any], remaining: int | None, slots: int
) -> None:
    """Nothing that is measured changes it, and no budget cuts such a chunk short."""
    pace = told(events, chunksize)
    assert pace.next_size(remaining, slots) == chunksize
    assert pace.budget(slots) is None


@given(events=events, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_otherwise_there_is_a_budget(events: list[Any], slots: int) -> None:
    """A slow item never holds back others for long, however wrong the measure is."""
    budget = told(events).budget(slots)
    assert budget is not None
    assert budget >= LEAST_SECONDS
    more = Pace().budget(slots + 1)
    assert more is not None
    assert more >= budget


@given(events=events, some=REMAINING, more=REMAINING, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_a_smaller_rest_makes_no_bigger_chunk(
    events: list[Any], some: int, more: int, slots: int
) -> None:
    """All else equal, chunks shrink towards the end."""
    pace = told(events)
    some, more = sorted((some, more))
    small = copy.deepcopy(pace).next_size(some, slots)
    assert small <= copy.deepcopy(pace).next_size(more, slots)


@given(seconds=SECONDS, count=st.integers(1, 2000), slots=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_chunks_shrink_towards_the_end(seconds: float, count: int, slots: int) -> None:
    """Once it is known what an item takes chunks do not grow any more."""
    pace, remaining, sizes = Pace(), count, []
    while remaining:
        size = pace.next_size(remaining, slots)
        pace.sent(size, size)
        pace.landed(size, size * seconds, size)
        remaining -= size
        sizes.append(size)
    assert sum(sizes) == count
    known = sizes[1:]
    for earlier, later in itertools.pairwise(known):
        assert later <= earlier + 1  # one for the rounding of the measure
    last = sizes[-1]
    assert last == 1 or last * slots <= count or last * seconds < LEAST_SECONDS


@given(seconds=SECONDS, remaining=REMAINING, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_a_chunk_fits_its_budget(seconds: float, remaining: int, slots: int) -> None:
    """Where items are as they were, no worker has to return a part of a chunk."""
    pace = measured(seconds)
    budget = pace.budget(slots)
    assert budget is not None
    size = pace.next_size(remaining, slots)
    assert size == 1 or size * seconds <= budget * 1.001


@given(factor=st.floats(1, 1e6), remaining=REMAINING | st.none(), slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_slow_items_go_one_by_one(
    factor: float, remaining: int | None, slots: int
) -> None:
    """An item that takes longer than a chunk may is a chunk of its own."""
    budget = Pace().budget(slots)
    assert budget is not None
    assert measured(budget * factor).next_size(remaining, slots) == 1


@given(seconds=st.floats(1e-6, 1), slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_quick_items_go_by_the_many(seconds: float, slots: int) -> None:
    """While there are plenty a chunk is worth its way."""
    size = measured(seconds).next_size(10**9, slots)
    assert (size + 1) * seconds >= 0.999 * LEAST_SECONDS


@given(
    seconds=st.floats(0, 10),
    nbytes=BYTES,
    back=st.booleans(),
    remaining=REMAINING | st.none(),
    slots=SLOTS,
)
@settings(max_examples=60, deadline=None)
def test_heavy_items_make_small_chunks(
    seconds: float, nbytes: int, back: bool, remaining: int | None, slots: int
) -> None:
    """No chunk is too big to send, nor are its results; a single item must be."""
    pace = Pace()
    pace.sent(100, 100 * (1 if back else nbytes))
    pace.landed(100, 100 * seconds, 100 * (nbytes if back else 1))
    size = pace.next_size(remaining, slots)
    assert size == 1 or size * nbytes <= MOST_BYTES


@given(nbytes=BYTES, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_heavy_items_are_known_before_any_has_landed(nbytes: int, slots: int) -> None:
    """What was sent says what they weigh, though not what they take."""
    pace = Pace()
    pace.sent(10, 10 * nbytes)
    size = pace.next_size(10**9, slots)
    assert size == 1 or size * nbytes <= MOST_BYTES


@given(remaining=REMAINING, slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_the_first_chunks_leave_some_for_all(remaining: int, slots: int) -> None:
    """Before anything is known every slot gets a chunk, if there are items enough."""
    pace, left = Pace(), remaining
    for _ in range(slots):
        assert left > 0 or remaining < slots
        left -= pace.next_size(left, slots) if left else 0


@given(slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_the_first_chunk_of_an_unknown_input_is_small(slots: int) -> None:
    """A generator may be slow, or endless: results come before it is read far."""
    assert Pace().next_size(None, slots) <= PROBE_BLIND


@given(events=events, remaining=REMAINING | st.none(), slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_every_slot_has_a_chunk(
    events: list[Any], remaining: int | None, slots: int
) -> None:
    """As many as there are slots are under way, and not more than a few for each."""
    assert slots <= told(events).ahead(remaining, slots) <= 4 * slots


@given(remaining=REMAINING | st.none(), slots=SLOTS)
@settings(max_examples=60, deadline=None)
def test_only_quick_items_queue_at_a_worker(remaining: int | None, slots: int) -> None:
    """A second chunk for a slot hides the way; a slow item could begin elsewhere."""
    assert measured(LONG_SECONDS / 1000).ahead(remaining, slots) > slots
    assert measured(LONG_SECONDS * 10).ahead(remaining, slots) == slots


@given(
    chunks=st.lists(st.tuples(ITEMS, SECONDS), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_what_an_item_takes_is_between_what_was_measured(
    chunks: list[tuple[int, float]],
) -> None:
    """It is a mean, and unknown before the first measurement."""
    pace = Pace()
    assert pace.seconds_each is None
    for items, each in chunks:
        pace.landed(items, items * each, 0)
    assert pace.seconds_each is not None
    low, high = min(each for _, each in chunks), max(each for _, each in chunks)
    assert low * 0.999 <= pace.seconds_each <= high * 1.001


@given(before=SECONDS, after=SECONDS)
@settings(max_examples=60, deadline=None)
def test_old_measurements_are_forgotten(before: float, after: float) -> None:
    """Items that become slower or quicker are taken for what they have become."""
    pace = measured(before)
    for _ in range(100):
        pace.landed(1000, 1000 * after, 0)
    assert pace.seconds_each == pytest.approx(after, rel=0.01)
