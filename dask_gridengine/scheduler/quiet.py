"""Logs of others, kept back: Dask's, for as long as any cluster wants it so."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from distributed.utils import silence_logging_cmgr


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
def no_word_of_late_handshakes() -> Iterator[None]:
    """Keep back a traceback that tells nobody anything, while a scheduler is closed.

    A node that is stopped amid its TLS handshake makes distributed log that, with the
    address of a listener that has none any more (`TLSListener._prepare_stream`, seen
    with distributed 2026.8): an error with two tracebacks, at the end of a good run.
    """
    log = logging.getLogger("tornado.application")
    log.addFilter(_is_news)
    try:
        yield
    finally:
        log.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ValueError) and "non-started TCPL" in str(error))


def _apply() -> None:
    _restore.close()
    if _wanted:
        _restore.enter_context(silence_logging_cmgr(level=max(_wanted)))


_lock = threading.Lock()
_wanted: list[int] = []  # by each open cluster
_restore = contextlib.ExitStack()
