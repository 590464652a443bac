"""A periodic callback that takes at most 5 % of the event loop's time."""

from __future__ import annotations

import time
from collections.abc import Callable

from tornado.ioloop import PeriodicCallback

EVERY = 0.5  # seconds between calls
SHARE = 0.05  # of the loop's time; a check of a hundred thousand tasks takes 0.1 s


class ThrottledCallback:
    """Call a function every half second, or less often if it takes long.

    `clock` returns seconds of any clock that only goes forward.
    """

    def __init__(
        self,
        function: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._function, self._clock = function, clock
        self._due = float("-inf")
        self._callback = PeriodicCallback(self.run_throttled, EVERY * 1000)

    def start(self) -> None:
        """Start in the running event loop."""
        self._callback.start()

    def stop(self) -> None:
        """Stop. Idempotent."""
        self._callback.stop()

    def run_throttled(self) -> None:
        """Call the function unless the last call took so long that it is too early."""
        began = self._clock()
        if began < self._due:
            return
        self._function()
        ended = self._clock()
        self._due = ended + (ended - began) / SHARE
