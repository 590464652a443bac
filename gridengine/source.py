"""The items of a map, dealt out in batches and taken back where they were not done."""

from __future__ import annotations

import contextvars
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: Seconds to wait for more items than are there. A chunk costs about as much.
GRACE_SECONDS = 0.01


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
    in_thread
        Whether to iterate in a thread. Then `take` never blocks: it returns None while
        no item is there, and `is_open` tells whether one may still come.
    """

    def __init__(self, items: Iterable[Any], *, in_thread: bool = False) -> None:
        self._returned: deque[Batch] = deque()
        self._next = 0
        self._sliced: Sequence[Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._reader: Reader | None = None
        try:
            self._total: int | None = len(items)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - the builtin map does not ask for it at all
            self._total = None
        if self._total is not None and is_sliceable(items):
            self._sliced = items  # type: ignore[assignment]
        elif in_thread:
            self._reader = Reader(iter(items))
        else:
            self._iterator = iter(items)

    @property
    def total(self) -> int | None:
        """How many items there are in all; None until that is known."""
        return self._total

    @property
    def dealt(self) -> int:
        """Items that were dealt out, each counted once."""
        return self._next

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

    @property
    def is_open(self) -> bool:
        """Whether a thread may still read items, or has read some to be dealt out."""
        return self._reader is not None and self._reader.is_open

    @property
    def seconds_to_more(self) -> float | None:
        """When to call `take` again though nothing was notified; None is never."""
        is_waiting = self._reader is not None and self._reader.there > 0
        return GRACE_SECONDS if is_waiting else None

    @property
    def error(self) -> BaseException | None:
        """What the iterable raised in the thread, after the items read before it."""
        return None if self._reader is None else self._reader.error

    def notify(self, notified: Callable[[], object]) -> None:
        """Have this called in the thread when items are there that `take` waits for."""
        if self._reader is not None:
            self._reader.notified = notified

    def close(self) -> None:
        """Read no further; does not wait for an iterable that blocks."""
        if self._reader is not None:
            self._reader.close()

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
        self.close()

    def _take_fresh(self, count: int) -> Sequence[Any]:
        if self._sliced is not None:
            stop = min(self._next + count, self._total or 0)
            return self._sliced[self._next : stop]
        if self._reader is not None:
            return self._take_read(self._reader, count)
        assert self._iterator is not None
        if self._total is not None and self._next + count > self._total:
            # A container may say less than it yields; the builtin map takes all.
            self._total = None
        items = list(itertools.islice(self._iterator, count))
        if len(items) < count:
            self._total = self._next + len(items)
        return items

    def _take_read(self, reader: Reader, count: int) -> Sequence[Any]:
        items = reader.take(count)
        known = self._next + len(items)
        if reader.ended:
            self._total = known + reader.there
        elif self._total is not None and known > self._total:
            self._total = None
        return items


class Reader:
    """Iterates in a thread of its own, no further than requested.

    The thread is a daemon and refers to nothing but this: an iterable that blocks for
    ever holds back neither the run that reads it nor Python's end.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._changed = threading.Condition()
        self._wanted = 0  # items to have read that are not taken
        self._asked: float | None = None  # time of a request that is not met yet
        self._closed = False
        self._thread: threading.Thread | None = None
        #: Only the thread adds, without the lock; items before `_taken` are taken.
        self._items: list[Any] = []
        self._taken = 0
        self.ended = False
        self.error: BaseException | None = None
        self.notified: Callable[[], object] = lambda: None

    @property
    def there(self) -> int:
        """Items that were read and not taken."""
        with self._changed:
            return len(self._items) - self._taken

    @property
    def is_open(self) -> bool:
        """Whether there is, or may come, an item to be taken."""
        return not self._closed and (not self.ended or self.there > 0)

    def take(self, count: int) -> list[Any]:
        """Up to `count` items.

        Fewer only at the end, and where no more were read in `GRACE_SECONDS`. While
        there are none it returns at once, and the thread goes on to read `count`.
        """
        self._start()
        with self._changed:
            now = time.monotonic()
            there = self.there
            if there < count and not self.ended:
                if self._asked is None:
                    self._asked = now
                self._wanted = count
                self._changed.notify()
                if not there or now - self._asked < GRACE_SECONDS:
                    return []
            first, self._taken = self._taken, self._taken + min(there, count)
            self._wanted, self._asked = 0, None
            return self._items[first : self._taken]

    def close(self) -> None:
        """End the thread as soon as the iterable lets it."""
        with self._changed:
            self._closed, self.notified = True, lambda: None
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            # Such things as decimal's precision hold as in the thread of the caller.
            run = contextvars.copy_context().run
            self._thread = threading.Thread(
                target=run, args=(self._read,), name="gridengine-input", daemon=True
            )
            self._thread.start()

    def _read(self) -> None:
        burst = 1
        try:
            while count := self._room():
                before, started = len(self._items), time.monotonic()
                # Each item is there as soon as it was read, also before an error.
                self._items.extend(itertools.islice(self._iterator, min(burst, count)))
                read, took = len(self._items) - before, time.monotonic() - started
                if read < min(burst, count):
                    break
                # As many as will be read within the grace: nothing is notified before.
                quick = int(read * GRACE_SECONDS / max(took, 1e-9))
                burst = max(1, min(4 * burst, quick))
                if self._asked is not None:
                    self.notified()
        except BaseException as exc:  # noqa: BLE001 - the engine raises it
            self.error = exc
        self.ended = True
        self.notified()

    def _room(self) -> int:
        """Wait until items are wanted; how many, 0 if none are any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._wanted > self.there)
            del self._items[: self._taken]
            self._taken = 0
            return 0 if self._closed else self._wanted - self.there


def is_sliceable(items: object) -> bool:
    """Whether slices of these, dealt out one after the other, are all their items."""
    if type(items) in (list, tuple, range):
        return True
    kind = type(items)
    is_array = (kind.__module__, kind.__name__) == ("numpy", "ndarray")
    return is_array and getattr(items, "ndim", 0) > 0
