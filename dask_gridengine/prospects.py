"""Whether the workers that are wanted may still come, and the wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import math

from dask.utils import parse_timedelta
from distributed import Scheduler
from distributed.core import Status

from dask_gridengine.errors import NodesFailed
from dask_gridengine.fleet import Fleet
from dask_gridengine.nodes import NodeState
from dask_gridengine.upkeep import Upkeep

LOOK_AGAIN = 0.5  # seconds between looks; a worker that is resumed sends no message
SOON = 0.02  # the same while enough have registered: they run in a moment


def running_workers(scheduler: Scheduler) -> int:
    """How many workers run, from whatever thread it is asked."""
    # Dask's sorted dict cannot be iterated while another thread changes it; the copy
    # that `dict` itself makes is made in one step.
    workers = list(dict.values(scheduler.workers))
    return sum(ws.status is Status.running for ws in workers)


def shortfall(upkeep: Upkeep, scheduler: Scheduler, wanted: int) -> NodesFailed | None:
    """The error that says why `wanted` workers cannot come; None while they may.

    Cheap, and safe in any thread.
    """
    fleet = upkeep.fleet
    planned = upkeep.desired * fleet.options.processes
    taken = planned < wanted and bool(upkeep.taken_away)
    if not taken and upkeep.hopeless is None:
        return None
    have = running_workers(scheduler)
    if have >= wanted:
        return None
    reasons = fleet.failures.reasons()
    if taken:
        count = len(upkeep.taken_away)
        who = str(upkeep.taken_away[0]) if count == 1 else f"{count} nodes"
        diagnosis = upkeep.taken_away[-1].diagnosis
        assert diagnosis is not None
        told = diagnosis.sentence(who, many=count > 1)
        reasons.insert(0, f"{told}; wanted now: {planned}")
    return NodesFailed(wanted, have, reasons)


async def wait_for_workers(
    upkeep: Upkeep, scheduler: Scheduler, wanted: int, timeout: float | str | None
) -> None:
    """Return when so many workers run.

    Raises
    ------
    NodesFailed
        If nodes fail alike wherever they are, or were taken away on purpose, and
        those left are not enough.
    TimeoutError
        After `timeout` seconds; it says what the nodes are at.
    """
    fleet = upkeep.fleet
    loop = asyncio.get_running_loop()
    seconds = parse_timedelta(timeout) if timeout else math.inf
    deadline = loop.time() + seconds
    while (have := running_workers(scheduler)) < wanted:
        fleet.changed.clear()
        if error := shortfall(upkeep, scheduler, wanted):
            raise error
        if (left := deadline - loop.time()) <= 0:
            said = f"{have} of {wanted} workers after {timeout} s"
            raise asyncio.TimeoutError(f"{said}; {_what_they_are_at(fleet)}")
        pause = SOON if len(scheduler.workers) >= wanted else LOOK_AGAIN
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(fleet.changed.wait(), min(pause, left))


def _what_they_are_at(fleet: Fleet) -> str:
    counts = fleet.roster.counts
    nodes = ", ".join(f"{counts[state]} {state.value}" for state in NodeState)
    return "\n  ".join([f"nodes: {nodes}", *fleet.failures.reasons()])
