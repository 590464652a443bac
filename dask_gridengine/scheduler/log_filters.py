"""Filters of Dask's logs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import resource
import threading
from collections.abc import Iterator

from distributed import Scheduler
from distributed.utils import silence_logging_cmgr

from dask_gridengine.errors import GridEngineError

#: Messages on data that is lost with its workers (distributed 2026.8).
LOST = (
    "caused the cluster to lose already computed",
    "Could not retire worker",
    "Tried retiring worker",
)
_WORKER = re.compile(r"worker '?([a-z]+://[^\s',]+)")

_lock = threading.Lock()
_levels: list[int] = []  # of each open cluster
_restore = contextlib.ExitStack()


@contextlib.contextmanager
def silenced(level: str | int) -> Iterator[None]:
    """Have Dask's log handlers show nothing below this level.

    Clusters close in any order. While several are open the highest of their levels
    applies, and the last one restores the handlers: to restore at each close would let
    the other clusters' logs through.
    """
    number = getattr(logging, level.upper()) if isinstance(level, str) else int(level)
    with _lock:
        _levels.append(number)
        _apply_levels()
    try:
        yield
    finally:
        with _lock:
            _levels.remove(number)
            _apply_levels()


def _apply_levels() -> None:
    _restore.close()
    if _levels:
        _restore.enter_context(silence_logging_cmgr(level=max(_levels)))


def is_file_limit(error: BaseException | None) -> bool:
    """Whether an error says that this process has too many open files."""
    return isinstance(error, OSError) and error.errno == errno.EMFILE


def file_limit_error() -> GridEngineError:
    """Make the error of a process with too many open files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return GridEngineError(
        f"too many open files: this process may have {limit}, and each worker needs"
        " some",
        hint="ulimit -Hn shows the limit; admins raise it (nofile in"
        " /etc/security/limits.conf), or use fewer workers with more threads",
    )


@contextlib.contextmanager
def shortened_file_limit() -> Iterator[None]:
    """Log "too many open files" once, instead of a traceback for each connection."""
    logged = False

    def shorten(record: logging.LogRecord) -> bool:
        nonlocal logged
        if not (record.exc_info and is_file_limit(record.exc_info[1])):
            return True
        first, logged = not logged, True
        record.msg, record.args = str(file_limit_error()), ()
        record.exc_info = record.exc_text = None
        return first

    loggers = [logging.getLogger(n) for n in ("asyncio", "tornado.application")]
    for log in loggers:
        log.addFilter(shorten)
    try:
        yield
    finally:
        for log in loggers:
            log.removeFilter(shorten)


@contextlib.contextmanager
def suppress_close_messages(scheduler: Scheduler | None) -> Iterator[None]:
    """Suppress error messages that a normal close causes.

    *Lost results*: where a client still holds results, the scheduler logs for each
    worker that they cannot be moved, with every key, which may be pages. Only messages
    on workers of this `scheduler` are suppressed: other clusters may be in use.

    *Cancelled connections* to workers that are closing just then.

    *Late handshakes*: a node that is stopped during its TLS handshake makes distributed
    log that the handshake failed, or two tracebacks, with the address of a listener
    that has none any more (`TLSListener._prepare_stream`, seen with distributed
    2026.8).
    """
    # Each call has its own filters: several clusters may close at the same time.
    closing = _ClosingFilter(scheduler)
    loggers = [
        logging.getLogger(name)
        for name in (
            "tornado.application",
            "distributed.comm.tcp",
            "distributed.scheduler",
            "distributed.active_memory_manager",
        )
    ]
    for log in loggers:
        log.addFilter(closing)
    try:
        yield
    finally:
        for log in loggers:
            log.removeFilter(closing)


class _ClosingFilter:
    """Drop the messages that one scheduler's close causes."""

    def __init__(self, scheduler: Scheduler | None) -> None:
        self._scheduler = scheduler
        self._addresses: set[str] = set()  # also of workers that were removed since
        listeners = scheduler.listeners if scheduler is not None else ()
        self._listeners = {listener.listen_address for listener in listeners}
        self._update()

    def __call__(self, record: logging.LogRecord) -> bool:
        self._update()
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError):
            return False
        if isinstance(error, ValueError) and "non-started TCPL" in str(error):
            return False
        text = str(record.msg)
        if "TLS handshake failed" in text and isinstance(record.args, tuple):
            return record.args[0] not in self._listeners
        if not any(lost in text for lost in LOST):
            return True
        found = _WORKER.search(text)
        return found is None or found[1] not in self._addresses

    def _update(self) -> None:
        if self._scheduler is not None:
            # A copy in one step: other threads change this sorted dict meanwhile.
            self._addresses.update(dict.keys(self._scheduler.workers))
