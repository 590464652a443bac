"""How many items make a chunk.

A chunk costs Dask some milliseconds, so it should hold work for longer than that; but
the last chunks should be short, so that all workers end at about the same time, and a
chunk must not be too big to send. What an item takes is not known before it was tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Most items of a chunk while nothing is known: enough to learn from, and soon there.
PROBE_ITEMS = 10_000
#: Items of the first chunks where nobody knows how many there will be.
PROBE_BLIND = 64
#: Seconds of work in a chunk: many times what a chunk costs.
LEAST_SECONDS = 0.2
#: Seconds from which an item is not sent before a slot is free.
LONG_SECONDS = 1.0
#: Dask's scheduler shall spend no more than a quarter of its time on our chunks: one
#: costs it about 2.5 ms (measured), so each slot may end one every 10 ms times slots.
SECONDS_PER_SLOT = 0.01
#: A chunk is not cut below this many seconds of work for the sake of an even end.
SMALL_SECONDS = 0.01
#: Items of a chunk, however quick they are. Fewer where nobody knows how many there
#: are: such chunks are held in memory, items and results, and shall not fill it.
MOST_ITEMS, BLIND_ITEMS = 2**20, 50_000
#: Bytes of a chunk's arguments or results.
MOST_BYTES = 16 * 2**20
#: Chunks, for each slot, into which the rest is thought to be cut.
SHARES = 3
#: How much an older measurement counts against a new one.
MEMORY = 0.5


@dataclass(slots=True)
class _Mean:
    """A running mean that forgets."""

    amount: float = 0.0
    items: float = 0.0

    def add(self, amount: float, items: int) -> None:
        self.amount = MEMORY * self.amount + amount
        self.items = MEMORY * self.items + items

    @property
    def each(self) -> float | None:
        return self.amount / self.items if self.items else None


class Pace:
    """Sizes of chunks, from what the earlier ones took.

    Parameters
    ----------
    chunksize
        Items of each chunk; None finds out.
    """

    def __init__(self, chunksize: int | None = None) -> None:
        self.chunksize = chunksize
        self._seconds, self._bytes_there, self._bytes_back = _Mean(), _Mean(), _Mean()
        self._probes = 0

    def sent(self, items: int, nbytes: int) -> None:
        """A chunk of so many items had so many bytes."""
        self._bytes_there.add(nbytes, items)

    def landed(self, items: int, seconds: float, nbytes: int) -> None:
        """So many items took so many seconds of work; their results have `nbytes`."""
        self._seconds.add(seconds, items)
        self._bytes_back.add(nbytes, items)

    def budget(self, slots: int) -> float | None:
        """Seconds after which a worker returns the rest of a chunk; None is never."""
        return None if self.chunksize else 2 * self._target(slots)

    @property
    def seconds_each(self) -> float | None:
        """What an item takes, as far as is known."""
        return self._seconds.each

    def ahead(self, remaining: int | None, slots: int) -> int:
        """Chunks to have under way.

        A second one for each slot hides the way there and back. Not where that way is
        short beside an item, which could begin elsewhere sooner; nor, if there are few
        items, before it is known whether a second one is worth its while.
        """
        each = self._seconds.each
        if each is None:
            is_useful = remaining is not None and remaining > PROBE_ITEMS * slots
        else:
            is_useful = each < LONG_SECONDS
        return 2 * slots if is_useful else slots

    def next_size(self, remaining: int | None, slots: int) -> int:
        """Items of the next chunk.

        Parameters
        ----------
        remaining
            Items not dealt out yet; None if nobody knows.
        slots
            Chunks that can run at the same time.
        """
        if self.chunksize:
            return self.chunksize
        size = min(self._even(remaining, slots), self._portable())
        each = self._seconds.each
        if each is None:
            most = PROBE_BLIND if remaining is None else self._probe(slots)
            return max(1, int(min(size, most)))
        if each > 0:
            timely = self._target(slots) / each + 0.5  # rounded, not cut
            size = max(min(size, timely), SMALL_SECONDS / each)
        most = BLIND_ITEMS if remaining is None else remaining
        return max(1, int(min(size, most, self._portable(), MOST_ITEMS)))

    def _probe(self, slots: int) -> float:
        """The first chunk of each slot is there soon; those behind it may be big."""
        self._probes += 1
        return PROBE_ITEMS if self._probes <= slots else math.inf

    def _even(self, remaining: int | None, slots: int) -> float:
        """Guided self-scheduling: a share of the rest, so chunks shrink at the end."""
        if remaining is None:
            return math.inf
        return remaining / (SHARES * slots)

    def _portable(self) -> float:
        heaviest = max(self._bytes_there.each or 0, self._bytes_back.each or 0)
        return MOST_BYTES / heaviest if heaviest else math.inf

    @staticmethod
    def _target(slots: int) -> float:
        return max(LEAST_SECONDS, SECONDS_PER_SLOT * slots)
