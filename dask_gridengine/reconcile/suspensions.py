"""Nodes that the grid has suspended: neither at work, nor lost.

A suspended node is as silent as a lost one. This asks the grid about silent nodes, and
keeps those that are suspended until the grid resumes them, or for a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from dask_gridengine.exit_causes import Cause, Diagnosis, number_of_nodes
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.registry import NodeRecord

logger = logging.getLogger(__name__)

#: Seconds without a heartbeat before this asks the grid about a node, and between such
#: questions. Both are less where Dask ends silent workers soon (``worker-ttl``).
SILENT, AGAIN = 10.0, 30.0
TTL_SHARE = 4


class Suspensions:
    """Asks the grid which silent nodes it has suspended; gives up those too long so.

    Parameters
    ----------
    fleet
        The nodes there are.
    quiet
        Names of workers without a heartbeat for this many seconds.
    changed
        Called with each node that is suspended now, or not any more.
    cancel
        Stops nodes.
    expect_end
        Called for each node that is replaced, which costs no budget.
    say
        Tells people, as a message of this level of `logging`.
    ttl
        Seconds after which Dask ends a silent worker; None is never.
    clock
        Seconds, of any clock that only goes forward.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        quiet: Callable[[float], Collection[str]],
        changed: Callable[[NodeRecord], None],
        cancel: Callable[[list[NodeRecord]], Awaitable[None]],
        expect_end: Callable[[], None],
        say: Callable[[str, int], None],
        ttl: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._fleet, self._quiet, self._changed = fleet, quiet, changed
        self._cancel, self._expect_end = cancel, expect_end
        self._say, self._clock = say, clock
        most = float("inf") if ttl is None else ttl / TTL_SHARE
        self._silent, self._again = min(SILENT, most), min(AGAIN, most)
        #: Silent nodes about which the grid has yet to be asked.
        self._unasked: dict[NodeId, NodeRecord] = {}
        self._next = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def look(self, silent: Collection[NodeRecord]) -> None:
        """Look once.

        Parameters
        ----------
        silent
            Nodes that have just become silent in some other way than by their workers'
            heartbeats: about those the grid is asked at once.
        """
        registry = self._fleet.registry
        await self._give_up()
        quiet = map(registry.bearing, self._quiet(self._silent))
        suspects = [record for record in quiet if record and not record.ending]
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
            self._fleet.registry.resume(record)
            self._changed(record)
            self._say(f"{_subject([record])} resumed by the grid", logging.INFO)

    async def _ask(self, suspects: Collection[NodeRecord]) -> None:
        try:
            found = await self._fleet.launcher.suspended()
        except Exception:
            logger.exception("could not ask the grid which nodes are suspended")
            return
        if found is None:
            return  # unknown: nothing changes
        new, resumed = [], []
        for record in {record.id: record for record in suspects}.values():
            if record.id in found and record.suspended is None and not record.ending:
                self._fleet.registry.suspend(record)
                new.append(record)
            elif record.id not in found and record.suspended is not None:
                self._fleet.registry.resume(record)
                resumed.append(record)
        for record in [*new, *resumed]:
            self._changed(record)
        if new:
            self._say(f"{_subject(new)} suspended by the grid", logging.WARNING)
        if resumed:
            self._say(f"{_subject(resumed)} resumed by the grid", logging.INFO)

    async def _give_up(self) -> None:
        limit = self._fleet.options.suspended_timeout
        if limit is None:
            return
        now = self._fleet.registry.clock()
        late = [
            record
            for record in self._fleet.registry.suspended.values()
            if record.suspended is not None and now - record.suspended >= limit
        ]
        detail = f"{limit:g} s (suspended-timeout)"
        why = Diagnosis(cause=Cause.SUSPENDED, detail=detail, source="grid")
        for record in late:
            self._say(f"replacing {record}: suspended for {detail}", logging.WARNING)
            self._expect_end()
            self._fleet.give_up(record, why)
        if late:
            await self._cancel(late)


def _subject(records: Collection[NodeRecord]) -> str:
    first = next(iter(records))
    if len(records) == 1:
        return f"{first} was"
    return f"{number_of_nodes(len(records))} (e.g. {first}) were"
