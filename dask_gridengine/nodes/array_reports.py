"""What the grid says of arrays: the limit in force, what a site added, why they queue.

A submission says what was asked for. A site's defaults (``sge_request``) and its job
submission verifier may add to that, so the request in force is read back.
"""

from __future__ import annotations

import asyncio
import logging

from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

logger = logging.getLogger(__name__)

#: Seconds that a node queues before the grid is asked why, and between such questions.
QUEUES_LONG, AGAIN = 5.0, 60.0


class ArrayReports:
    """Asks the grid about the arrays of one kind of nodes, sparingly.

    Nothing waits for an answer, and none is needed.

    Parameters
    ----------
    roster
        The nodes.
    """

    def __init__(self, registry: NodeRegistry) -> None:
        self._registry = registry
        self._launcher: Launcher | None = None
        self._native = ""
        self._walltimes: dict[str, float | None] = {}  # by job
        self._asked: dict[str, float] = {}  # by job, when
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._next = float("-inf")
        #: Options in force that the submission did not give, as options of qsub.
        self.added = ""
        self._reasons: tuple[str, ...] = ()

    def open(self, launcher: Launcher, native: str) -> None:
        """From now on the grid can be asked about arrays with these options."""
        self._launcher, self._native = launcher, native

    def close(self) -> None:
        """Wait for no answer any more. Idempotent."""
        self._launcher = None
        for task in self._asking.values():
            task.cancel()

    def walltime(self, job: str) -> float | None:
        """Seconds by the request in force; None if no end is known (yet)."""
        now = self._registry.clock()
        if job not in self._walltimes and now - self._asked.get(job, -AGAIN) >= AGAIN:
            self._ask(job, now)
        return self._walltimes.get(job)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nodes queue, by the last answer of the grid; safe in any thread."""
        return self._reasons if self._registry.counts[NodeState.QUEUED] else ()

    def look(self) -> None:
        """Ask why the oldest node queues, where it has for long, once a minute."""
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
        if self._launcher is None or job in self._asking:
            return
        self._asked[job] = now
        task = asyncio.ensure_future(self._take(self._launcher, job))
        self._asking[job] = task
        task.add_done_callback(lambda _: self._asking.pop(job, None))

    async def _take(self, launcher: Launcher, job: str) -> None:
        try:
            report = await launcher.report(job, self._native)
        except Exception:
            logger.exception("could not read what the grid says of job %s", job)
            return
        self._forget()
        if report is None:
            return
        self._walltimes[job] = report.walltime
        oldest = self._oldest()
        if oldest is not None and oldest.id.job == job:
            self._reasons = report.reasons
        self.added = report.added

    def _forget(self) -> None:
        """Drop arrays that are over."""
        live = {node.job for node in self._registry.live}
        for known in (self._walltimes, self._asked):
            for job in known.keys() - live:
                del known[job]
