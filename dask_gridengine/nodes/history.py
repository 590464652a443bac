"""Nodes as rows, for whoever looks on: pages, pictures, metrics.

One small read-only model between the rosters, which change, and pictures, which only
want to know what has. Where nodes come from is one function that may give one roster
or several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dask_gridengine.clock import steady_time
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

#: Seconds after a node's end in which the grid may still say why; then nobody looks.
SETTLED = 300.0

#: When a node came into each state, as its record has it.
_STAMPS = {
    NodeState.QUEUED: "submitted",
    NodeState.ARRIVED: "arrived",
    NodeState.IMPORTING: "allocated",
    NodeState.WORKING: "working",
    NodeState.SUSPENDED: "suspended",
    NodeState.DRAINING: "leaving",
    NodeState.GONE: "gone",
}


class NodeRow(NamedTuple):
    """One node as it was when somebody looked.

    Nothing of it is secret: neither command lines nor the words of logs are in it.
    Times are seconds since the epoch; None has not happened.
    """

    job: str  # Grid Engine's job id and index, e.g. "123.7"
    pool: str  # of several kinds of nodes; "" where there is one
    worker: str  # "" until it is bound
    host: str  # "" until it has arrived
    queue: str  # of the grid
    state: str
    entered: dict[str, float]  # state -> when it came into it, in that order
    began: float | None  # its first moment on its host
    cause: str  # why it ended; "" while it has not
    source: str  # who said so
    failed: bool  # whether that is a failure, rather than simply over
    restarts: int  # workers that died and that its Nanny replaced
    peak_memory: int  # bytes, of its worker; 0 is not known

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.pool, self.job

    @property
    def over(self) -> bool:
        """Whether the launcher says that it is gone."""
        return self.state == NodeState.GONE.value

    @property
    def wait(self) -> float | None:
        """Seconds in the grid's queue; None for one that has not come from there."""
        if self.began is None:
            return None
        return max(0.0, self.began - self.entered[NodeState.QUEUED.value])

    @property
    def startup(self) -> float | None:
        """Seconds from its first moment until the scheduler had its worker."""
        working = self.entered.get(NodeState.WORKING.value)
        if self.began is None or working is None:
            return None
        return max(0.0, working - self.began)

    @property
    def stays(self) -> Iterator[tuple[str, float, float | None]]:
        """Each state it was in, from when to when; None is until now."""
        ends: list[float | None] = [*list(self.entered.values())[1:], None]
        for (state, start), stop in zip(self.entered.items(), ends, strict=True):
            if state != NodeState.GONE.value:
                yield state, start, stop


class Change(NamedTuple):
    """A node that is new or another than it was."""

    old: NodeRow | None  # None is new
    new: NodeRow


class NodeHistory:
    """What may be seen of a cluster's nodes.

    Parameters
    ----------
    name
        The cluster's.
    rosters
        All nodes there are or were, by the name of their pool; ``""`` if there is one.
    wanted
        How many nodes of each pool there shall be.
    """

    def __init__(
        self,
        name: str,
        rosters: Callable[[], Mapping[str, NodeRegistry]],
        wanted: Callable[[], Mapping[str, int]],
    ) -> None:
        self.name, self.rosters, self.wanted_of = name, rosters, wanted

    @property
    def wanted(self) -> int:
        """How many nodes there shall be."""
        return sum(self.wanted_of().values())

    def rows(self, *, live: bool = False) -> list[NodeRow]:
        """Every node that is kept, pool by pool, in the order of submission.

        Safe in any thread.

        Parameters
        ----------
        live
            Whether to leave out those that are gone, which costs nothing then.
        """
        return [
            row_of(record, pool)
            for pool, registry in self.rosters().items()
            for record in (list(registry.live.values()) if live else registry)
        ]

    def counts(self) -> dict[str, int]:
        """How many nodes are in each state, all named; costs nothing."""
        found: Counter[str] = Counter()
        for registry in self.rosters().values():
            found.update(counts_of(registry))
        return {state.value: found[state.value] for state in NodeState}


class ChangeFollower:
    """Tells what has changed since it was last asked.

    Costs what is alive, and what is kept when nodes are new: a cluster that has had a
    hundred thousand nodes is looked at as quickly as one that has had thousands.

    Parameters
    ----------
    view
        What to look at.
    clock
        The rosters'; tests give their own.
    """

    def __init__(
        self, view: NodeHistory, *, clock: Callable[[], float] = steady_time
    ) -> None:
        self._view, self._clock = view, clock
        self._seen: Counter[str] = Counter()  # nodes of each pool
        self._open: dict[tuple[str, str], tuple[NodeRecord, object, NodeRow | None]]
        self._open = {}

    def look(self) -> list[Change]:
        """Nodes that are new, or another than they were; everything the first time."""
        self._enter()
        now, changes = self._clock(), []
        for key, (record, stamp, old) in list(self._open.items()):
            fresh = _stamp(record)
            if old is None or fresh != stamp:
                new = row_of(record, key[0])
                changes.append(Change(old, new))
                self._open[key] = (record, fresh, new)
            elif record.gone is not None and (
                record.dropped or now - record.gone > SETTLED
            ):
                del self._open[key]
        return changes

    def _enter(self) -> None:
        for pool, registry in self._view.rosters().items():
            seen, total = self._seen[pool], registry.total
            if total > seen:
                self._seen[pool] = total
                for record in registry:
                    if seen <= record.number < total:
                        self._open[pool, str(record.id)] = (record, None, None)


def counts_of(registry: NodeRegistry) -> dict[str, int]:
    """How many nodes of one pool are in each state, all named; costs nothing."""
    counts = registry.shown()
    return {state.value: counts[state] for state in NodeState}


def row_of(record: NodeRecord, pool: str = "") -> NodeRow:
    """A node as it is now."""
    stamps = ((state.value, getattr(record, name)) for state, name in _STAMPS.items())
    why = record.diagnosis if record.ending else None
    return NodeRow(
        str(record.id),
        pool,
        record.worker or "",
        record.host,
        record.queue,
        record.shown.value,
        {state: when for state, when in stamps if when is not None},
        record.began,
        why.cause.value if why else "",
        why.source if why else "",
        why is not None and why.cause.is_failure,
        record.restarts,
        record.peak_memory,
    )


def _stamp(record: NodeRecord) -> object:
    # A tuple of few: this is asked of every node that lives, twice a second.
    return (
        record.shown,
        record.worker,
        record.host,
        record.diagnosis,
        record.restarts,
    )
