"""Looks at all tasks, now and then, that must not cost the scheduler its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from tornado.ioloop import PeriodicCallback

EVERY = 0.5  # seconds between looks
SHARE = (
    0.05  # of the loop's time that looks may take; a hundred thousand tasks take 0.1 s
)


class ThrottledCallback:
    """Calls a function every half second, or less often where that takes long.

    Parameters
    ----------
    look
        What to call, in the event loop in which it is started.
    clock
        Seconds, of any clock that only goes forward; tests give their own.
    """

    def __init__(
        self, look: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._clock = look, clock
        self._due = float("-inf")
        self._callback = PeriodicCallback(self.run_throttled, EVERY * 1000)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._callback.start()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._callback.stop()

    def run_throttled(self) -> None:
        """Look, unless the last look has taken so long that it is too early."""
        began = self._clock()
        if began < self._due:
            return
        self._look()
        ended = self._clock()
        self._due = ended + (ended - began) / SHARE
