"""How a function is mapped over items: in chunks, of which none is lost.

    ItemSource -> Mapping -> ChunkSubmitter -> Dask task (`run_chunk` on a worker)
        ^            |
        +--- items that were not reached, may be retried, or lost their worker

A finished item is never run again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import itertools
import math
import os
import queue
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, KilledWorker
from distributed.utils_comm import gather_from_workers

from dask_gridengine.scheduler.exception_notes import PREFIX
from gridengine._chunk import ChunkResult, Serialized, run_chunk, size_of
from gridengine.errors import NotPicklable, WorkerDied, short_repr

if TYPE_CHECKING:
    from gridengine.job import Run
    from gridengine.schedulers import ClientScheduler, Scheduler

TICK = 0.25  # seconds between two looks at the cluster
READ_SECONDS = 0.01  # to wait for more items than are read; a chunk costs about as much
#: Seconds to look for items that cannot be pickled before anything is started.
CHECK_SECONDS, CHECK_WARM_SECONDS = 1.0, 0.002
#: Chunks for each slot, beyond the one that is waited for, if results go in order.
MAX_AHEAD = 4
#: A chunk whose worker died is cut into PARTS, to find the item that caused it. An item
#: has caused MAX_DEATHS of workers, if nothing else ran during the last one.
PARTS, MAX_DEATHS = 16, 3
DEATHS = (KilledWorker, concurrent.futures.CancelledError)
SHARED_BYTES = 64 * 2**10  # of a function that is not sent with each chunk
TAKE_SECONDS = 0.25  # for the event loop to take a chunk; a closed one never does
FETCH_SECONDS = 0.25  # after which a result that does not come is located again
PAUSE_SECONDS = 0.05  # for the scheduler to notice a death
ANSWER_SECONDS = 5.0  # for a worker to answer, also on a busy host
KILL_SECONDS = 1.0  # for a worker to end an item that was cancelled
#: Seconds without a result after which items count as long ones.
FIRST_RESULT_SECONDS = 2.0
#: Seconds without a worker after which all nodes are requested: the grid is busy, and a
#: place in its queue is worth having.
QUEUED_SECONDS = 10.0

# Sizes of chunks

FIRST_ITEMS = 10_000  # of the first chunks: enough to learn from, and soon back
FIRST_READ_ITEMS = 64  # the same if it is not known how many items there are
MAX_ITEMS, MAX_READ_ITEMS = 2**20, 50_000  # those that are read take up memory
MAX_BYTES = 16 * 2**20  # of arguments, and of results
MIN_SECONDS = 0.2  # many times what a chunk costs
#: Dask's scheduler should spend a quarter of its time on chunks at most. One costs it
#: 2.5 ms (measured), so each slot may end one every 10 ms times slots.
SECONDS_PER_SLOT = 0.01
SHARES = 3  # chunks for each slot into which the rest is cut, for an even end,
MIN_LAST_SECONDS = 0.01  # but not into shorter ones
LONG_SECONDS = 1.0  # an item that takes longer is not sent before a slot is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Items in a row."""

    start: int  # index of the first in the input
    items: Sequence[Any]
    failed: int = 0  # times the function has raised for these
    deaths: tuple[BaseException, ...] = ()  # one for each worker that died with these

    def part(self, first: int, last: int) -> Chunk:
        """Items `first` to `last`, counted from the chunk's first."""
        return replace(self, start=self.start + first, items=self.items[first:last])

    def serialize(self) -> Serialized:
        """Pickle the items; the error names the item that cannot be."""
        try:
            return Serialized.of(self.items, "the items")
        except NotPicklable:
            for index, item in enumerate(self.items, self.start):
                Serialized.of(item, f"item {index}")
            raise


class ItemSource:
    """Deals out the items, first those that were put back.

    Lists, tuples, ranges and arrays are sliced. Other iterables are read: in a thread
    and no further than needed if `lazy`, otherwise here and completely.
    """

    def __init__(self, items: Iterable[Any], *, lazy: bool = False) -> None:
        self._put_back: list[Chunk] = []
        self._reader: _Reader | None = None
        self._items: Sequence[Any] = ()
        if _is_sliceable(items):
            self._items = items  # type: ignore[assignment]
        elif lazy:
            self._reader = _Reader(iter(items))
        else:
            self._items = list(items)
        #: Number of items; None if it is not known yet.
        self.total = None if self._reader else len(self._items)
        #: The same for a progress bar: an iterable may yield another number.
        self.expected = self.total
        with contextlib.suppress(Exception):  # it need not have a length
            self.expected = len(items)  # type: ignore[arg-type]
        self.dealt = 0  # items, each counted once
        self.error: BaseException | None = None  # what the iterable has raised

    @property
    def remaining(self) -> int | None:
        """Number of items to be dealt out; None if it is not known."""
        if self.total is None:
            return None
        return self.total - self.dealt + sum(len(c.items) for c in self._put_back)

    @property
    def has_put_back(self) -> bool:
        """Whether items were put back, and not dealt out again."""
        return bool(self._put_back)

    @property
    def is_reading(self) -> bool:
        """Whether `take` may give items later though it gives none now."""
        return self._reader is not None and self._reader.is_open

    def take(self, count: int) -> Chunk | None:
        """The next chunk of at most `count` items; None at the end, or if not read."""
        if self._put_back:
            chunk = self._put_back.pop(0)
            if len(chunk.items) > count:
                self.put_back(chunk.part(count, len(chunk.items)))
            return chunk.part(0, count)
        if self._reader is not None:
            items: Sequence[Any] = self._reader.take(count)
            if not self._reader.is_open:
                self.total, self.error = self.dealt + len(items), self._reader.error
        else:
            items = self._items[self.dealt : min(self.dealt + count, self.total or 0)]
        if not len(items):
            return None
        chunk = Chunk(start=self.dealt, items=items)
        self.dealt += len(items)
        return chunk

    def on_ready(self, wake: Callable[[], None]) -> None:
        """Call this when as many items were read as were asked for."""
        if self._reader is not None:
            self._reader.wake = wake

    def put_back(self, chunk: Chunk) -> None:
        """Deal these out again before others, the lowest index first."""
        self._put_back.append(chunk)
        self._put_back.sort(key=lambda chunk: chunk.start)

    def cut(self, index: int) -> None:
        """Forget the items from this index on."""
        kept = [c for c in self._put_back if c.start < index]
        self._put_back = [c.part(0, index - c.start) for c in kept]
        self.total = self.dealt
        self.close()

    def peek(self, size: int) -> Iterator[Chunk]:
        """All items that need not be read, without taking them."""
        for start in range(0, self.total or 0, size):
            yield Chunk(start=start, items=self._items[start : start + size])

    def close(self) -> None:
        """Read no further; does not wait for an iterable that blocks."""
        if self._reader is not None:
            self._reader.close()


_END = object()


class _Reader:
    """Iterates in a daemon thread, no further than was asked for."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._count = 0  # of items to have ready
        self._asked = 0.0  # since when more were asked for than are ready; 0 is not
        self._started = self._closed = self._ended = False
        self.error: BaseException | None = None
        self.wake: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return not self._closed and (not self._ended or bool(self._items))

    def take(self, count: int) -> list[Any]:
        """Up to `count` items, fewer if no more are read in time; never waits."""
        if not self._started and not self._closed:
            self._started = True
            # With the caller's context, e.g. the precision of decimal.
            run = contextvars.copy_context().run
            threading.Thread(
                target=run, args=(self._read,), name="gridengine-input", daemon=True
            ).start()
        with self._changed:
            ended = self._ended  # looked at before the items: the thread goes on
            ready = min(count, len(self._items))
            if ready < count and not ended:
                self._count = count
                self._changed.notify()
                now = time.monotonic()
                self._asked = self._asked or now
                if not ready or now - self._asked < READ_SECONDS:
                    return []
            self._asked = 0.0
            return [self._items.popleft() for _ in range(ready)]

    def close(self) -> None:
        with self._changed:
            self._closed, self.wake = True, lambda: None
            self._changed.notify()

    def _read(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._closed or len(self._items) < self._count
                    )
                    missing = self._count - len(self._items)
                    self._count = 0
                if self._closed:
                    return
                # Each item can be taken as soon as it was read, also before an error.
                self._items.extend(itertools.islice(self._iterator, missing - 1))
                if (last := next(self._iterator, _END)) is _END:
                    return
                self._items.append(last)
                self.wake()
        except BaseException as exc:  # noqa: BLE001 - raised where the map runs
            self.error = exc
        finally:
            self._ended = True
            self.wake()


def _is_sliceable(items: object) -> bool:
    kind = type(items)
    is_array = (kind.__module__, kind.__name__) == ("numpy", "ndarray")
    return kind in (list, tuple, range) or (is_array and getattr(items, "ndim", 0) > 0)


class ChunkSizer:
    """Chooses how many items make a chunk, from the time and bytes of earlier ones.

    A chunk costs Dask some milliseconds, so it should hold work for longer than that.
    But the last chunks should be short, so that all workers end at about the same time,
    and a chunk must not be too large to send.
    """

    def __init__(self, chunksize: int | None = None) -> None:
        self.chunksize = chunksize
        self.seconds, self.bytes_sent, self.bytes_back = _Mean(), _Mean(), _Mean()
        self._first_chunks = 0

    def time_limit(self, slots: int) -> float | None:
        """Seconds after which a worker returns the rest of a chunk; None is never."""
        return None if self.chunksize else 2 * self._target(slots)

    def max_pending(self, remaining: int | None, slots: int) -> int:
        """Number of chunks to have at the workers.

        A second one for each slot hides the way there and back. It is not sent if the
        items are long, since another slot could begin it sooner.
        """
        if self.seconds.each is None:
            second = remaining is not None and remaining > FIRST_ITEMS * slots
        else:
            second = self.seconds.each < LONG_SECONDS
        return 2 * slots if second else slots

    def next_size(self, remaining: int | None, slots: int) -> int:
        """Number of items of the next chunk; `remaining` is None if not known."""
        if self.chunksize:
            return self.chunksize
        heaviest = max(self.bytes_sent.each or 0, self.bytes_back.each or 0)
        portable = MAX_BYTES / heaviest if heaviest else math.inf
        # Guided self-scheduling: a share of the rest, so chunks shrink at the end.
        share = math.inf if remaining is None else remaining / (SHARES * slots)
        size, each = min(share, portable), self.seconds.each
        if each is None and remaining is None:
            most: float = FIRST_READ_ITEMS
        elif each is None:
            # Those behind the first of each slot may be large.
            self._first_chunks += 1
            most = FIRST_ITEMS if self._first_chunks <= slots else math.inf
        else:
            if each > 0:
                timely = self._target(slots) / each + 0.5  # rounded, not cut
                size = max(min(size, timely), MIN_LAST_SECONDS / each)
            most = MAX_READ_ITEMS if remaining is None else min(remaining, MAX_ITEMS)
        return max(1, int(min(size, portable, most)))

    def _target(self, slots: int) -> float:
        return max(MIN_SECONDS, SECONDS_PER_SLOT * slots)


class _Mean:
    """A running mean for each item, in which older amounts count half as much."""

    def __init__(self) -> None:
        self._amount = self._items = 0.0

    def add(self, amount: float, items: int) -> None:
        self._amount = self._amount / 2 + amount
        self._items = self._items / 2 + items

    @property
    def each(self) -> float | None:
        return self._amount / self._items if self._items else None


@dataclass(eq=False, slots=True)
class PendingChunk:
    """A chunk that was sent, and then how it ended."""

    chunk: Chunk
    alone: bool  # whether nothing else was sent
    future: Future | None = None
    task: asyncio.Task[None] | None = None
    result: ChunkResult | None = None
    error: BaseException | None = None


class ChunkSubmitter:
    """Sends chunks to workers, and receives their results in the client's event loop.

    Not by `distributed.as_completed`: it cannot send large arguments meanwhile, and it
    fetches results through the scheduler if the client was not made for
    ``direct_to_workers``.
    """

    def __init__(
        self,
        client: Client,
        function: Serialized,
        name: str,
        scheduler: Scheduler | ClientScheduler,
    ) -> None:
        self._client, self._function, self._name = client, function, name
        self._direct, self._inline_bytes = scheduler.direct, scheduler.inline_bytes
        self._shared: Future | None = None
        self._ended: queue.SimpleQueue[PendingChunk | None] = queue.SimpleQueue()

    def submit(self, pending: PendingChunk, items: Serialized, *how: Any) -> None:
        """Send a chunk; `how` are the other arguments of `run_chunk`."""
        taken = threading.Event()

        def start() -> None:
            pending.task = asyncio.ensure_future(self._run(pending, items, *how))
            asyncio.get_running_loop().call_soon(taken.set)

        self._client.loop.add_callback(start)
        # Otherwise this thread would pickle the next chunk, and hold the interpreter,
        # while the workers wait for the first.
        taken.wait(TAKE_SECONDS)

    def next_ended(self, timeout: float) -> PendingChunk | None:
        """The next chunk that has ended; None after `timeout` seconds or `wake`."""
        try:
            return self._ended.get(timeout=timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Have `next_ended` return."""
        self._ended.put(None)

    def cancel(
        self, chunks: Collection[PendingChunk], kill_after: float | None, begun: bool
    ) -> None:
        """Cancel chunks, which then never end here. Returns at once.

        Nothing can interrupt a function. A worker that is still running one of these
        after so many seconds is killed and replaced; None lets it run. If it is known
        that they have begun, the workers are not asked.
        """
        self._client.loop.add_callback(self._cancel, list(chunks), kill_after, begun)

    async def _run(self, pending: PendingChunk, items: Serialized, *how: Any) -> None:
        try:
            is_large = items.nbytes > self._inline_bytes
            pending.future = self._client.submit(
                run_chunk,
                self._share_function(),
                await self._scatter(items) if is_large else items,
                *how,
                key=f"{self._name}-{uuid.uuid4().hex}",
                pure=False,
            )
            pending.result = await self._fetch(pending.future)
        except Exception as exc:  # noqa: BLE001 - judged where the chunk is known
            pending.error = exc
        if pending.future is not None:
            pending.future.release()
        self._ended.put(pending)

    async def _fetch(self, future: Future) -> ChunkResult:
        """Wait for a result and get it, from the worker that has it by then.

        Not by `Client.gather`: it tries for 30 s to reach a worker that has just died
        (measured), and logs an error if it is cancelled.
        """
        scheduler, key = self._client.scheduler, future.key
        while True:
            if (error := await future.exception()) is not None:
                raise error
            if not self._direct:
                return await self._client.gather(future, asynchronous=True)  # type: ignore[no-any-return]
            who_has = await scheduler.who_has(keys=[key])
            fetching = asyncio.ensure_future(
                gather_from_workers(who_has, rpc=self._client.rpc)
            )
            try:
                while not (await asyncio.wait({fetching}, timeout=FETCH_SECONDS))[0]:
                    now = await scheduler.who_has(keys=[key])
                    if not set(who_has.get(key, ())).intersection(now.get(key, ())):
                        break  # it is lost, and is computed again
                else:
                    if key in (found := fetching.result()[0]):
                        return found[key]  # type: ignore[no-any-return]
            finally:
                fetching.cancel()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _scatter(self, items: Serialized) -> Future:
        while True:
            # It fails without workers, and if one leaves in this moment.
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                return await self._client.scatter(
                    items, direct=self._direct, hash=False, asynchronous=True
                )

    def _share_function(self) -> Serialized | Future:
        if self._function.nbytes <= SHARED_BYTES:
            return self._function
        if self._shared is None or self._shared.status in ("cancelled", "error"):
            # As a task rather than by scatter, since a lost result is computed again.
            self._shared = self._client.submit(
                _identity, self._function, key=f"function-{uuid.uuid4().hex}"
            )
        return self._shared

    async def _cancel(
        self, chunks: list[PendingChunk], kill_after: float | None, begun: bool
    ) -> None:
        for pending in chunks:
            if pending.task is not None:
                pending.task.cancel()
        futures = [pending.future for pending in chunks if pending.future is not None]
        keys = {future.key for future in futures}
        with contextlib.suppress(Exception):  # the cluster closes, and ends them too
            processing = await self._client.scheduler.processing(workers=None)
            held = [a for a, found in processing.items() if keys.intersection(found)]
            if begun and kill_after is not None:
                await self._kill(held)
            await self._client.cancel(futures, asynchronous=True, force=True)
            if kill_after is not None:
                await asyncio.sleep(kill_after)
                for address in held:
                    await self._kill_if_running(address, keys)

    async def _kill_if_running(self, address: str, keys: set[Any]) -> None:
        # Not by `Client.restart_workers`, which waits 4 s for the task to end.
        def kill_self(dask_worker: Any) -> None:
            if any(task.key in keys for task in dask_worker.state.executing):
                os.kill(os.getpid(), signal.SIGKILL)

        asking = self._client.run(
            kill_self, workers=[address], on_error="ignore", asynchronous=True
        )
        try:
            await asyncio.wait_for(asking, ANSWER_SECONDS)
        except asyncio.TimeoutError:
            # Compiled code holds the interpreter, so that the worker cannot answer.
            await self._kill([address])

    async def _kill(self, addresses: list[str]) -> None:
        """Kill worker processes by their nannies, if they have one."""

        def kill_worker(dask_worker: Any) -> None:
            os.kill(dask_worker.process.pid, signal.SIGKILL)

        killing = {"workers": addresses, "on_error": "ignore", "asynchronous": True}
        await self._client.run(kill_worker, nanny=True, **killing)


def _identity(function: Serialized) -> Serialized:
    return function


@dataclass(frozen=True, slots=True)
class Block:
    """Results of items in a row."""

    start: int  # index of the first item
    values: list[Any]
    failures: dict[int, BaseException] = field(default_factory=dict)  # by offset


class Mapping:
    """One run of a function over items, on a scheduler.

    Parameters
    ----------
    stop
        Whether a failure ends the run: items before it are still run, items behind it
        are not, and the first failure in the order of the items becomes `error`.
    session
        Gives the client; by default the scheduler's for all items.
    on_sent, on_tick
        Called once when the first chunks were sent; four times a second. What `on_tick`
        raises ends the run.
    run
        Of the one item, a job: it is not run again if its worker dies after it began.
    kill_after
        See `ChunkSubmitter.cancel`.
    """

    def __init__(
        self,
        scheduler: Scheduler | ClientScheduler,
        function: Callable[[Any], Any],
        name: str,
        source: ItemSource,
        *,
        chunksize: int | None = None,
        retries: int = 0,
        stop: bool = False,
        ordered: bool = False,
        session: Callable[[], AbstractContextManager[Client]] | None = None,
        on_sent: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
        run: Run | None = None,
        kill_after: float = KILL_SECONDS,
    ) -> None:
        self._scheduler, self._source, self._name = scheduler, source, name
        self._function = Serialized.of(function, name)
        self._sizer = ChunkSizer(chunksize)
        self._retries, self._stop, self._ordered = retries, stop, ordered
        self._session = session or partial(scheduler.session, source.total)
        self._on_sent, self._on_tick, self._run_of_job = on_sent, on_tick, run
        self._kill_after = kill_after if scheduler.owns_workers else None
        self._submitter: ChunkSubmitter
        self._pending: set[PendingChunk] = set()
        self._suspects: list[Chunk] = []  # each may have ended a worker
        self._error: tuple[int, BaseException] | None = None
        self._ticked = 0.0
        self._started = self._worked = 0.0  # when there was a client, a worker
        self._needs_items = False  # whether a chunk would be sent if items were read
        self._early: dict[int, Block] = {}  # by start, if in order
        self._next = 0  # start of the next block in order

    @property
    def error(self) -> BaseException | None:
        """What ended the run. Not raised: a StopIteration could not be, in here."""
        return self._error[1] if self._error else None

    def blocks(self) -> Generator[Block, None, None]:
        """Run, and yield results as they come.

        If the generator is closed, or raises, chunks at the workers are cancelled. What
        cannot be pickled is an error before anything is started, as far as it is found.
        """
        with contextlib.closing(self._source):
            self._check_items()
            if (first := self._first_chunk()) is not None:
                items = first.serialize()
                with self._session() as client:
                    yield from self._run(client, first, items)
            if self._source.error is not None:
                raise self._source.error

    def _run(self, client: Client, first: Chunk, items: Serialized) -> Iterator[Block]:
        self._submitter = ChunkSubmitter(
            client, self._function, self._name, self._scheduler
        )
        self._started = time.monotonic()
        self._source.on_ready(self._submitter.wake)
        try:
            self._submit(first, items)
            self._submit_more()
            self._on_sent()
            while self._pending or self._suspects or self._source.is_reading:
                wait = READ_SECONDS if self._needs_items else TICK
                ended = self._submitter.next_ended(wait)
                self._tick()
                if ended is not None and ended in self._pending:
                    self._pending.remove(ended)
                    for block in self._receive(ended):
                        yield from self._in_order(block)
                self._submit_more()
        finally:
            self._cancel(self._pending)

    def _cancel(self, chunks: Collection[PendingChunk]) -> None:
        if chunks:
            begun = self._run_of_job is not None and self._run_of_job.has_begun()
            self._submitter.cancel(chunks, self._kill_after, begun)

    def _tick(self) -> None:
        if (now := time.monotonic()) - self._ticked < TICK:
            return
        self._ticked = now
        self._on_tick()
        if self._started:
            self._scheduler.check()
            self._request_nodes(now)
            if self._source.remaining == 0 and not self._suspects:
                self._scheduler.release_unneeded_nodes(len(self._pending))

    def _request_nodes(self, now: float) -> None:
        """Tell the scheduler how much work is left, as far as that is known."""
        each = self._sizer.seconds.each
        if not self._scheduler.counts().running:
            each = math.inf if now - self._started >= QUEUED_SECONDS else None
        else:
            self._worked = self._worked or now
            if each is None and now - self._worked >= FIRST_RESULT_SECONDS:
                each = now - self._worked  # at least: none is back yet
        if each is None:
            return
        if (remaining := self._source.remaining) is not None:
            items = remaining + sum(len(p.chunk.items) for p in self._pending)
            self._scheduler.request_nodes(items, each * items)
        elif not self._needs_items:
            # As many again as there were, since their number is not known.
            self._scheduler.request_nodes(None, each * self._source.dealt)

    # Sending

    def _check_items(self) -> None:
        warm = self._scheduler.counts().running > 0
        deadline = time.monotonic() + (CHECK_WARM_SECONDS if warm else CHECK_SECONDS)
        for chunk in self._source.peek(1000):
            chunk.serialize()
            if time.monotonic() > deadline:
                break

    def _first_chunk(self) -> Chunk | None:
        """Wait for the first items; None for an empty input."""
        while (chunk := self._next_chunk(self._scheduler.slots())) is None:
            if not self._source.is_reading:
                return None
            time.sleep(READ_SECONDS)
            self._tick()
        return chunk

    def _submit_more(self) -> None:
        self._needs_items = False
        if any(pending.alone for pending in self._pending):
            return
        slots = self._scheduler.slots()
        while self._has_room(slots):
            chunk = self._next_chunk(slots)
            if chunk is None:
                self._needs_items = self._source.is_reading
                break
            self._submit(chunk, chunk.serialize())
        if self._suspects and not self._pending:
            suspect = self._suspects.pop(0)
            self._submit(suspect, suspect.serialize(), alone=True)

    def _has_room(self, slots: int) -> bool:
        # Endless items must not put suspects off for ever. And one of them may end the
        # run: then other items need not be run, which may end workers, too.
        if self._suspects and (self._stop or self._source.total is None):
            return False
        pending = len(self._pending)
        too_early = pending + len(self._early) >= MAX_AHEAD * slots
        # What was put back is what the others wait for.
        if self._ordered and too_early and not self._source.has_put_back:
            return False
        return pending < self._sizer.max_pending(self._source.remaining, slots)

    def _next_chunk(self, slots: int) -> Chunk | None:
        size = self._sizer.next_size(self._source.remaining, slots)
        chunk = self._source.take(size)
        if chunk is None or self._sizer.chunksize or self._sizer.bytes_sent.each:
            return chunk
        # Nothing is known of their size yet.
        count = max(1, MAX_BYTES // max(1, size_of(chunk.items[0])))
        if count < len(chunk.items):
            self._source.put_back(chunk.part(count, len(chunk.items)))
        return chunk.part(0, count)

    def _submit(self, chunk: Chunk, items: Serialized, *, alone: bool = False) -> None:
        self._sizer.bytes_sent.add(items.nbytes, len(chunk.items))
        pending = PendingChunk(chunk, alone)
        self._pending.add(pending)
        seconds = self._sizer.time_limit(self._scheduler.slots())
        self._submitter.submit(pending, items, seconds, self._stop)

    # Receiving

    def _receive(self, ended: PendingChunk) -> Iterator[Block]:
        if ended.result is not None:
            yield from self._accept(ended.chunk, ended.result)
            return
        assert ended.error is not None
        self._scheduler.check()  # its reason is better than the chunk's error
        if not isinstance(ended.error, DEATHS):
            raise ended.error  # NodesFailed among them: the same for all chunks
        yield from self._handle_death(ended, ended.error)

    def _accept(self, chunk: Chunk, result: ChunkResult) -> Iterator[Block]:
        values: list[Any] = result.values.load()
        self._sizer.seconds.add(result.seconds, len(values))
        self._sizer.bytes_back.add(result.values.nbytes, len(values))
        if len(values) < len(chunk.items):
            self._source.put_back(chunk.part(len(values), len(chunk.items)))
        failures = result.failures
        if failures and chunk.failed < self._retries:
            first = 0
            for offset in [failure.index for failure in failures]:
                yield Block(chunk.start + first, values[first:offset])
                again = chunk.part(offset, offset + 1)
                self._source.put_back(replace(again, failed=chunk.failed + 1))
                first = offset + 1
            yield Block(chunk.start + first, values[first:])
        elif failures and self._stop:
            offset = failures[0].index
            yield Block(chunk.start, values[:offset])
            self._fail(chunk.start + offset, failures[0].rebuild(chunk.start))
        else:
            start = None if self._run_of_job else chunk.start
            errors = {failure.index: failure.rebuild(start) for failure in failures}
            yield Block(chunk.start, values, errors)

    def _handle_death(
        self, ended: PendingChunk, error: BaseException
    ) -> Iterator[Block]:
        """Find out which item of the chunk has ended its worker, if any of them did."""
        chunk = ended.chunk
        if len(chunk.items) > 1:
            size = -(-len(chunk.items) // PARTS)
            for first in range(0, len(chunk.items), size):
                self._source.put_back(chunk.part(first, first + size))
            return
        deaths, item = (*chunk.deaths, error), chunk.items[0]
        index: int | None = chunk.start
        text = short_repr(item)
        is_found = ended.alone and len(deaths) >= MAX_DEATHS
        if (run := self._run_of_job) is not None:
            index, text, is_found = None, run.title, run.has_begun()
        if not is_found:
            self._suspects.append(replace(chunk, deaths=deaths))
            return
        died = WorkerDied(index, text, len(deaths), _reasons(deaths), self._stop)
        if self._stop:
            self._fail(chunk.start, died)
        else:
            yield Block(chunk.start, [None], {0: died})

    def _fail(self, index: int, error: BaseException) -> None:
        """End the run, but for the items before this one."""
        if self._error is not None and self._error[0] < index:
            return
        self._error = (index, error)
        self._source.cut(index)
        self._suspects = [chunk for chunk in self._suspects if chunk.start < index]
        behind = {p for p in self._pending if p.chunk.start > index}
        self._pending -= behind
        self._cancel(behind)

    def _in_order(self, block: Block) -> Iterator[Block]:
        if not block.values:
            return  # another block has the same start
        if not self._ordered:
            yield block
            return
        self._early[block.start] = block
        while (ready := self._early.pop(self._next, None)) is not None:
            self._next += len(ready.values)
            yield ready


def _reasons(deaths: Iterable[BaseException]) -> str:
    """Why workers died: the notes of the scheduler, or else Dask's message."""
    found = {}
    for error in deaths:
        for note in map(str, getattr(error, "__notes__", ())):
            if note.startswith(PREFIX):
                found[note.removeprefix(PREFIX)] = error
    return "\n".join(found) or str(error)
