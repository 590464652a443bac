"""How long tasks of each kind take, at the most, of late. Pure.

Dask keeps an average of each kind, which half of the tasks exceed; whether a task will
be done in time depends on how long it may take.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any

#: Durations of each kind that count, and the share of them that the estimate covers.
#: Not the longest: one straggler would keep its kind off nodes that have time for all
#: others.
RECENT, COVERED = 50, 0.95
#: Kinds that are remembered; the ones not seen for longest are forgotten first.
MOST_KINDS = 1000


class Durations:
    """Of each kind of task the duration that few of the last ones exceeded."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()
        self._longest: dict[str, float] = {}

    def note(self, kind: str, seconds: float) -> None:
        """A task of this kind has taken so long."""
        recent = self._recent.setdefault(kind, deque(maxlen=RECENT))
        recent.append(seconds)
        # Of fewer than 20 durations this is the longest.
        self._longest[kind] = sorted(recent)[math.ceil(COVERED * len(recent)) - 1]
        self._recent.move_to_end(kind)
        if len(self._recent) > MOST_KINDS:
            oldest, _ = self._recent.popitem(last=False)
            del self._longest[oldest]

    def longest(self, kind: str) -> float | None:
        """Seconds; None if no task of this kind was seen to end."""
        return self._longest.get(kind)


def computing(startstops: Iterable[Mapping[str, Any]]) -> float:
    """Seconds that a task computed, of what a worker reports of it.

    Examples
    --------
    >>> computing([{"action": "transfer", "start": 0, "stop": 9},
    ...            {"action": "compute", "start": 9.0, "stop": 11.5}])
    2.5
    """
    return sum(
        float(phase["stop"]) - float(phase["start"])
        for phase in startstops
        if phase["action"] == "compute"
    )
