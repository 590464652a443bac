"""How long the grid lets each node run: as asked for, and as its queue has it."""

from __future__ import annotations

import asyncio

from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.registry import NodeRecord
from dask_gridengine.reconcile import walltime as expiry


class WalltimeLimits:
    """Walltimes of nodes, in seconds from their first moment.

    A job cannot see its own: its spool directory holds no ``h_rt`` and its environment
    none either (Son of Grid Engine 8.1.9). So the request in force counts, which is
    asked of the grid once an array, and what the queue that it was given has for all
    jobs, which is asked once a queue.

    Parameters
    ----------
    fleet
        Open; its request says what was asked for.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        native = fleet.request.native
        asked = (fleet.request.walltime, fleet.dialect.requested_limit(native))
        self._asked = min((s for s in asked if s is not None), default=None)
        self._notified = "-notify" in native.split()
        self._queues: dict[str, asyncio.Task[float | None]] = {}
        self._closed = False

    def of(self, record: NodeRecord) -> float | None:
        """Seconds that a node may run; None if no end is known (yet)."""
        in_force = self._fleet.reports.walltime(record.id.job)
        known = (in_force or self._asked, self._of_queue(record.queue))
        return min((s for s in known if s is not None), default=None)

    def after(self, signal: str, record: NodeRecord, otherwise: float) -> float:
        """Seconds a node has after a signal of the grid.

        Parameters
        ----------
        signal
            ``SIGUSR2`` comes before a deletion, ``SIGUSR1`` before a suspension, both
            by the queue's ``notify``, where ``-notify`` was asked for; ``SIGUSR1``
            without that at ``s_rt`` (``man 1 qsub``, ``man 5 queue_conf``).
        record
            The node's.
        otherwise
            Where the grid does not say.
        """
        by_notify = signal == "SIGUSR2" or (signal == "SIGUSR1" and self._notified)
        seconds = otherwise
        if by_notify and record.notify:
            seconds = min(otherwise, record.notify - expiry.GRID_SLACK)
        return max(0.0, seconds)

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
            ask = self._fleet.launcher.queue_limit(queue)
            self._queues[queue] = asyncio.ensure_future(ask)
        task = self._queues[queue]
        if not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()
