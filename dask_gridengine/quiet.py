"""Dask's logs, silenced for as long as any cluster of this process wants it."""

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


def _apply() -> None:
    _restore.close()
    if _wanted:
        _restore.enter_context(silence_logging_cmgr(level=max(_wanted)))


_lock = threading.Lock()
_wanted: list[int] = []  # by each open cluster
_restore = contextlib.ExitStack()
