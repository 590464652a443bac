"""Signals that end a command: once gently, twice at once.

A handler only counts and wakes whoever waits. `threading.Event` would not do: set
within a handler, it takes a lock that the interrupted wait may hold.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds within which two are one: `timeout` tells the process and then its group.
TOGETHER = 0.1
ENOUGH = 3  # times, after which not even the closing is waited for


class StopSignals:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered.

    Those that are ignored stay so: ``nohup`` ignores SIGHUP, a shell SIGINT for what
    it starts in the background.

    Attributes
    ----------
    count
        How many have come.
    last
        The number of the last one; 0 if none has come.
    interrupting
        Whether one raises `KeyboardInterrupt`, as long as there is nothing to end
        gently.
    """

    def __init__(self) -> None:
        self.count = self.last = 0
        self._at = float("-inf")
        self.interrupting = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        for number in NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._in)
        os.close(self._out)

    def wait(self, seconds: float) -> None:
        """Return when one comes, or after so long."""
        if select.select([self._out], [], [], seconds)[0]:
            os.read(self._out, 1)

    @property
    def status(self) -> int:
        """The exit status of who was ended by the last one, as shells have it."""
        return 128 + self.last

    def _come(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._at < TOGETHER:
            return
        self._at = now
        self.count += 1
        self.last = number
        if self.interrupting:
            raise KeyboardInterrupt
        if self.count >= ENOUGH:
            # The launcher's child is told by the kernel, and ends every node.
            os._exit(self.status)
        os.write(self._in, b".")
