"""What runs on a worker: some items in a row, for no longer than asked.

A chunk is bounded in time rather than in items: nobody knows beforehand how long an
item takes. When its time is up a worker returns what it has; the rest goes back to the
host, which deals it out again. So a slow item holds back nobody's but its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gridengine.errors import NotPicklable
from gridengine.failure import Failure
from gridengine.sealed import Sealed, weigh

#: Bytes of results, as the last one weighs, from which a worker returns what it has.
MOST_RESULT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What comes back of a chunk."""

    count: int  # of its items, from the first, that need not be run again
    values: Sealed  # list of that length; None where there is a failure
    failures: tuple[Failure, ...] = ()  # their indices count from the chunk's first
    seconds: float = 0.0  # spent in the function


@dataclass(slots=True)
class _Work:
    results: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def run_chunk(
    function: Sealed, items: Sealed, seconds: float | None, stop: bool
) -> Done:
    """Apply a function to items, one after the other.

    Parameters
    ----------
    function
        Takes one argument.
    items
        A sequence that can be sliced.
    seconds
        Begin no further item after so long, or when the results are heavy; None does
        all.
    stop
        Whether to end with the first failure.
    """
    call, arguments = function.open_once(), items.open()
    started = time.perf_counter()
    work = _run(call, arguments, seconds, stop)
    spent = time.perf_counter() - started
    values = _seal(work)
    return Done(
        count=len(work.results),
        values=values,
        failures=tuple(work.failures),
        seconds=spent,
    )


def _run(
    call: Callable[[Any], Any],
    arguments: Sequence[Any],
    seconds: float | None,
    stop: bool,
) -> _Work:
    work, late = _Work(), _Late(seconds)
    with late:
        size = 1
        while (done := len(work.results)) < len(arguments):
            block = arguments[done : done + size]
            if not _run_block(call, block, work, late.said) and stop:
                break
            room = MOST_RESULT_BYTES - weigh(work.results[-1]) * len(work.results)
            if late.said or (seconds is not None and room <= 0):
                break
            # Results are weighed by the last one, so more of them only bit by bit.
            size = min(10 * size, max(1, room // max(1, weigh(work.results[-1]))))
    return work


class _Late:
    """Says when the time is up, by a thread: looking at the clock costs 40 ns an item.

    Parameters
    ----------
    seconds
        The time; None is never up.
    """

    def __init__(self, seconds: float | None) -> None:
        self.said: list[bool] = []  # not empty any more once it is late
        self._timer: threading.Timer | None = None
        if seconds is not None:
            self._timer = threading.Timer(seconds, self.said.append, (True,))
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


def _run_block(
    call: Callable[[Any], Any], block: Sequence[Any], work: _Work, late: list[bool]
) -> bool:
    """Run to the end, the first failure or until it is late; whether all went well."""
    results = work.results
    first = len(results)
    append = results.append
    try:
        # Not extend(map(...)), which takes a StopIteration of the function for the end.
        for item in block:
            append(call(item))
            if late:
                break
    except BaseException as exc:  # noqa: BLE001 - also SystemExit is the user's own
        item = block[len(results) - first]
        work.failures.append(Failure.of(exc, len(results), item, _here()))
        append(None)
        return False
    return True


def _seal(work: _Work) -> Sealed:
    """Pickle the results; one that cannot be is a failure of its item."""
    try:
        return Sealed.of(work.results, "the results")
    except NotPicklable:
        for index, result in enumerate(work.results):
            try:
                Sealed.of(result, "the result")
            except NotPicklable as exc:
                work.failures.append(Failure.of(exc, index, result, _here()))
                work.results[index] = None
        work.failures.sort(key=lambda failure: failure.index)
        return Sealed.of(work.results, "the results")


def _here() -> str:
    """Name and host of the worker this runs on."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return ""  # called directly
    return f"{worker.name}@{worker.address.partition('://')[2].rpartition(':')[0]}"
