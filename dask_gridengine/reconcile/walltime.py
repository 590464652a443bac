"""When a node must leave so that its walltime costs nothing. Pure.

All times are seconds, and all that is compared was taken from one clock: a node says
how old it is, never what time it has, since clocks of hosts differ.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

#: The grid's clock starts before the node's, with its prolog, and ticks in seconds.
GRID_SLACK = 1.0
#: What a hand-over takes without much data, and a worker that closes. Dask looks after
#: moves that did not come about every 2 s: on a busy host 1.5 s were too few (seen
#: once in 24 ends). So it is 4 s, or this share of a short life, but not less.
LEAST_HAND_OVER, HAND_OVER, HAND_OVER_SHARE = 2.5, 4.0, 0.15
#: By how much longer than seen things may take: tasks, moves, starts.
CAUTION = 1.5
#: A node is of use for at least this share of its life, whatever tasks take.
USEFUL = 0.5
#: Bounds of the time a replacement is asked for before the drain begins: at least so
#: many seconds, at most this share of what a node is of use for.
LEAST_LEAD, LONGEST_LEAD = 3.0, 0.5


class Step(enum.Enum):
    """What is to be done about a node now."""

    STAY = "stay"
    REPLACE = "replace"  # ask for another, which shall be there when this one drains
    DRAIN = "drain"


def hand_over_seconds(
    lifetime: float, *, nbytes: float, bandwidth: float, longest: float
) -> float:
    """What it takes to move a worker's data and to close it.

    Parameters
    ----------
    lifetime
        Seconds from the node's first moment to its limit.
    nbytes
        Held there.
    bandwidth
        Bytes a second, as the scheduler has measured it.
    longest
        Seconds; what has not been moved then is given up.
    """
    least = max(LEAST_HAND_OVER, min(HAND_OVER, HAND_OVER_SHARE * lifetime))
    return least + min(longest, CAUTION * nbytes / max(bandwidth, 1.0))


def margin(lifetime: float, *, task: float, hand_over: float) -> float:
    """Seconds before its end from which on a node takes no new task.

    Parameters
    ----------
    lifetime
        Seconds from the node's first moment to its limit.
    task
        Seconds that a task takes, as they go at present; 0 if none was seen.
    hand_over
        See `hand_over_seconds`.
    """
    wanted = GRID_SLACK + hand_over + CAUTION * task
    return min(wanted, (1 - USEFUL) * lifetime)


def lead(useful: float, starts: Iterable[float]) -> float:
    """How long before its node drains a replacement is asked for.

    Parameters
    ----------
    useful
        Seconds from a node's first moment to its drain.
    starts
        Seconds from submission to a working worker, of nodes seen lately.
    """
    wanted = max(LEAST_LEAD, CAUTION * max(starts, default=0.0))
    return min(wanted, LONGEST_LEAD * useful)


def step(left: float, *, margin: float, lead: float) -> Step:
    """What is to be done about a node that has `left` seconds."""
    if left <= margin:
        return Step.DRAIN
    return Step.REPLACE if left <= margin + lead else Step.STAY
