"""How long tasks of each kind take, as a quantile of the most recent ones.

Dask keeps an average of each kind, which half of the tasks exceed; whether a task ends
before its node's walltime depends on how long it may take.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from distributed.scheduler import TaskPrefix

#: Durations of each kind that count, and the share of them that the quantile covers.
#: Not the maximum: one straggler would have all nodes drain early.
RECENT, QUANTILE = 50, 0.95
#: Kinds that are remembered; the ones unused for longest are forgotten first.
MAX_KINDS = 1000


class TaskDurations:
    """Record durations as tasks end."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()

    def record(self, kind: str, seconds: float) -> None:
        """Record the duration of a task of this kind."""
        self._recent.setdefault(kind, deque(maxlen=RECENT)).append(seconds)
        self._recent.move_to_end(kind)
        if len(self._recent) > MAX_KINDS:
            self._recent.popitem(last=False)

    def quantile(self, kind: str) -> float | None:
        """Return seconds that few tasks of this kind exceed; None if none has ended."""
        if (recent := self._recent.get(kind)) is None:
            return None
        # Of fewer than 20 durations this is the longest.
        return sorted(recent)[math.ceil(QUANTILE * len(recent)) - 1]

    def expected(self, prefix: TaskPrefix) -> float | None:
        """Return seconds that a task may take; None if none has been seen to run."""
        seconds = self.quantile(prefix.name)
        # Twice, as Dask guesses where one runs for long and none has ended.
        running = 2.0 * prefix.max_exec_time if prefix.duration_average < 0 else 0.0
        if seconds is None and running <= 0:
            return None
        return max(seconds or 0.0, running)
