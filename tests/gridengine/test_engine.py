"""The engine's way with chunks, on a place of its own: no cluster, the same lanes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridengine.engine import Block, Engine
from gridengine.lanes import Flight, Lanes
from gridengine.pace import Pace
from gridengine.places import ClientPlace
from gridengine.sealed import Sealed
from gridengine.source import Source
from gridengine.tally import Tally

pytestmark = pytest.mark.keeps_cluster


class NotedPlace(ClientPlace):
    """Somebody's client, with a note of what the engine asked for."""

    def __init__(self, client: Client, slots: int = 2) -> None:
        super().__init__(client)
        self.asked: list[int | None] = []
        self.abandoned = 0
        self.fixed_slots = slots

    @contextlib.contextmanager
    def session(self, items: int | None) -> Iterator[Client]:
        self.asked.append(items)
        with super().session(items) as client:
            yield client

    def slots(self) -> int:
        return self.fixed_slots

    def abandon(self, lanes: Lanes, flights: set[Flight]) -> None:
        self.abandoned += len(flights)

    def tally(self) -> Tally:
        return Tally(1, 1, 0)


def engine(
    place: NotedPlace,
    function: Callable[[Any], Any],
    source: Source,
    chunksize: int | None = None,
    **options: Any,
) -> Engine:
    sealed = Sealed.of(function, "f")
    return Engine(place, sealed, "f", source, pace=Pace(chunksize), **options)


def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


def covered(blocks: list[Block]) -> list[int]:
    """Indices in the order in which they came."""
    return [i for block in blocks for i in range(block.start, block.stop)]


@given(
    n=st.integers(0, 80),
    chunksize=st.none() | st.integers(1, 20),
    ordered=st.booleans(),
    slots=st.integers(1, 5),
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_index_comes_once(
    client: Client, n: int, chunksize: int | None, ordered: bool, slots: int
) -> None:
    """Blocks cover the input without gap or overlap, in order if that was asked."""
    place = NotedPlace(client, slots)
    run = engine(place, odd_fails, Source(range(n)), chunksize, ordered=ordered)
    blocks = list(run.blocks())
    indices = covered(blocks)
    assert sorted(indices) == list(range(n))
    assert not ordered or indices == list(range(n))
    for block in blocks:
        for offset, value in enumerate(block.values):
            index = block.start + offset
            assert (offset in block.failures) == bool(index % 2)
            assert value == (None if index % 2 else index)
    assert run.error is None
    assert place.asked == ([n] if n else [])


def test_the_first_failure_ends_a_run(client: Client) -> None:
    """Items before it are all run; its exception is kept, none behind it is."""
    place = NotedPlace(client)
    run = engine(place, odd_fails, Source([0, 2, 4, 5, 6, 7, *[8] * 500]), 1, stop=True)
    indices = covered(list(run.blocks()))
    assert set(range(3)) <= set(indices)
    assert 3 not in indices
    assert isinstance(run.error, ValueError)
    assert run.error.args == (5,)
    assert max(indices) < 50


def test_closing_calls_back_what_is_under_way(client: Client) -> None:
    """Who stops asking for blocks leaves nothing for workers to do."""
    place = NotedPlace(client)
    blocks = engine(place, abs, Source(iter(range(10_000))), 5).blocks()
    next(blocks)
    blocks.close()
    assert place.abandoned > 0


def test_an_ordered_run_is_bounded(client: Client) -> None:
    """While the first chunk is missing, only so many others are kept for later."""
    read = itertools.count()

    def slow_first(x: int) -> int:
        time.sleep(1 if x == 0 else 0)
        return x

    place = NotedPlace(client)
    run = engine(place, slow_first, Source(read), 10, ordered=True)
    blocks = run.blocks()
    assert next(blocks).values[0] == 0
    assert next(read) < 2000
    blocks.close()


def test_retries_are_counted_for_each_item(client: Client) -> None:
    """An item is tried once more for each retry, then its failure counts."""
    place = NotedPlace(client)
    run = engine(place, odd_fails, Source(range(10)), 5, retries=2)
    blocks = list(run.blocks())
    assert sorted(covered(blocks)) == list(range(10))
    failed = [b.start + k for b in blocks for k in b.failures]
    assert sorted(failed) == [1, 3, 5, 7, 9]


def test_ticks_come_while_nothing_lands(client: Client) -> None:
    """A progress line is told to look again although no chunk has ended."""
    ticks: list[int] = []

    def slow(x: int) -> None:
        time.sleep(0.7)

    run = engine(NotedPlace(client), slow, Source([1]), on_tick=lambda: ticks.append(1))
    assert len(list(run.blocks())) == 1
    assert len(ticks) >= 2
