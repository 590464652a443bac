"""Find ended nodes in the grid's job list, where DRMAA's end notices are wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping

from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import EndNotice, Listed, NodeId

POLL_INTERVAL = 5.0  # seconds; each poll lists all jobs of this user
AFTER_DELETION = 0.5  # seconds from a deletion to the next poll
#: Seconds a node must be missing from the list before it counts as gone. A new node may
#: be listed late.
MISSING, NEW_MISSING = POLL_INTERVAL, 20.0
NO_SUCH_JOB = "the grid no longer lists this job and has no record of how it ended"

#: Every node the grid knows, with its end if it has ended.
JobListing = Mapping[NodeId, EndNotice | Listed]


class JobListPoller:
    """Finds nodes that a list shows as ended or no longer shows."""

    def __init__(
        self,
        list_jobs: Callable[[], JobListing],
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._list_jobs, self._clock = list_jobs, clock
        self._last_listed: dict[NodeId, float] = {}  # of live nodes
        self._new: set[NodeId] = set()  # live nodes that were never listed
        self._ends: deque[EndNotice] = deque()
        self._next = 0.0
        #: Whether a node that the grid is ending has ended, as when a cluster closes:
        #: Slurm's epilog may take long, and an unkillable process for ever.
        self.count_ending = False

    def add(self, nodes: Collection[NodeId]) -> None:
        """Poll for these nodes from now on."""
        self._last_listed.update(dict.fromkeys(nodes, self._clock()))
        self._new.update(nodes)

    def poll_soon(self) -> None:
        """Poll soon because jobs were deleted."""
        self._next = min(self._next, self._clock() + AFTER_DELETION)

    def next_end(self) -> EndNotice | None:
        """Return one end, if any; poll when a poll is due.

        Raises what `list_jobs` raises. That says nothing about any node.
        """
        now = self._clock()
        if not self._ends and self._last_listed and now >= self._next:
            self._next = now + POLL_INTERVAL
            self._poll(now)
        return self._ends.popleft() if self._ends else None

    def is_live(self, node: NodeId) -> bool:
        """Whether a node has not ended, by the last poll."""
        return node in self._last_listed

    def _poll(self, now: float) -> None:
        try:
            listing = self._list_jobs()
        except Exception:
            # The time without a list does not count as missing.
            self._last_listed = dict.fromkeys(self._last_listed, now)
            raise
        for node, last_listed in list(self._last_listed.items()):
            end = listing.get(node)
            if end is Listed.ENDING and self.count_ending:
                end = EndNotice(node=node)
            if isinstance(end, Listed):
                self._last_listed[node] = now
                self._new.discard(node)
                continue
            limit = NEW_MISSING if node in self._new else MISSING
            if end is not None or now - last_listed >= limit:
                del self._last_listed[node]
                self._new.discard(node)
                self._ends.append(end or _missing(node))


def _missing(node: NodeId) -> EndNotice:
    # Measured with Slurm: a job that is deleted in the queue leaves no record. One that
    # has run is listed for minutes after its end.
    return EndNotice(node=node, deleted=True, reason=NO_SUCH_JOB)
