"""Nodes that the grid has suspended: neither at work nor lost.

A suspended node is as silent as a lost one, so the grid is asked about silent nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import dask
from dask.utils import parse_timedelta

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

#: Seconds without a heartbeat before the grid is asked about a node, and between such
#: requests. Both are less where Dask ends silent workers soon (``worker-ttl``).
SILENT, AGAIN = 10.0, 30.0
TTL_SHARE = 4


class Suspensions:
    """Finds suspended nodes of a pool, and replaces those suspended for too long."""

    def __init__(self, pool: NodePool) -> None:
        self._pool, self._clock = pool, pool.registry.clock
        ttl = parse_timedelta(dask.config.get("distributed.scheduler.worker-ttl"))
        most = float("inf") if ttl is None else ttl / TTL_SHARE
        self._silent, self._again = min(SILENT, most), min(AGAIN, most)
        #: Silent nodes about which the grid has yet to be asked.
        self._unasked: dict[NodeId, NodeRecord] = {}
        self._next = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def check(self, silent: Collection[NodeRecord]) -> None:
        """Ask the grid if it is time, and give up nodes suspended for too long.

        About nodes that have just become `silent` in another way than by their workers'
        heartbeats the grid is asked at once.
        """
        registry = self._pool.registry
        await self._declare_lost()
        quiet = self._pool.cluster.scheduler.liveness.silent(self._silent)
        records = map(registry.bearing, quiet)
        suspects = [record for record in records if record and not record.ending]
        self._unasked |= {record.id: record for record in silent}
        suspects += [*self._unasked.values(), *registry.suspended.values()]
        due = bool(self._unasked) or self._clock() >= self._next
        if suspects and due and (self._asking is None or self._asking.done()):
            self._next = self._clock() + self._again
            self._unasked.clear()
            self._asking = asyncio.create_task(self._ask(suspects))

    async def stop(self) -> None:
        """Wait for no answer any more. Idempotent."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def heard(self, record: NodeRecord) -> None:
        """A node has sent something, so it is not suspended."""
        if record.suspended is not None:
            self._pool.registry.resume(record)
            self._show(record)
            text = f"{_subject([record])} resumed by the grid"
            self._pool.reconciler.tell(text, logging.INFO)

    def _show(self, record: NodeRecord) -> None:
        suspended = record.suspended is not None
        liveness = self._pool.cluster.scheduler.liveness
        liveness.set_suspended(record.present, suspended)
        self._pool.changed.set()

    async def _ask(self, suspects: Collection[NodeRecord]) -> None:
        pool = self._pool
        try:
            found = await pool.launcher.suspended()
        except Exception:
            logger.exception("Could not ask the grid which nodes are suspended")
            return
        if found is None:
            return  # unknown: nothing changes
        new, resumed = [], []
        for record in {record.id: record for record in suspects}.values():
            if record.id in found and record.suspended is None and not record.ending:
                pool.registry.suspend(record)
                new.append(record)
            elif record.id not in found and record.suspended is not None:
                pool.registry.resume(record)
                resumed.append(record)
        for record in [*new, *resumed]:
            self._show(record)
        if new:
            pool.reconciler.tell(f"{_subject(new)} suspended by the grid")
        if resumed:
            text = f"{_subject(resumed)} resumed by the grid"
            pool.reconciler.tell(text, logging.INFO)

    async def _declare_lost(self) -> None:
        pool, limit = self._pool, self._pool.options.suspended_timeout
        if limit is None:
            return
        now = self._clock()
        late = [
            record
            for record in pool.registry.suspended.values()
            if record.suspended is not None and now - record.suspended >= limit
        ]
        detail = f"{format_duration(limit)} (suspended-timeout)"
        diagnosis = Diagnosis(cause=Cause.SUSPENDED, detail=detail, source="grid")
        for record in late:
            pool.reconciler.tell(f"Replacing {record}: suspended for {detail}")
            # Nothing failed, so its successor costs no replacement budget.
            pool.reconciler.free += record.worker in pool.cluster.worker_spec
            pool.exits.declare_lost(record, diagnosis)
        if late:
            await pool.cancel(late)


def _subject(records: Collection[NodeRecord]) -> str:
    first = next(iter(records))
    if len(records) == 1:
        return f"{first} was"
    return f"{plural(len(records), 'node')} (e.g. {first}) were"
