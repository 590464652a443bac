"""Ending a cluster so that what runs is finished: no new task, no new node, then close.

No result is kept: there is nobody left to keep it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dask_gridengine.scheduler.log_filters import suppress_close_messages

LOOK_AGAIN = 0.1  # seconds between looks at who is still at work
LEAVING_SECONDS = 5.0  # for workers to leave the scheduler, before it leaves them


async def drain(cluster: Any, seconds: float | None = None) -> int:
    """Give all nodes up; return when no task runs any more.

    Parameters
    ----------
    cluster
        A `GridEngineCluster`, in whose event loop this runs.
    seconds
        Tasks that run have so long; ``finish-timeout`` by default.

    Returns
    -------
    int
        How many tasks still ran when their time was over.
    """
    timeout = cluster.options.finish_timeout if seconds is None else seconds
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    with suppress_close_messages(cluster.scheduler):
        await cluster.scale(0)  # pauses the workers: who finishes a task gets no other
        left = await _until_none(lambda: busy(cluster), deadline)
        if not left:
            workers = cluster.scheduler.workers
            await _until_none(lambda: len(workers), loop.time() + LEAVING_SECONDS)
    return left


async def _until_none(count: Callable[[], int], deadline: float) -> int:
    loop = asyncio.get_running_loop()
    while True:
        left = count()
        if not left or loop.time() >= deadline:
            return left
        await asyncio.sleep(LOOK_AGAIN)


def busy(cluster: Any) -> int:
    """How many tasks workers have been given, begun or not, and have not finished."""
    workers = cluster.scheduler.workers.values()
    return sum(len(ws.processing) for ws in workers)
