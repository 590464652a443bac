"""Submit the nodes that are missing, within the replacement budget."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dask_gridengine.errors import (
    DrmCommunicationError,
    GridFull,
    LauncherError,
    SubmitError,
)
from dask_gridengine.exit_causes import Cause
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.rate_limiter import RateLimiter, doubled

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

#: Seconds between single submissions while all nodes fail; they double.
FIRST_PROBE, LONGEST_PROBE = 60.0, 1800.0
#: Seconds between submissions while the grid does not take any; they double.
FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0
DECISIONS_KEPT = 100


class Reconciler:
    """Decides how many of a pool's missing nodes are submitted, and when.

    A node is missing for each desired name without a node that no queued node can take.
    Nodes held on an excluded host can take none.
    """

    def __init__(self, pool: NodePool) -> None:
        self._pool = pool
        #: Missing nodes that cost no replacement budget: those of scale() and of nodes
        #: that end as planned.
        self.free = 0
        #: Nodes that a user deleted since the desired number was last set.
        self.deleted_nodes: list[NodeRecord] = []
        self._unreported: list[NodeRecord] = []  # of those
        self.decisions: list[str] = []  # for `explain`
        self.submission_error = ""  # why nothing can be submitted now
        self._retries, self._retry_at = 0, 0.0
        self._error: LauncherError | None = None  # of the last submission
        self._probes, self._next_probe = 0, 0.0
        self.limiter = RateLimiter(self._now)

    @property
    def _now(self) -> float:
        return self._pool.registry.clock()

    @property
    def missing(self) -> int:
        """Number of missing nodes; safe in any thread."""
        pool = self._pool
        coming = (
            pool.registry.expected - pool.admission.num_blocked + pool.arrays.in_flight
        )
        return max(0, len(pool.registry.unbound) - coming)

    @property
    def persistent_failure(self) -> Cause | None:
        """Why only single nodes are submitted, as probes; None if nothing is wrong.

        A probe that queues is no reason to expect a worker, one that has started is.
        """
        pool = self._pool
        counts = pool.registry.counts
        starting = counts[NodeState.IMPORTING] + counts[NodeState.ARRIVED]
        if starting - pool.admission.num_blocked:
            return None
        possible = pool.blocklist.possible
        return pool.failures.persistent_failure(
            hosts=None if possible is None else len(possible)
        )

    def note_scaled(self, desired: int, added: int, *, by_user: bool) -> None:
        """Take over a new desired number.

        A user's number clears all failures. Adaptive scaling repeats the same number
        whatever fails, so it does not.
        """
        self.deleted_nodes.clear()
        self.limiter.resize(desired)
        if by_user:
            self._pool.failures.reset()
            self._probes, self._next_probe, self._retry_at = 0, 0.0, 0.0
            self.limiter.renew(self._now)
        if self.persistent_failure is None:
            self.free += added

    def note_deleted(self, record: NodeRecord) -> None:
        """A user has deleted a desired node: it is not replaced."""
        self.deleted_nodes.append(record)
        self._unreported.append(record)

    def note_success(self, *, resumed: bool = False) -> None:
        """A node has worked for a while: the next loss is replaced at once.

        After this process was suspended, losses say nothing about the nodes.
        """
        self.limiter.note_success()
        if resumed:
            self._pool.failures.reset()
            self._pool.blocklist.clear()

    def due(self) -> float:
        """Seconds until missing nodes may be submitted; infinity if none may."""
        missing = self.missing
        arrays = self._pool.arrays
        if not missing or not arrays.room or self.persistent_failure:
            return float("inf")
        if arrays.in_flight:
            return float("inf")  # one submission at a time
        now = self._now
        budget = 0.0 if self.free else self.limiter.wait(now)
        return max(budget, self._retry_at - now, 0.05)

    async def submit(self) -> LauncherError | None:
        """Submit missing nodes as one array; return the error if that fails."""
        await self._pool.arrays.wait_for_limit(self.missing)
        missing = self.missing
        self.free = min(self.free, missing)
        if not missing:
            self.submission_error = ""
            return None
        free, charged = self._affordable(missing)
        if not free + charged:
            # scale() must not succeed because another pass met its rejection.
            return self._error if self._now < self._retry_at else None
        try:
            queued = await self._pool.submit(free + charged)
        except (DrmCommunicationError, GridFull) as exc:
            self.limiter.give_back(charged)
            self._error = exc
            self.submission_failed(str(exc))
            return exc
        except LauncherError as exc:
            self._error = exc
            self._rejected(exc, free, charged)
            return exc
        self.clear_backoff()
        self.free -= min(free, queued)
        replaced = max(0, queued - free)
        self.limiter.give_back(charged - replaced)
        if replaced:
            text = f"Submitted {plural(replaced, 'replacement node')}"
            self.tell(text, logging.INFO)
        if self.missing:
            self._pool.wake()  # the grid may take the rest as another array
        return None

    def _affordable(self, missing: int) -> tuple[int, int]:
        """How many nodes may be submitted now: free of charge, and from the budget."""
        pool, now = self._pool, self._now
        held, room = pool.admission.num_blocked, pool.arrays.room
        if now < self._retry_at:
            return 0, 0
        if self.persistent_failure is not None:
            if pool.registry.expected > held or now < self._next_probe:
                return 0, 0  # a queued node is a probe as well
            pause = doubled(FIRST_PROBE, self._probes, LONGEST_PROBE)
            self._probes, self._next_probe = self._probes + 1, now + pause
            missing = 1
        missing = min(missing, room)
        free = min(self.free, missing)
        charged = self.limiter.grant(missing - free, now)
        # Stand-ins for held nodes are submitted all together or not at all.
        if free + charged < min(held, missing):
            self.limiter.give_back(charged)
            return 0, 0
        return free, charged

    def submission_failed(self, why: str) -> None:
        """Try again later: the grid does not answer, or takes no more of our jobs."""
        seconds = self._back_off()
        if not self.submission_error:
            self.tell(
                f"Submission failed, will retry in {format_duration(seconds)}: {why}"
            )
        self.submission_error = why
        self._pool.wake()

    def _back_off(self) -> float:
        pause = doubled(FIRST_RETRY, self._retries, LONGEST_RETRY)
        self._retries, self._retry_at = self._retries + 1, self._now + pause
        return pause

    def clear_backoff(self) -> None:
        """The grid has answered: the next submission need not wait."""
        self._retries, self._retry_at, self.submission_error = 0, 0.0, ""

    def _rejected(self, exc: LauncherError, free: int, charged: int) -> None:
        """Keep the error of a rejected submission.

        Rejected replacements are failures, and have cost their budget. The first
        rejection of free nodes is not counted: scale() raises that of its nodes, and
        they are not tried again. Others are, and then count like replacements.
        """
        if charged:
            self.clear_backoff()
        else:
            first = not self._retries
            self._back_off()
            self.submission_error = str(exc)
            if first:
                return
        count = plural(free + charged, "node")
        if isinstance(exc, SubmitError):
            self._pool.failures.rejected()
            self.tell(f"The grid rejected {count}: {exc.reason.strip()}")
        else:
            self.tell(f"Could not submit {count}: {exc}")

    def report_deleted(self) -> None:
        """Tell of deleted nodes in one line: a user may have deleted a thousand."""
        records, self._unreported = self._unreported, []
        if records:
            first, count = records[0], len(records)
            assert first.diagnosis is not None
            subject = str(first) if count == 1 else f"{count} nodes (e.g. {first})"
            text = first.diagnosis.sentence(subject, first.id.job, many=count > 1)
            self.tell(f"{text}; requested from now on: {self._pool.wanted}")

    def tell(self, text: str, level: int = logging.WARNING) -> None:
        """Add a line to the logs, and to what `explain` reports as decisions."""
        self.decisions.append(text)
        del self.decisions[:-DECISIONS_KEPT]
        self._pool.note(text)
        logger.log(level, "%s", text)
