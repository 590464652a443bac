"""Logs of others, kept back: Dask's, for as long as any cluster wants it so."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator

from distributed import Scheduler
from distributed.utils import silence_logging_cmgr

#: Of what is lost when workers go, in distributed 2026.8.
LOST = (
    "caused the cluster to lose already computed",
    "Could not retire worker",
    "Tried retiring worker",
)
_WORKER = re.compile(r"worker '?([a-z]+://[^\s',]+)")


@contextlib.contextmanager
def silenced(level: str | int) -> Iterator[None]:
    """Let Dask's log handlers show nothing below this level.

    Clusters close in any order. While several are open the highest of their levels
    holds, and with the last one the handlers get back what they had: to restore at each
    close would let the others' logs through.

    Parameters
    ----------
    level
        Number or name of a level, as in `logging`.
    """
    wanted = getattr(logging, level.upper()) if isinstance(level, str) else int(level)
    with _lock:
        _wanted.append(wanted)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _wanted.remove(wanted)
            _apply()


@contextlib.contextmanager
def suppress_close_messages(scheduler: Scheduler | None) -> Iterator[None]:
    """Keep back what tells nobody anything, at the end of a good run.

    Messages of other clusters in this process pass: only lost results of this
    scheduler's workers are filtered.

    *Late handshakes*: a node that is stopped amid its TLS handshake makes distributed
    log two tracebacks, with the address of a listener that has none any more
    (`TLSListener._prepare_stream`, seen with distributed 2026.8).

    *Lost results*: where a client still holds results, the scheduler warns for each
    worker that they cannot be moved, and are gone, with every key, which may be pages.
    Closing is meant to do that.

    Parameters
    ----------
    scheduler
        Of the cluster that closes; None if there never was one.
    """
    # Each call has its own filters: several clusters may close at the same time.
    no_lost_result = _NoLostResult(scheduler)
    kept: list[tuple[logging.Logger, Callable[[logging.LogRecord], bool]]] = [
        (logging.getLogger("tornado.application"), lambda r: _no_late_handshake(r)),
        (logging.getLogger("distributed.scheduler"), no_lost_result),
        (logging.getLogger("distributed.active_memory_manager"), no_lost_result),
    ]
    for log, filtered in kept:
        log.addFilter(filtered)
    try:
        yield
    finally:
        for log, filtered in kept:
            log.removeFilter(filtered)


def _no_late_handshake(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ValueError) and "non-started TCPL" in str(error))


class _NoLostResult:
    """A log filter that drops records of data lost by one scheduler's workers."""

    def __init__(self, scheduler: Scheduler | None) -> None:
        self._scheduler = scheduler
        self._addresses: set[str] = set()  # also of workers that have gone since
        self._look()

    def __call__(self, record: logging.LogRecord) -> bool:
        self._look()
        text = str(record.msg)
        if not any(lost in text for lost in LOST):
            return True
        found = _WORKER.search(text)
        return found is None or found[1] not in self._addresses

    def _look(self) -> None:
        if self._scheduler is not None:
            self._addresses.update(dict.keys(self._scheduler.workers))


def _apply() -> None:
    _restore.close()
    if _wanted:
        _restore.enter_context(silence_logging_cmgr(level=max(_wanted)))


_lock = threading.Lock()
_wanted: list[int] = []  # by each open cluster
_restore = contextlib.ExitStack()
