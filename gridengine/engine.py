"""The way of a map: items are dealt out in chunks, results come back, nothing is lost.

    Source --batch--> Engine --chunk--> Lanes --task--> worker (`run_chunk`)
                        ^                  |
    blocks of results --+---- Landing <----+

A chunk that was not finished in its time, whose item is to be tried again, or whose
worker died goes back to the source. A finished item is never run again.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from distributed import Client

from gridengine import reasons
from gridengine.chunk import Done
from gridengine.errors import NotPicklable, WorkerDied
from gridengine.failure import Failure, short_repr
from gridengine.lanes import DEATHS, Flight, Landing, Lanes
from gridengine.pace import MOST_BYTES, Pace
from gridengine.sealed import Sealed, weigh
from gridengine.source import Batch, Source
from gridengine.tally import Tally

TICK = 0.25  # seconds between two looks at the cluster while nothing lands
#: Seconds to look for what cannot be pickled, while there are no workers and when there
#: are, and how many items to look at between two looks at the clock.
VET_SECONDS, VET_WARM_SECONDS, VET_ITEMS = 1.0, 0.002, 1000
#: Parts a chunk is cut into when its worker has died, to find the item that did it.
PARTS = 16
#: Workers an item may end, the last ones with nothing else under way, before it is
#: named. As many as Dask allows a task by default, less the one of its chunk.
MOST_DEATHS = 3
#: Errors of chunks that say little without what became of the nodes.
TROUBLE = (OSError, asyncio.TimeoutError)
#: Seconds without any worker after which all nodes are requested that the items may
#: need: the grid is busy, and a place in its queue is worth having.
QUEUE_SECONDS = 10.0
#: Seconds after the first worker in which a chunk of short items comes back, also if
#: its modules are imported first. Later the items are taken for long ones.
FIRST_CHUNK_SECONDS = 2.0
#: Chunks ahead of the one that is waited for, per slot, where results go in order.
AHEAD = 4


class Place(Protocol):
    """Where chunks are run: a cluster of ours, or somebody's client."""

    def session(self, items: int | None) -> AbstractContextManager[Client]:
        """A client for one run over so many items, None if nobody knows how many."""

    def slots(self) -> int:
        """Chunks that can run at the same time, at least 1."""

    def tally(self) -> Tally:
        """Workers there are, shall be, and wait in the queue."""

    @property
    def warm(self) -> bool:
        """Whether there are workers already."""

    @property
    def first_items(self) -> int | None:
        """Items to ask for before their duration is known; None is all."""

    def need(self, items: int | None, seconds: float) -> None:
        """Take note of the items left, None if unknown, and their seconds of work."""

    @property
    def direct(self) -> bool:
        """Whether results shall be fetched past the scheduler."""

    @property
    def inline(self) -> int:
        """Bytes of arguments up to which they may go through the scheduler."""

    @property
    def cluster(self) -> Any:
        """The cluster, as far as it is known; it may be anybody's, or None."""

    def check(self) -> None:
        """Raise if no worker can come."""

    def tail(self, chunks: int) -> None:
        """No more is left than these chunks, which are under way."""

    def abandon(self, lanes: Lanes, flights: set[Flight]) -> None:
        """These were called back: see that they do not hold their workers."""


@dataclass(frozen=True, slots=True)
class Block:
    """Results of items in a row."""

    start: int  # index of the first item
    values: list[Any]
    failures: dict[int, BaseException] = field(default_factory=dict)  # by offset

    @property
    def stop(self) -> int:
        """Index after the last item."""
        return self.start + len(self.values)


class Engine:
    """One run of a function over items.

    Parameters
    ----------
    place
        Where.
    function
        What, of one argument.
    name
        What Dask's dashboard shows.
    source
        The items.
    pace
        Sizes of chunks.
    retries
        How often an item is tried again whose function has raised.
    stop
        Whether a failure ends the run: items before it are still run, those behind it
        are not, and the first failure *in the order of the items* becomes `error`.
    ordered
        Whether blocks are yielded in the order of the items, no more than `AHEAD`
        chunks for each slot ahead of the one that is waited for.
    on_tick
        Called about four times a second while the run waits.

    Raises
    ------
    NotPicklable
        Before anything is started, if it is the function or one of the first items.
    """

    def __init__(
        self,
        place: Place,
        function: Sealed,
        name: str,
        source: Source,
        *,
        pace: Pace,
        retries: int = 0,
        stop: bool = False,
        ordered: bool = False,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._place, self._function, self._name = place, function, name
        self._source, self._pace = source, pace
        self._retries, self._stop, self._ordered = retries, stop, ordered
        self._on_tick = on_tick
        self._flying: set[Flight] = set()
        self._suspects: deque[Batch] = deque()
        self._error: tuple[int, BaseException] | None = None
        self._ticked = 0.0
        self._waited_from = self._worked_from = 0.0  # for a worker; for a chunk
        self._is_hungry = False  # whether a chunk could be sent if there were items
        self._waiting: dict[int, Block] = {}  # of an ordered run, by their start
        self._turn = 0  # of an ordered run: index to be yielded next
        self._lanes: Lanes

    @property
    def error(self) -> BaseException | None:
        """What ended the run. Not raised in here, where StopIteration would not pass"""
        return None if self._error is None else self._error[1]

    def blocks(self) -> Generator[Block, None, None]:
        """Run; yields results as they come.

        Closing the iterator, or any exception in it, calls back what is under way.
        """
        try:
            self._vet()
            first = self._first_batch()
            if first is not None:
                yield from self._with_client(*self._seal(first))
            if self._source.error is not None:
                raise self._source.error
        finally:
            self._source.close()

    def _with_client(self, first: Batch, sealed: Sealed) -> Iterator[Block]:
        with self._place.session(self._first_items()) as client:
            self._lanes = Lanes(
                client,
                self._function,
                self._name,
                direct=self._place.direct,
                inline=self._place.inline,
            )
            self._source.notify(self._lanes.wake)
            yield from self._run(first, sealed)

    def _first_items(self) -> int | None:
        total, first = self._source.total, self._place.first_items
        known = [items for items in (total, first) if items is not None]
        return min(known, default=None)

    def _run(self, first: Batch, sealed: Sealed) -> Iterator[Block]:
        try:
            self._launch(first, sealed)
            self._fill()
            while self._flying or self._source.is_open:
                for block in self._wait():
                    yield from self._in_turn(block)
                self._fill()
        finally:
            if self._flying:
                self._lanes.cancel(self._flying)
                self._place.abandon(self._lanes, self._flying)

    # Out

    def _vet(self) -> None:
        """Find what cannot be pickled before anything is started, as far as is cheap.

        While workers are started there is time; what is iterated, or comes later in a
        long list, is found when its turn comes.
        """
        started = time.monotonic()
        limit = VET_WARM_SECONDS if self._place.warm else VET_SECONDS
        for batch in self._source.preview(VET_ITEMS):
            _sealed(batch)
            if time.monotonic() - started > limit:
                break

    def _first_batch(self) -> Batch | None:
        """Wait for the first items; None if the input is empty."""
        read = threading.Event()
        self._source.notify(read.set)
        while (batch := self._next_batch(self._place.slots())) is None:
            if not self._source.is_open:
                return None
            if not read.wait(self._source.seconds_to_more or TICK):
                self._on_tick()
            read.clear()
        return batch

    def _fill(self) -> None:
        self._is_hungry = False
        slots = self._place.slots()
        if any(flight.alone for flight in self._flying):
            return
        while self._has_room(slots):
            batch = self._next_batch(slots)
            if batch is None:
                self._is_hungry = self._source.is_open
                break
            self._launch(*self._seal(batch))
        if self._suspects and not self._flying:
            self._launch(*self._seal(self._suspects.popleft()), alone=True)

    def _has_room(self, slots: int) -> bool:
        if self._suspects and self._source.total is None:
            return False  # an endless input must not put them off for ever
        under_way = len(self._flying)
        ahead = under_way + len(self._waiting)
        # What came back is what is waited for: it always finds room.
        if self._ordered and ahead >= AHEAD * slots and not self._source.returned:
            return False
        return under_way < self._pace.ahead(self._source.remaining, slots)

    def _next_batch(self, slots: int) -> Batch | None:
        size = self._pace.next_size(self._source.remaining, slots)
        batch = self._source.take(size)
        if batch is None or len(batch.items) == 1:
            return batch
        if self._pace.seconds_each is None and not self._pace.chunksize:
            fitting = max(1, int(MOST_BYTES / max(1, weigh(batch.items[0]))))
            return self._only(batch, fitting)
        return batch

    def _only(self, batch: Batch, count: int) -> Batch:
        """The first items of a batch; the others go back."""
        if count >= len(batch.items):
            return batch
        self._source.give_back(batch.part(count, len(batch.items)))
        return batch.part(0, count)

    def _seal(self, batch: Batch) -> tuple[Batch, Sealed]:
        """Pickle a batch, or as much of it as can be sent in one go."""
        while True:
            sealed = _sealed(batch)
            self._pace.sent(len(batch.items), sealed.nbytes)
            if sealed.nbytes <= 4 * MOST_BYTES or self._pace.chunksize:
                return batch, sealed
            if len(batch.items) == 1:
                return batch, sealed
            batch = self._only(batch, len(batch.items) // 2)

    def _launch(self, batch: Batch, sealed: Sealed, *, alone: bool = False) -> None:
        seconds = self._pace.budget(self._place.slots())
        flight = Flight(batch=batch, seconds=seconds, stop=self._stop, alone=alone)
        self._flying.add(flight)
        self._lanes.send(flight, sealed)

    # Back

    def _wait(self) -> Iterator[Block]:
        more = self._source.seconds_to_more if self._is_hungry else None
        landing = self._lanes.land(more or TICK)
        now = time.monotonic()
        if now - self._ticked >= TICK:
            self._ticked = now
            self._on_tick()
            self._place.check()
            self._say_need(now)
            if self._source.remaining == 0 and not self._suspects:
                self._place.tail(len(self._flying))
        if landing is not None and landing.flight in self._flying:
            self._flying.remove(landing.flight)
            yield from self._land(landing)

    def _say_need(self, now: float) -> None:
        """Tell the place how much work is left, as far as that is known."""
        self._waited_from = self._waited_from or now
        if not self._place.warm:
            if now - self._waited_from >= QUEUE_SECONDS:
                self._place.need(self._items_left, math.inf)
            return
        self._worked_from = self._worked_from or now
        each, known = self._pace.seconds_each, now - self._worked_from
        if each is None and known >= FIRST_CHUNK_SECONDS:
            each = known  # at least: none has come back yet
        if each is None:
            return
        items = self._items_left
        if items is not None:
            self._place.need(items, each * items)
        elif not self._is_hungry:
            # Nobody knows how many will come. As many again as there were, say.
            self._place.need(None, each * self._source.dealt)

    @property
    def _items_left(self) -> int | None:
        remaining = self._source.remaining
        under_way = sum(len(flight.batch.items) for flight in self._flying)
        return None if remaining is None else remaining + under_way

    def _land(self, landing: Landing) -> Iterator[Block]:
        if landing.done is not None:
            yield from self._deliver(landing.flight.batch, landing.done)
            return
        assert landing.error is not None
        self._place.check()  # what was closed says so better
        if isinstance(landing.error, TROUBLE):
            raise reasons.noted(landing.error, self._place)
        if not isinstance(landing.error, DEATHS):
            raise landing.error  # NodesFailed among them: the same for all chunks
        yield from self._died(landing.flight, landing.error, landing.at)

    def _deliver(self, batch: Batch, done: Done) -> Iterator[Block]:
        self._pace.landed(done.count, done.seconds, done.values.nbytes)
        if done.count < len(batch.items):
            self._source.give_back(batch.part(done.count, len(batch.items)))
        values: list[Any] = done.values.open()
        failures: dict[int, BaseException] = {}
        first = 0
        for failure in done.failures:
            offset = failure.index
            if batch.failed < self._retries:
                yield _block(batch, values, failures, first, offset)
                again = batch.part(offset, offset + 1)
                self._source.give_back(replace(again, failed=batch.failed + 1))
                first = offset + 1
            elif self._stop:
                yield _block(batch, values, failures, first, offset)
                self._fail(failure.at(batch.start + offset))
                return
            else:
                failures[offset] = failure.at(batch.start + offset).rebuild()
        yield _block(batch, values, failures, first, done.count)

    def _died(self, flight: Flight, error: BaseException, at: float) -> Iterator[Block]:
        """A worker ended while it had this chunk, which may be innocent."""
        batch = flight.batch
        if len(batch.items) > 1:
            size = -(-len(batch.items) // PARTS)
            for first in range(0, len(batch.items), size):
                self._source.give_back(batch.part(first, first + size))
            return
        deaths = (*batch.deaths, error)
        if not flight.alone or len(deaths) < MOST_DEATHS:
            self._suspects.append(replace(batch, deaths=deaths))
            return
        item = short_repr(batch.items[0])
        why = reasons.of_deaths(self._place, deaths, at)
        killed = WorkerDied(batch.start, item, len(deaths), why, self._stop)
        if self._stop:
            self._fail_with(batch.start, killed)
        else:
            yield Block(batch.start, [None], {0: killed})

    def _fail(self, failure: Failure) -> None:
        self._fail_with(failure.index, failure.rebuild())

    def _fail_with(self, index: int, error: BaseException) -> None:
        """Nothing behind this item matters any more; what is before it still may."""
        if self._error is not None and self._error[0] < index:
            return
        self._error = (index, error)
        self._source.cut(index)
        self._suspects = deque(b for b in self._suspects if b.start < index)
        behind = {f for f in self._flying if f.batch.start > index}
        if behind:
            self._flying -= behind
            self._lanes.cancel(behind)
            self._place.abandon(self._lanes, behind)

    def _in_turn(self, block: Block) -> Iterator[Block]:
        if not block.values:
            return
        if not self._ordered:
            yield block
            return
        self._waiting[block.start] = block
        while (ready := self._waiting.pop(self._turn, None)) is not None:
            self._turn = ready.stop
            yield ready


def _sealed(batch: Batch) -> Sealed:
    """The items, pickled.

    Raises
    ------
    NotPicklable
        It names the item by its index.
    """
    try:
        return Sealed.of(batch.items, "the items")
    except NotPicklable:
        for index, item in enumerate(batch.items, batch.start):
            Sealed.of(item, f"item {index}")
        raise


def _block(
    batch: Batch,
    values: list[Any],
    failures: dict[int, BaseException],
    first: int,
    last: int,
) -> Block:
    """Values `first` to `last`; the failures among them are taken out of the dict."""
    inside = {k - first: failures.pop(k) for k in list(failures) if first <= k < last}
    whole = first == 0 and last == len(values)
    return Block(batch.start + first, values if whole else values[first:last], inside)
