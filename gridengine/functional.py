"""`map` and its kin: a function over many items, on many workers."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from distributed import Client

from dask_gridengine.option_parsing import whole
from gridengine import schedulers
from gridengine._mapping import Block, ItemSource, Mapping
from gridengine._progress import Progress


def isexception(x: object) -> bool:
    """Whether the value is an exception, as ``map(..., reraise=False)`` returns it."""
    return isinstance(x, Exception)


def isnumeric(x: Any) -> bool:
    """Whether the value can be converted to a number."""
    try:
        float(x)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def partial(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`functools.partial` with a name, and the module and docstring of the function.

    Examples
    --------
    >>> partial(pow, 2).__name__
    'pow_2'
    """
    made: Any = functools.partial(f, *args, **kwargs)
    words = [_word(value) for value in [*args, *kwargs.values()]]
    made.__doc__, made.__module__ = f.__doc__, f.__module__
    made.__name__ = "_".join([_name(f), *words])
    return made


def map(
    f: Callable[[Any], Any],
    args: Iterable[Any],
    scheduler: Any = schedulers.best_available,
    reraise: bool = True,
    *,
    chunksize: int | None = None,
    progress: bool | None = None,
    client: Client | None = None,
    retries: int = 0,
) -> list[Any]:
    """``[f(x) for x in args]``, computed on workers.

    Parameters
    ----------
    f
        Any callable, also a lambda or one of ``__main__``.
    args
        Any iterable that ends; it is read before anything starts.
    scheduler
        A scheduler, or a class or another callable that makes one. What is made from a
        class is closed again; an instance, and the default, stay warm.
    reraise
        Whether to raise the exception of the first item, in the order of the items,
        that has one. Otherwise exceptions stand in the place of results.
    chunksize
        Items to send at a time; by default measured.
    progress
        Whether to show a bar; by default on a terminal and in a notebook.
    client
        A Dask client to use instead of a scheduler.
    retries
        How often to run an item again if `f` raises.

    Raises
    ------
    NotPicklable
        If `f` or an item cannot be sent; it names the part.
    WorkerDied
        If an item ended its worker process each time.
    NodesFailed
        If no worker will come; with the reasons. Nodes that are lost are replaced, and
        the map goes on.
    Exception
        Whatever `f` raises: of the same type, with the worker's traceback as its cause.
    """
    options = _checked(f, chunksize, retries)
    running = _running(
        f, ItemSource(args), scheduler, client, progress, stop=reraise, **options
    )
    with running as (mapping, blocks):
        found = _collect(blocks)
        if mapping.error is not None:
            raise mapping.error
        return found


def starmap(
    f: Callable[..., Any],
    args: Iterable[Iterable[Any]],
    scheduler: Any = schedulers.best_available,
    reraise: bool = True,
    **options: Any,
) -> list[Any]:
    """``[f(*x) for x in args]``, computed on workers; otherwise as `map`."""
    return map(_Star(f), args, scheduler, reraise, **options)


def imap(
    f: Callable[[Any], Any],
    iterable: Iterable[Any],
    scheduler: Any = schedulers.best_available,
    reraise: bool = True,
    *,
    chunksize: int | None = None,
    progress: bool | None = None,
    client: Client | None = None,
    retries: int = 0,
) -> Results:
    """Results one by one, in the order of the items, as the builtin `map` gives them.

    The iterable may be endless, huge or slow: it is read no further ahead than the
    workers need, and not before the first result is requested. A result is delivered as
    soon as it is computed, also while the iterable is waiting, for example for an
    earlier result.

    Parameters
    ----------
    f, scheduler, progress, client, retries
        As for `map`.
    chunksize
        As for `map`; fewer are sent if the iterable is slow and workers are idle.
    iterable
        Any iterable. It is iterated in a thread of its own. If it raises, the results
        of the items before that are delivered first.
    reraise
        Whether ``next()`` raises if an item has failed; the one after gives the next
        item's result, as with the builtin. Otherwise it returns the exception.

    Returns
    -------
    Results
        An iterator with ``close()``, which is also a context manager. Several threads
        may share it: each result goes to one of them.
    """
    options = _checked(f, chunksize, retries)
    source = ItemSource(iterable, lazy=True)
    return Results(f, source, scheduler, client, progress, reraise, True, **options)


def imap_unordered(
    f: Callable[[Any], Any],
    iterable: Iterable[Any],
    scheduler: Any = schedulers.best_available,
    reraise: bool = True,
    *,
    chunksize: int | None = None,
    progress: bool | None = None,
    client: Client | None = None,
    retries: int = 0,
) -> Results:
    """As `imap`, but each result as soon as it is there."""
    options = _checked(f, chunksize, retries)
    source = ItemSource(iterable, lazy=True)
    return Results(f, source, scheduler, client, progress, reraise, False, **options)


class Results(Iterator[Any]):
    """Results as they come; made by `imap` and `imap_unordered`.

    Several threads may take results from it, and close it.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        source: ItemSource,
        scheduler: Any,
        client: Client | None,
        progress: bool | None,
        reraise: bool,
        ordered: bool,
        **options: Any,
    ) -> None:
        self._reraise = reraise
        self._closing = threading.Event()
        running = _running(
            f,
            source,
            scheduler,
            client,
            progress,
            closing=self._closing,
            ordered=ordered,
            **options,
        )
        self._blocks = _stream(running)
        self._next_block = threading.RLock()  # held by the thread that runs `_blocks`
        # What is left of the last block, and its failures. Threads share it without the
        # lock: advancing an enumerate is one step.
        self._current: tuple[Iterator[tuple[int, Any]], dict[int, BaseException]]
        self._current = iter(()), {}

    def __next__(self) -> Any:
        while True:
            values, failures = current = self._current
            for offset, value in values:
                if offset not in failures:
                    return value
                if self._reraise:
                    raise failures[offset]
                return failures[offset]
            with self._next_block:
                if self._current is current:  # no other thread was faster
                    block = next(self._blocks)
                    self._current = enumerate(block.values), block.failures

    def close(self) -> None:
        """Cancel the items at the workers; idempotent, done at the latest by `del`.

        Threads that wait for a result get a StopIteration.
        """
        self._closing.set()
        with self._next_block:
            self._current = iter(()), {}
            self._blocks.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Closed(Exception):
    """Another thread has closed the results."""


@contextlib.contextmanager
def _running(
    f: Callable[[Any], Any],
    source: ItemSource,
    scheduler: Any,
    client: Client | None,
    progress: bool | None,
    *,
    closing: threading.Event | None = None,
    **options: Any,
) -> Iterator[tuple[Mapping, Generator[Block, None, None]]]:
    """A mapping with a progress bar, where the caller wants it; and its blocks."""

    def tick() -> None:
        bar.tick()
        if closing is not None and closing.is_set():
            raise _Closed

    def counted() -> Generator[Block, None, None]:
        for block in blocks:
            bar.done(len(block.values))
            yield block

    made = schedulers.get_scheduler(scheduler, client)
    is_ours = client is None and isinstance(scheduler, type)
    with (
        contextlib.closing(made) if is_ours else contextlib.nullcontext(),
        Progress(made.counts, source.expected, progress) as bar,
    ):
        mapping = Mapping(made, f, _name(f), source, on_tick=tick, **options)
        with contextlib.closing(mapping.blocks()) as blocks:
            yield mapping, counted()


def _stream(running: Any) -> Generator[Block, None, None]:
    with contextlib.suppress(_Closed), running as (_, blocks):
        yield from blocks


def _collect(blocks: Iterable[Block]) -> list[Any]:
    """All values in the order of the items, failures among them."""
    found: list[Any] = []
    waiting: dict[int, Block] = {}
    for block in blocks:
        waiting[block.start] = block
        for offset, error in block.failures.items():
            block.values[offset] = error
        while (ready := waiting.pop(len(found), None)) is not None:
            found.extend(ready.values)
    return found


def _checked(f: object, chunksize: object, retries: object) -> dict[str, Any]:
    """Options of a `Mapping`."""
    if not callable(f):
        raise TypeError(f"'{type(f).__name__}' object is not callable: {f!r}")
    if chunksize is not None:
        chunksize = whole(chunksize, "chunksize", least=1)
    return {"chunksize": chunksize, "retries": whole(retries, "retries", least=0)}


class _Star:
    """Calls a function with the items of its argument."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        self.__name__ = _name(f)

    def __call__(self, args: Iterable[Any]) -> Any:
        return self.f(*args)


def _name(f: Any) -> str:
    name = getattr(f, "__name__", None)
    return name if isinstance(name, str) else type(f).__name__


def _word(value: Any) -> str:
    if isinstance(name := getattr(value, "__name__", None), str):
        return name
    return str(value)[:5] if isnumeric(value) else type(value).__name__
