"""What one view shows of the nodes, kept up to date by their changes."""

from __future__ import annotations

import bisect
import math
import statistics
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from dask_gridengine.clock import steady_time
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.history import JobRow, NodeHistory, row_of
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry

#: Seconds after its end for which a node is checked: accounting may refine its cause.
SETTLED = 300.0

#: Upper bounds of the buckets of `Delays` in seconds, in steps of about two.
BUCKETS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800,
    3600, 7200, 18_000, 43_200, 86_400, 259_200, math.inf,
)  # fmt: skip

_MEDIAN_OF = 2_000  # most recent delays


class Change(NamedTuple):
    """A node that is new or differs from what it was."""

    old: JobRow | None  # None if it is new
    new: JobRow


class Delays:
    """A histogram of durations in seconds, by `BUCKETS`."""

    def __init__(self) -> None:
        self.counts = [0] * len(BUCKETS)
        self.total, self.longest = 0.0, 0.0  # seconds
        self._recent: deque[float] = deque(maxlen=_MEDIAN_OF)

    def __len__(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._recent.append(seconds)

    def median(self) -> float | None:
        """Return the median of the most recent ones; None without any."""
        return statistics.median(self._recent) if self._recent else None


class NodeSummary:
    """Live nodes, delays and failures of a cluster, as of the last `update`.

    Each view has its own. It keeps rows of live nodes and of those that ended in the
    last minutes: its size does not grow with the number of nodes there ever were.
    With `pool` it takes in that pool only.
    """

    def __init__(
        self,
        history: NodeHistory,
        *,
        pool: str | None = None,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self.history, self.clock, self._pool = history, clock, pool
        #: Nodes that have not ended, in the order of submission.
        self.live: dict[tuple[str, NodeId], JobRow] = {}
        self.queue_wait, self.startup = Delays(), Delays()
        self.restarts = 0  # workers that died and that their Nannies replaced
        self._seen: Counter[str] = Counter()  # nodes of each pool
        #: Nodes that may still change, with what they were at the last update.
        self._open: dict[tuple[str, NodeId], tuple[NodeRecord, object, JobRow | None]]
        self._open = {}
        # A notebook's cell and its refreshed output may update it in two threads.
        self._lock = threading.Lock()

    def update(self) -> list[Change]:
        """Take in what changed since the last call; the first returns every node kept.

        Costs O(live nodes), and O(nodes kept) if there are new ones.
        """
        with self._lock:
            self._open_new()
            changes = self._changes()
            for change in changes:
                self._count(change)
            return changes

    def ended(self) -> Counter[Cause | None]:
        """Count the nodes that ended, also those not kept; None is not yet known."""
        return sum((r.causes() for r in self._registries().values()), Counter())

    def failures(self) -> Counter[str]:
        """Count the nodes that failed, by cause."""
        ended = self.ended().items()
        return Counter({c.value: n for c, n in ended if c is not None and c.is_failure})

    def oldest_queued(self) -> float | None:
        """Return when the oldest queued node was submitted; None without any."""
        return min((row.submitted for row in self.in_states("queued")), default=None)

    def longest_wait(self) -> float | None:
        """Return for how many seconds it queues; None without any."""
        oldest = self.oldest_queued()
        return None if oldest is None else max(0.0, self.clock() - oldest)

    def hosts(self, *states: str) -> int:
        """Count the hosts with nodes in any of these states."""
        return len({row.host for row in self.in_states(*states)})

    def in_states(self, *states: str) -> list[JobRow]:
        return [row for row in list(self.live.values()) if row.state.value in states]

    def _registries(self) -> dict[str, NodeRegistry]:
        registries = self.history.registries()
        return {p: r for p, r in registries.items() if self._pool in (None, p)}

    def _open_new(self) -> None:
        for pool, registry in self._registries().items():
            seen, total = self._seen[pool], registry.total
            if total > seen:
                self._seen[pool] = total
                for record in registry:
                    if seen <= record.number < total:
                        self._open[pool, record.id] = (record, None, None)

    def _changes(self) -> list[Change]:
        now, changes = self.clock(), []
        for key, (record, was, old) in list(self._open.items()):
            current = _changing(record)
            if current != was:
                new = row_of(record)
                changes.append(Change(old, new))
                self._open[key] = (record, current, new)
            elif record.gone is not None and now - record.gone > SETTLED:
                del self._open[key]
        return changes

    def _count(self, change: Change) -> None:
        old, new = change
        if new.ended:
            self.live.pop(new.key, None)
        else:
            self.live[new.key] = new
        self.restarts += new.restarts - (old.restarts if old else 0)
        if new.queue_wait is not None and (old is None or old.queue_wait is None):
            self.queue_wait.add(new.queue_wait)
        if new.startup is not None and (old is None or old.startup is None):
            self.startup.add(new.startup)


def _changing(record: NodeRecord) -> object:
    """Return what tells two states of a node apart.

    A tuple of few: it is made twice a second for every live node, and a `JobRow`
    takes ten times as long.
    """
    return (
        record.shown,
        record.worker,
        record.host,
        record.diagnosis,
        record.restarts,
    )
