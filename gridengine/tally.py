"""How many workers there are: what a progress line tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """Workers, counted at one moment."""

    workers: int  # there are
    wanted: int  # there shall be
    queued: int  # nodes that wait in the grid's queue

    def __str__(self) -> str:
        line = f"{self.workers}/{self.wanted} workers"
        return f"{line}, {self.queued} queued" if self.queued else line
