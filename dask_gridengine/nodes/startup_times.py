"""How long nodes wait in the queue and need to start, counted as they come."""

from __future__ import annotations

import bisect
import math
import statistics
from collections import deque
from collections.abc import Iterable

from dask_gridengine.nodes.history import Change

#: Upper bounds of what is counted together, in seconds; the last one is all the rest.
#: In steps of about two, from the start of a local process to a weekend in a queue.
BUCKETS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800,
    3600, 7200, 18_000, 43_200, 86_400, 259_200, math.inf,
)  # fmt: skip

_RECENT = 2_000  # that a median is made of


class DelayHistogram:
    """A histogram of seconds, in `BUCKETS`."""

    def __init__(self) -> None:
        self.counts = [0] * len(BUCKETS)
        self.total = 0.0  # seconds
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def __len__(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self._recent.append(seconds)

    def median(self) -> float | None:
        """Of the last few thousand, in seconds; None if there is none."""
        return statistics.median(self._recent) if self._recent else None


class StartupTimes:
    """The ways of nodes into a cluster: how long they waited, how long they started."""

    def __init__(self) -> None:
        self.wait, self.startup = DelayHistogram(), DelayHistogram()

    def take(self, changes: Iterable[Change]) -> None:
        """Count what has become known with these."""
        for old, new in changes:
            if new.wait is not None and (old is None or old.wait is None):
                self.wait.add(new.wait)
            if new.startup is not None and (old is None or old.startup is None):
                self.startup.add(new.startup)


def format_duration(seconds: float) -> str:
    """A duration as it stands on an axis.

    Examples
    --------
    >>> [format_duration(s) for s in (0, 0.2, 12.34, 90, 5400, 200_000)]
    ['0 s', '0.2 s', '12 s', '1.5 min', '1.5 h', '2.3 d']
    """
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
