"""Whether the workers that are wanted may still come, and the wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

from dask.utils import parse_timedelta
from distributed import Scheduler
from distributed.core import Status

from dask_gridengine.errors import NodesFailed
from dask_gridengine.exit_causes import NONE_REQUESTED, number_of_nodes
from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.reconciler import Reconciler

LOOK_AGAIN = 0.5  # seconds between looks; a worker that is resumed sends no message
SOON = 0.02  # the same while enough have registered: they run in a moment


def running_workers(scheduler: Scheduler, fleet: Fleet | None = None) -> int:
    """How many workers run, from whatever thread it is asked.

    Parameters
    ----------
    scheduler
        Theirs.
    fleet
        Count only those of its nodes.
    """
    # Dask's sorted dict cannot be iterated while another thread changes it; the copy
    # that `dict` itself makes is made in one step.
    workers = list(dict.values(scheduler.workers))
    return sum(
        ws.status is Status.running
        and (fleet is None or fleet.registry.bearing(ws.name) is not None)
        for ws in workers
    )


def missing_workers_error(
    reconcilers: Sequence[Reconciler],
    scheduler: Scheduler,
    wanted: int,
    *,
    others: bool = True,
) -> NodesFailed | None:
    """The error that says why `wanted` workers cannot come; None while they may.

    Cheap, and safe in any thread.

    Parameters
    ----------
    upkeeps
        Of the kinds of nodes that count.
    scheduler
        Theirs.
    wanted
        Workers of these kinds together.
    others
        Whether workers of other nodes, or of none of ours, are as good.
    """
    lost = [
        reconciler
        for reconciler in reconcilers
        if reconciler.persistent_failure is not None
    ]
    planned = sum(map(_planned, reconcilers))
    # Copies: the loop empties these lists while another thread asks.
    copies = [
        (reconciler, list(reconciler.deleted_nodes)) for reconciler in reconcilers
    ]
    taken = [(reconciler, records) for reconciler, records in copies if records]
    if planned >= wanted:
        taken = []
    if not taken and not lost:
        return None
    have = [running_workers(scheduler, reconciler.fleet) for reconciler in reconcilers]
    there = running_workers(scheduler) if others else sum(have)
    # Where there is hope there may be all, elsewhere there are no more than those.
    possible = there + sum(
        max(0, _planned(reconciler) - running)
        for reconciler, running in zip(reconcilers, have, strict=True)
        if reconciler not in lost
    )
    if possible >= wanted:
        return None
    told = [_deleted_nodes(reconciler, records) for reconciler, records in taken]
    told += [
        why for reconciler in reconcilers for why in reconciler.fleet.failures.reasons()
    ]
    return NodesFailed(wanted, there, told)


def out_of_reach(
    reconcilers: Sequence[Reconciler], scheduler: Scheduler, wanted: int
) -> NodesFailed | None:
    """The error that names the bound below this number of workers; None without one.

    Parameters
    ----------
    upkeeps, scheduler, wanted
        See `missing_workers_error`.
    """
    running = running_workers(scheduler)
    # Workers that are no nodes of this cluster are as good.
    possible = running - sum(running_workers(scheduler, u.fleet) for u in reconcilers)
    reasons = []
    for reconciler in reconcilers:
        bound = reconciler.fleet.most_at_once
        if bound is None:
            return None
        nodes, why = bound
        possible += nodes * reconciler.fleet.options.processes
        of = f" of {reconciler.fleet.pool}" if reconciler.fleet.pool else ""
        runs = "runs" if nodes == 1 else "run"
        reasons.append(f"at most {number_of_nodes(nodes)}{of} {runs} at once: {why}")
    if possible >= wanted:
        return None
    reasons.append(f"Hint: wait for {possible} at most, or change these options")
    return NodesFailed(wanted, running, reasons)


def _planned(reconciler: Reconciler) -> int:
    """Workers that are wanted."""
    return reconciler.desired * reconciler.fleet.options.processes


def _deleted_nodes(reconciler: Reconciler, records: Sequence[NodeRecord]) -> str:
    count = len(records)
    who = str(records[0]) if count == 1 else f"{count} nodes"
    diagnosis = records[-1].diagnosis
    assert diagnosis is not None
    told = diagnosis.sentence(who, many=count > 1)
    return f"{told}; wanted now: {_planned(reconciler)}"


async def wait_for_workers(
    reconcilers: Sequence[Reconciler],
    scheduler: Scheduler,
    wanted: int,
    timeout: float | str | None,
    remarks: Callable[[], Sequence[str]] = tuple,
    hints: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Return when so many workers run.

    Parameters
    ----------
    upkeeps, scheduler, wanted
        See `missing_workers_error`.
    timeout
        Seconds; None is for ever.
    remarks, hints
        What else to say when the time is up, and what to type then.

    Raises
    ------
    NodesFailed
        If nodes fail alike wherever they are, or were taken away on purpose, and
        those left are not enough; or if so many cannot run at once.
    TimeoutError
        After `timeout` seconds; it says what the nodes are at.
    """
    changed = reconcilers[0].fleet.changed  # which they share
    loop = asyncio.get_running_loop()
    seconds = parse_timedelta(timeout) if timeout else math.inf
    deadline = loop.time() + seconds
    while (have := running_workers(scheduler)) < wanted:
        changed.clear()
        error = missing_workers_error(reconcilers, scheduler, wanted)
        if error := error or out_of_reach(reconcilers, scheduler, wanted):
            raise error
        if (left := deadline - loop.time()) <= 0:
            said = f"{have} of {wanted} workers after {timeout} s"
            raise asyncio.TimeoutError(
                "\n".join(
                    [
                        "; ".join(
                            [said, *map(_what_they_are_at, reconcilers), *remarks()]
                        ),
                        *hints(),
                    ]
                )
            )
        pause = SOON if len(scheduler.workers) >= wanted else LOOK_AGAIN
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(changed.wait(), min(pause, left))


def _what_they_are_at(reconciler: Reconciler) -> str:
    fleet = reconciler.fleet
    counts = fleet.registry.shown()
    nodes = ", ".join(f"{counts[state]} {state.value}" for state in NodeState)
    whose = f" of {fleet.pool}" if fleet.pool else ""
    title = f"nodes{whose}: {nodes}"
    if not reconciler.desired:
        title = NONE_REQUESTED + whose + (f": {nodes}" if fleet.registry.live else "")
    why = [f"why nodes queue: {reason}" for reason in fleet.reports.reasons]
    return "\n  ".join([title, *why, *fleet.failures.reasons()])
