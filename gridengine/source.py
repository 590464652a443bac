"""The items of a map, dealt out in batches and taken back where they were not done."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items in a row."""

    start: int  # index of the first in the whole input
    items: Sequence[Any]
    failed: int = 0  # times the function has raised for these
    #: What came back each time a worker ended that had these.
    deaths: tuple[BaseException, ...] = ()

    @property
    def stop(self) -> int:
        """Index after the last."""
        return self.start + len(self.items)

    def part(self, first: int, last: int) -> Batch:
        """Items `first` to `last`, counted from this batch's first."""
        return replace(self, start=self.start + first, items=self.items[first:last])


class Source:
    """Where the next batch comes from: first what came back, then the input.

    Parameters
    ----------
    items
        Any iterable. Lists, tuples, ranges and numpy arrays are sliced as they are
        dealt out; whatever else is iterated, no further than it has to be.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._returned: deque[Batch] = deque()
        self._next = 0
        self._sliced: Sequence[Any] | None = None
        self._iterator: Iterator[Any] | None = None
        try:
            self._total: int | None = len(items)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - the builtin map does not ask for it at all
            self._total = None
        if self._total is not None and is_sliceable(items):
            self._sliced = items  # type: ignore[assignment]
        else:
            self._iterator = iter(items)

    @property
    def total(self) -> int | None:
        """How many items there are in all; None until that is known."""
        return self._total

    @property
    def fresh(self) -> int | None:
        """Items never dealt out yet; None if nobody knows."""
        return None if self._total is None else max(0, self._total - self._next)

    @property
    def remaining(self) -> int | None:
        """Items to be dealt out."""
        back = sum(len(batch.items) for batch in self._returned)
        return None if self.fresh is None else self.fresh + back

    @property
    def returned(self) -> int:
        """Batches that came back and were not dealt out again."""
        return len(self._returned)

    def preview(self, size: int) -> Iterator[Batch]:
        """Everything there is, without taking it; nothing of what must be iterated."""
        items = self._sliced if self._sliced is not None else ()
        for start in range(0, len(items), size):
            yield Batch(start=start, items=items[start : start + size])

    def take(self, count: int) -> Batch | None:
        """The next batch, of at most `count` items; None at the end.

        What came back comes with its own bounds: it is never joined with other items.
        """
        if self._returned:
            batch = self._returned.popleft()
            if len(batch.items) > count:
                self._returned.appendleft(batch.part(count, len(batch.items)))
                batch = batch.part(0, count)
            return batch
        items = self._take_fresh(count)
        if not len(items):
            return None
        batch = Batch(start=self._next, items=items)
        self._next = batch.stop
        return batch

    def give_back(self, batch: Batch) -> None:
        """Deal these out again, before anything new, the lowest index first."""
        where = 0
        for where, other in enumerate(self._returned):  # noqa: B007 - used below
            if other.start > batch.start:
                break
        else:
            where = len(self._returned)
        self._returned.insert(where, batch)

    def cut(self, index: int) -> None:
        """Forget all items from this index on, which has been dealt out before."""
        kept = [b for b in self._returned if b.start < index]
        self._returned = deque(
            b if b.stop <= index else b.part(0, index - b.start) for b in kept
        )
        self._total = self._next
        self._iterator = iter(())

    def _take_fresh(self, count: int) -> Sequence[Any]:
        if self._sliced is not None:
            stop = min(self._next + count, self._total or 0)
            return self._sliced[self._next : stop]
        assert self._iterator is not None
        if self._total is not None and self._next + count > self._total:
            # A container may say less than it yields; the builtin map takes all.
            self._total = None
        items = list(itertools.islice(self._iterator, count))
        if len(items) < count:
            self._total = self._next + len(items)
        return items


def is_sliceable(items: object) -> bool:
    """Whether slices of these, dealt out one after the other, are all their items."""
    if type(items) in (list, tuple, range):
        return True
    kind = type(items)
    is_array = (kind.__module__, kind.__name__) == ("numpy", "ndarray")
    return is_array and getattr(items, "ndim", 0) > 0
