"""How much work waits, where nobody knows how long it takes."""

from __future__ import annotations

from distributed import Scheduler

#: States of tasks that run, or could if there were a worker.
RUNNABLE = ("processing", "queued", "no-worker")


def long_tasks(scheduler: Scheduler, seconds: float) -> int:
    """How many runnable tasks there are of kinds that take at least so long.

    Dask counts a task it knows nothing of as half a second, and so keeps a hundred
    tasks of two hours on one worker until the first of them has ended
    (dask/distributed#3627). A task that is still running says enough.

    Parameters
    ----------
    scheduler
        Its workers tell with each heartbeat how long their tasks have been running.
    seconds
        From how many on a task is long.
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
