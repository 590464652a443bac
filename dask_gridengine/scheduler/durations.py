"""How long tasks of each kind take, at the most, of late. Pure.

Dask keeps an average of each kind, which half of the tasks exceed; who must know
whether a task will be done in time needs to know how long it may take.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

#: What is left of the longest duration after each shorter one: after 70, half.
MEMORY = 0.99
#: Kinds that are remembered; the ones not seen for longest are forgotten first.
MOST_KINDS = 1000


class Durations:
    """The longest duration of each kind of task, slowly forgotten."""

    def __init__(self) -> None:
        self._longest: OrderedDict[str, float] = OrderedDict()

    def note(self, kind: str, seconds: float) -> None:
        """A task of this kind has taken so long."""
        before = self._longest.get(kind, 0.0)
        self._longest[kind] = max(seconds, MEMORY * before)
        self._longest.move_to_end(kind)
        if len(self._longest) > MOST_KINDS:
            self._longest.popitem(last=False)

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
