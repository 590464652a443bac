"""The clock for durations.

The wall clock can be set, by an administrator or NTP, so it is only for display.
`time.monotonic` stops on Linux while the machine is suspended, so a closed lid would
not be noticed; it is right for short waits while this process runs.
"""

from __future__ import annotations

import sys
import time


def _since_boot() -> float:
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


#: The start of this clock, by the wall clock when this process started.
_EPOCH = time.time() - _since_boot()


def steady_time() -> float:
    """Return seconds since the epoch, by a clock that is never set.

    It counts suspension, and agrees with `time.time` as long as that is not set.
    """
    return _EPOCH + _since_boot()
