"""Which pool a task is for, and how many workers the waiting tasks are worth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from distributed import Scheduler
from distributed.scheduler import TaskState

from dask_gridengine.cluster.pool import NodePool

#: States of tasks that run, or would if there were a worker.
RUNNABLE = ("processing", "queued", "no-worker")
SAMPLE = 100  # tasks of each place; the others there count as these do
FULL = 0.6  # of the workers' memory, from which on Dask's adaptive scaling wants more


def pool_for(
    pools: Sequence[NodePool], required: Mapping[str, float] | None
) -> NodePool | None:
    """The pool whose nodes a task is for: the one that offers least beside."""
    able = [pool for pool in pools if satisfies(pool.offered, required)]
    return min(able, key=lambda pool: len(pool.offered), default=None)


def satisfies(
    offered: Mapping[str, float], required: Mapping[str, float] | None
) -> bool:
    """Whether a worker with these resources can run a task with these requirements.

    Examples
    --------
    >>> satisfies({"GPU": 2}, {"GPU": 1}), satisfies({}, {"GPU": 1})
    (True, False)
    """
    return all(offered.get(name, 0) >= much for name, much in (required or {}).items())


def share(
    offered: Mapping[str, float], threads: int, required: Mapping[str, float] | None
) -> float:
    """Share of a worker that a task takes, from 0 to 1.

    Examples
    --------
    >>> share({"GPU": 2}, 8, {"GPU": 1}), share({}, 8, None)
    (0.5, 0.125)
    """
    parts = [much / offered[name] for name, much in (required or {}).items() if much]
    return max([1 / threads, *parts])


def long_tasks(scheduler: Scheduler, seconds: float) -> int:
    """Count runnable tasks of kinds that take at least this many seconds.

    Dask counts a task of an unknown kind as half a second, and so keeps a hundred tasks
    of two hours on one worker until the first of them has ended
    (dask/distributed#3627). A task that still runs says enough: workers report with
    each heartbeat how long their tasks have been running.
    """
    long = {
        ts.prefix.name
        for ws in scheduler.workers.values()
        for ts, running in ws.executing.items()
        if running >= seconds and ts.prefix is not None
    }
    long.update(
        name
        for name, prefix in scheduler.task_prefixes.items()
        if prefix.duration_average >= seconds
    )
    groups = [tg for name in long for tg in scheduler.task_prefixes[name].groups]
    return sum(tg.states.get(state, 0) for tg in groups for state in RUNNABLE)


def workers_of_pool(
    scheduler: Scheduler, pools: Sequence[NodePool], pool: NodePool, seconds: float
) -> int:
    """Number of workers of one pool that the tasks for this pool are worth.

    Dask's own number is for workers that are all alike. A task that takes `seconds` or
    longer is worth its share of a worker, a shorter one accordingly less.
    """
    wanted = 0.0
    for ts, weight in _sampled(scheduler):
        required = ts.resource_restrictions
        if pool_for(pools, required) is pool:
            taken = share(pool.offered, pool.options.threads, required)
            wanted += weight * taken * min(1.0, _duration(scheduler, ts) / seconds)
    count = math.ceil(wanted)
    workers = scheduler.workers.values()
    mine = [ws for ws in workers if pool.registry.bearing(ws.name) is not None]
    limit = sum(ws.memory_limit for ws in mine)
    if limit and sum(ws.nbytes for ws in mine) > FULL * limit:
        count = max(count, 2 * len(mine))
    if count < len(mine):
        # Workers whose data the others have no room for stay: Dask knows which may go.
        going = scheduler.workers_to_close(attribute="name")
        count = max(count, sum(ws.name not in going for ws in mine))
    return count


def _duration(scheduler: Scheduler, ts: TaskState) -> float:
    """Estimate a task's seconds as Dask does; its own method is private."""
    average, longest = ts.prefix.duration_average, ts.prefix.max_exec_time
    if average < 0:  # none of its kind has ended
        average = 2 * longest if longest > 0 else scheduler.UNKNOWN_TASK_DURATION
    return float(average)


def _sampled(scheduler: Scheduler) -> Iterator[tuple[TaskState, float]]:
    """A sample of the runnable tasks, with the number of tasks that each represents."""
    groups = [scheduler.queued, scheduler.unrunnable]
    groups += [ws.processing for ws in scheduler.workers.values()]
    for group in groups:
        sample = list(itertools.islice(group, SAMPLE))
        for ts in sample:
            yield ts, len(group) / len(sample)
