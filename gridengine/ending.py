"""What is under way when the script ends: Python's end waits for it, and tells of it.

Python 3.12.0 and 3.12.1 start no thread any more once the main module has ended, and a
job needs some until its own end. There it is not waited for in vain, but told.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Protocol

logger = logging.getLogger(__name__)

#: How the names of the threads begin that see to runs and end them.
WATCHERS = "gridengine-"


class Awaited(Protocol):
    """A run."""

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; whether it came within `timeout` seconds."""
        ...


class Unjoined(Protocol):
    """Jobs whose owner can still ask what came of them."""

    def failures(self) -> str:
        """What there is to complain of; "" if nothing."""
        ...


#: Runs that Python's end waits for.
_awaited: set[Awaited] = set()
#: Of these it says what failed, for nobody can ask any more.
_unjoined: weakref.WeakSet[Unjoined] = weakref.WeakSet()
_registered = False


def wait_for(run: Awaited) -> None:
    """Have Python's end wait for it, until `forget`."""
    global _registered
    if not _registered:
        # Not by atexit, which comes after concurrent.futures has shut its threads
        # down: connections are made in those, so no worker could come any more.
        register = getattr(threading, "_register_atexit")  # noqa: B009 - not in typeshed
        register(_wait_for_all)
        _registered = True
    _awaited.add(run)


def forget(run: Awaited) -> None:
    """It has ended."""
    _awaited.discard(run)


def tell_of(jobs: Unjoined) -> None:
    """Have Python's end say what failed of them, until `joined`."""
    _unjoined.add(jobs)


def joined(jobs: Unjoined) -> None:
    """Somebody has asked."""
    _unjoined.discard(jobs)


def _wait_for_all() -> None:
    while _awaited:
        if next(iter(_awaited)).wait(1.0):
            continue
        # Never for what nobody is left to end.
        if not any(t.name.startswith(WATCHERS) for t in threading.enumerate()):
            logger.error("Python ends, and %d jobs do not", len(_awaited))
            return
    for jobs in list(_unjoined):
        if failures := jobs.failures():
            logger.error("%s", failures)


def _start_anew() -> None:
    _awaited.clear()
    _unjoined.clear()


# A child by fork has none of the threads that would end them.
os.register_at_fork(after_in_child=_start_anew)
