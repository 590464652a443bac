"""Wait for workers, and find out whether they may still come."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dask.utils import parse_timedelta
from distributed import Scheduler
from distributed.core import Status

from dask_gridengine.errors import NodesFailed
from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import plural
from dask_gridengine.nodes.registry import NodeRecord, NodeState

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

CHECK_EVERY = 0.5  # seconds; a worker that is resumed sends no message
SOON = 0.02  # the same while enough workers have registered: they run in a moment


def running_workers(scheduler: Scheduler, pool: NodePool | None = None) -> int:
    """Count running workers, of one pool or of all; safe in any thread."""
    # Dask's sorted dict cannot be iterated while another thread changes it; the copy
    # that `dict` itself makes is made in one step.
    workers = list(dict.values(scheduler.workers))
    return sum(
        ws.status is Status.running
        and (pool is None or pool.registry.bearing(ws.name) is not None)
        for ws in workers
    )


def missing_workers_error(
    pools: Sequence[NodePool],
    scheduler: Scheduler,
    wanted: int,
    *,
    others: bool = True,
) -> NodesFailed | None:
    """The error that tells why `wanted` workers cannot come; None while they may.

    Cheap, and safe in any thread. With `others`, workers of other pools and workers
    that the user has started count as well.
    """
    failing = [p for p in pools if p.reconciler.persistent_failure is not None]
    # Copies: the event loop empties these lists while another thread reads them.
    deleted = {pool: list(pool.reconciler.deleted_nodes) for pool in pools}
    deleted = {pool: records for pool, records in deleted.items() if records}
    if sum(map(_desired_workers, pools)) >= wanted:
        deleted = {}
    if not deleted and not failing:
        return None
    running = {pool: running_workers(scheduler, pool) for pool in pools}
    there = running_workers(scheduler) if others else sum(running.values())
    # Pools that fail get no more workers than they have.
    possible = there + sum(
        max(0, _desired_workers(pool) - running[pool])
        for pool in pools
        if pool not in failing
    )
    if possible >= wanted:
        return None
    reasons = [_deleted_nodes(pool, records) for pool, records in deleted.items()]
    reasons += [why for pool in pools for why in pool.failures.reasons()]
    return NodesFailed(wanted, there, reasons)


def out_of_reach(
    pools: Sequence[NodePool], scheduler: Scheduler, wanted: int
) -> NodesFailed | None:
    """The error that names the limit below this number of workers; None without one."""
    running = running_workers(scheduler)
    # Workers that belong to no node of this cluster count as well.
    possible = running - sum(running_workers(scheduler, pool) for pool in pools)
    reasons = []
    for pool in pools:
        if pool.most_at_once is None:
            return None
        nodes, why = pool.most_at_once
        possible += nodes * pool.options.processes
        of = f" of {pool.name}" if pool.name else ""
        runs = "runs" if nodes == 1 else "run"
        reasons.append(f"at most {plural(nodes, 'node')}{of} {runs} at once: {why}")
    if possible >= wanted:
        return None
    error = NodesFailed(wanted, running, reasons)
    error.hint = f"wait for {possible} at most, or change these options"
    return error


def _desired_workers(pool: NodePool) -> int:
    return pool.wanted * pool.options.processes


def _deleted_nodes(pool: NodePool, records: Sequence[NodeRecord]) -> str:
    count = len(records)
    subject = str(records[0]) if count == 1 else f"{count} nodes"
    diagnosis = records[-1].diagnosis
    assert diagnosis is not None
    text = diagnosis.sentence(subject, many=count > 1)
    return f"{text}; workers requested now: {_desired_workers(pool)}"


async def wait_for_workers(
    pools: Sequence[NodePool],
    scheduler: Scheduler,
    wanted: int,
    timeout: float | str | None,
    remarks: Callable[[], Sequence[str]] = tuple,
    hints: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Return when this number of workers run.

    Raises `NodesFailed` if they cannot come: nodes fail alike on different hosts or
    were deleted, and those left are not enough, or so many cannot run at once. Raises
    `TimeoutError` after `timeout`, with the states of the nodes, `remarks` and `hints`.
    """
    changed = pools[0].changed  # which they share
    loop = asyncio.get_running_loop()
    seconds = parse_timedelta(timeout) if timeout else math.inf
    deadline = loop.time() + seconds
    while (have := running_workers(scheduler)) < wanted:
        changed.clear()
        error = missing_workers_error(pools, scheduler, wanted)
        if error := error or out_of_reach(pools, scheduler, wanted):
            raise error
        if (left := deadline - loop.time()) <= 0:
            first = f"{have} of {wanted} workers after {timeout} s"
            line = "; ".join([first, *map(_node_states, pools), *remarks()])
            raise asyncio.TimeoutError("\n".join([line, *hints()]))
        pause = SOON if len(scheduler.workers) >= wanted else CHECK_EVERY
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(changed.wait(), min(pause, left))


def _node_states(pool: NodePool) -> str:
    counts = pool.registry.shown()
    nodes = ", ".join(f"{counts[state]} {state.value}" for state in NodeState)
    of = f" of {pool.name}" if pool.name else ""
    title = f"nodes{of}: {nodes}"
    if not pool.wanted:
        title = NONE_REQUESTED + of + (f": {nodes}" if pool.registry.live else "")
    why = [f"why nodes queue: {reason}" for reason in pool.reports.reasons]
    return "\n  ".join([title, *why, *pool.failures.reasons()])
