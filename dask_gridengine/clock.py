"""The clock that durations are measured with.

The wall clock can be set, by an administrator or NTP, so it is for what people read
and for nothing else. `time.monotonic` stands still on Linux while the machine is
suspended, so that a closed lid would go unnoticed. It is right for short waits within
this process, which are to last as long as the process can run.
"""

from __future__ import annotations

import sys
import time


def _since_boot() -> float:
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


#: When the clock stood at 0, by the wall clock as it was when this process started.
_EPOCH = time.time() - _since_boot()


def steady_time() -> float:
    """Seconds since the epoch, by a clock that is never set and counts suspension.

    It agrees with `time.time` for as long as that is not set, so people can read it.
    """
    return _EPOCH + _since_boot()
