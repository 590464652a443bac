"""Signals that end a command: the first ends it gently, the second immediately.

A handler only counts and writes to a pipe. `threading.Event` would not do: a handler
that sets it takes a lock, which the interrupted wait may hold.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds in which two signals count as one: `timeout` signals the process and then
#: its process group.
SAME_SIGNAL_SECONDS = 0.1
EXIT_COUNT = 3  # signals after which the process exits without closing anything


class StopSignals:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered.

    Ignored signals stay ignored: ``nohup`` ignores SIGHUP, and a shell ignores SIGINT
    for background processes.
    """

    def __init__(self) -> None:
        self.count = 0
        self.last = 0  # number of the last signal
        #: Whether a signal raises `KeyboardInterrupt`: until the cluster runs.
        self.interrupting = True
        self._received_at = float("-inf")
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._write_end)
        os.close(self._read_end)

    def wait(self, seconds: float) -> None:
        """Return when a signal is received, or after `seconds`."""
        if select.select([self._read_end], [], [], seconds)[0]:
            os.read(self._read_end, 1)

    @property
    def status(self) -> int:
        """Exit status that shells show for a process that the last signal has ended."""
        return 128 + self.last

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._received_at < SAME_SIGNAL_SECONDS:
            return
        self._received_at = now
        self.count += 1
        self.last = number
        if self.interrupting:
            raise KeyboardInterrupt
        if self.count >= EXIT_COUNT:
            # The launcher's child notices that this process ends, and ends all nodes.
            os._exit(self.status)
        os.write(self._write_end, b".")
