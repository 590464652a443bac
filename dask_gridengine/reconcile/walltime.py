"""How long a node may run, and when it has to drain.

All times are in seconds. Compared times come from one clock: a node reports its age,
never its time, because the clocks of hosts differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dask_gridengine.nodes.registry import NodeRecord

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

#: The grid's clock starts before the node's, with its prolog, and ticks in seconds.
GRID_SLACK = 1.0
#: Seconds of a hand-over without much data, and of a worker that closes. Dask checks
#: every 2 s for moves that did not happen: on a busy host 1.5 s were too few (seen
#: once in 24 ends). So it is 4 s, or this share of a short life, but not less.
LEAST_HAND_OVER, HAND_OVER, HAND_OVER_SHARE = 2.5, 4.0, 0.15
#: Tasks, moves and starts may take longer than seen, by this factor.
CAUTION = 1.5
#: A node is used for at least this share of its life, whatever tasks take.
USEFUL = 0.5
#: A replacement is requested before the drain begins: at least this many seconds, at
#: most this share of the time for which a node is used.
LEAST_LEAD, LONGEST_LEAD = 3.0, 0.5


def hand_over_seconds(
    lifetime: float, *, nbytes: float, bandwidth: float, longest: float
) -> float:
    """Time to move a worker's data and to close it.

    `lifetime` is from the node's first moment to its limit, `bandwidth` in bytes per
    second. Data that has not moved after `longest` seconds is given up.
    """
    least = max(LEAST_HAND_OVER, min(HAND_OVER, HAND_OVER_SHARE * lifetime))
    return least + min(longest, CAUTION * nbytes / max(bandwidth, 1.0))


def margin(lifetime: float, *, task: float, hand_over: float) -> float:
    """How long before its end a node takes no new task.

    `task` is how long most tasks take at present, 0 if that is unknown.
    """
    wanted = GRID_SLACK + hand_over + CAUTION * task
    return min(wanted, (1 - USEFUL) * lifetime)


def lead(useful: float, starts: Iterable[float]) -> float:
    """How long before a node drains its successor is requested.

    `useful` is the time from a node's first moment to its drain; `starts` are recent
    times from submission to a working worker.
    """
    wanted = max(LEAST_LEAD, CAUTION * max(starts, default=0.0))
    return min(wanted, LONGEST_LEAD * useful)


class WalltimeLimits:
    """Walltimes of a pool's nodes, from their first moment.

    A job cannot see its own: its spool directory holds no ``h_rt`` and its environment
    none either (Son of Grid Engine 8.1.9). So the limits are those of the request in
    force, which is read once per array, and of the queue, which is read once per queue.
    """

    def __init__(self, pool: NodePool) -> None:
        self._pool = pool
        request, batch_system = pool.request, pool.launcher.batch_system
        limits = (request.walltime, batch_system.requested_limit(request.native))
        self._requested = min((s for s in limits if s is not None), default=None)
        self._notified = "-notify" in request.native.split()
        self._queues: dict[str, asyncio.Task[float | None]] = {}
        self._closed = False

    def of(self, record: NodeRecord) -> float | None:
        """Seconds that a node may run; None if that is not known (yet)."""
        in_force = self._pool.reports.of(record.id.job).walltime
        known = (in_force or self._requested, self._of_queue(record.queue))
        return min((s for s in known if s is not None), default=None)

    def after(self, signal: str, record: NodeRecord, otherwise: float) -> float:
        """Seconds that a node has after a signal of the grid.

        With ``-notify`` the queue sends ``SIGUSR2`` before a deletion and ``SIGUSR1``
        before a suspension; without it ``SIGUSR1`` comes at ``s_rt`` (``man 1 qsub``,
        ``man 5 queue_conf``). Slurm sends ``SIGTERM`` and, after its ``KillWait``,
        ``SIGKILL``. `otherwise` counts where the grid does not say.
        """
        seconds: float | None = None
        if signal == "SIGTERM":
            seconds = self._pool.reports.of(record.id.job).kill_delay
        elif signal == "SIGUSR2" or self._notified:
            seconds = record.notify
        return max(0.0, min(otherwise, seconds - GRID_SLACK)) if seconds else otherwise

    def close(self) -> None:
        """Ask nothing any more, and wait for no answer."""
        self._closed = True
        for task in self._queues.values():
            task.cancel()

    def _of_queue(self, queue: str) -> float | None:
        if not queue:
            return None
        if queue not in self._queues:
            if self._closed:
                return None
            ask = self._pool.launcher.queue_limit(queue)
            self._queues[queue] = asyncio.ensure_future(ask)
        task = self._queues[queue]
        if not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()
