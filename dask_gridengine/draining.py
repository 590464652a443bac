"""Ending a cluster so that what runs is finished: no new task, no new node, then close.

No data is moved and no result is kept: there is nobody left to keep it.
"""

from __future__ import annotations

import asyncio
from typing import Any

LOOK_AGAIN = 0.1  # seconds between looks at who is still at work


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
    patience = cluster.options.finish_timeout if seconds is None else seconds
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    await cluster.scale(0)  # pauses the workers: who finishes a task gets no other
    while left := busy(cluster):
        if loop.time() >= deadline:
            return left
        await asyncio.sleep(LOOK_AGAIN)
    return 0


def busy(cluster: Any) -> int:
    """How many tasks workers have been given, begun or not, and have not finished."""
    workers = cluster.scheduler.workers.values()
    return sum(len(ws.processing) for ws in workers)
