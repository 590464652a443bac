"""What the grid reports about an array: its limit, added options, why it queues.

A submission states a request. A site's defaults (``sge_request``) and its job
submission verifier may add to it, so the request in force is read back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dask_gridengine.grid_types import ArrayReport
from dask_gridengine.nodes.registry import NodeRecord, NodeState

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

#: Seconds that a node queues before this asks the grid why, and between such requests.
QUEUES_LONG, AGAIN = 5.0, 60.0


class ArrayReports:
    """Asks the grid about the arrays of a pool, rarely. Nothing waits for an answer."""

    def __init__(self, pool: NodePool) -> None:
        self._pool, self._registry = pool, pool.registry
        self._closed = False
        self._reports: dict[str, ArrayReport] = {}  # by job
        self._asked: dict[str, float] = {}  # by job, when
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._next = float("-inf")
        #: Options in force that the submission did not give, as options of qsub.
        self.added = ""
        self._reasons: tuple[str, ...] = ()

    def close(self) -> None:
        """Stop waiting for answers. Idempotent."""
        self._closed = True
        for task in self._asking.values():
            task.cancel()

    def of(self, job: str) -> ArrayReport:
        """The grid's report about an array; an empty one until it has answered."""
        now = self._registry.clock()
        if job not in self._reports and now - self._asked.get(job, -AGAIN) >= AGAIN:
            self._ask(job, now)
        return self._reports.get(job, ArrayReport())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nodes queue, by the grid's last answer; safe in any thread."""
        return self._reasons if self._registry.counts[NodeState.QUEUED] else ()

    def update(self) -> None:
        """Ask once a minute why the oldest node queues, if it has queued for long."""
        now = self._registry.clock()
        oldest = self._oldest()
        if oldest is None:
            self._reasons = ()
        elif now - oldest.submitted >= QUEUES_LONG and now >= self._next:
            self._next = now + AGAIN
            self._ask(oldest.id.job, now)

    def _oldest(self) -> NodeRecord | None:
        if not self._registry.counts[NodeState.QUEUED]:
            return None
        live = self._registry.live.values()
        return next((r for r in live if r.state is NodeState.QUEUED), None)

    def _ask(self, job: str, now: float) -> None:
        if self._closed or job in self._asking:
            return
        self._asked[job] = now
        self._asking[job] = asyncio.ensure_future(self._take(job))
        self._asking[job].add_done_callback(lambda _: self._asking.pop(job, None))

    async def _take(self, job: str) -> None:
        try:
            report = await self._pool.launcher.report(job, self._pool.request.native)
        except Exception:
            logger.exception("Could not read the grid's report about job %s", job)
            return
        live = {node.job for node in self._registry.live}
        for ended in self._asked.keys() - live:
            del self._asked[ended]
            self._reports.pop(ended, None)
        if report is None:
            return
        self._reports[job] = report
        oldest = self._oldest()
        if oldest is not None and oldest.id.job == job:
            self._reasons = report.reasons
        self.added = report.added
