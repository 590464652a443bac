"""Nodes as rows: the read model between the registries and all views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

#: The field of a row, and of a record, with the time at which it entered each state.
_ENTERED = {
    NodeState.QUEUED: "submitted",
    NodeState.ARRIVED: "arrived",
    NodeState.IMPORTING: "allocated",
    NodeState.WORKING: "working",
    NodeState.SUSPENDED: "suspended",
    NodeState.DRAINING: "leaving",
    NodeState.GONE: "gone",
}


class JobRow(NamedTuple):
    """One node at one moment; times are in seconds since the epoch.

    Pages and metrics are open to everyone who reaches the dashboard's port. So a row
    has no command lines and no log text, which may hold secrets.
    """

    id: NodeId  # Grid Engine's job id and index, e.g. 123.7
    host: str  # "" until it arrives
    state: NodeState
    since: float  # when it entered that state
    worker: str | None  # the name of its worker; None until it has an allocation
    peak_memory: int  # bytes, of its worker; 0 if unknown
    cause: str  # of its end; "" before, and while unknown
    pid: int  # on its host; 0 until it arrives
    submitted: float
    arrived: float | None  # first contact with the cluster
    working: float | None  # its worker registered with the scheduler
    pool: str  # "" if the cluster has one pool
    queue: str  # of the grid
    began: float | None  # first moment on its host
    allocated: float | None
    suspended: float | None  # None if it is not suspended now
    leaving: float | None
    gone: float | None
    source: str  # of the cause
    failed: bool
    restarts: int  # workers that died and that its Nanny replaced
    restarted: float | None  # when the last of them died
    death: str  # the cause; "" without restarts

    @property
    def key(self) -> tuple[str, NodeId]:
        """Identifies the node in a cluster: a job id may exist in two pools."""
        return self.pool, self.id

    @property
    def ended(self) -> bool:
        return self.state is NodeState.GONE

    @property
    def note(self) -> str:
        """Why it ended, or of what its worker died."""
        if self.cause or not self.restarts:
            return self.cause
        times = "" if self.restarts == 1 else f" {self.restarts} times"
        return f"its worker {self.death}, restarted{times}"

    @property
    def entered(self) -> dict[str, float]:
        """When it entered each state, in that order."""
        times = ((state.value, getattr(self, name)) for state, name in _ENTERED.items())
        return {state: time for state, time in times if time is not None}

    @property
    def queue_wait(self) -> float | None:
        """Seconds in the grid's queue; None if it has not started."""
        return None if self.began is None else max(0.0, self.began - self.submitted)

    @property
    def startup(self) -> float | None:
        """Seconds from its first moment until its worker registered; None before."""
        if self.began is None or self.working is None:
            return None
        return max(0.0, self.working - self.began)

    @property
    def periods(self) -> Iterator[tuple[str, float, float | None]]:
        """Each state it was in, with start and end; the end is None if it still is."""
        times = self.entered
        ends: list[float | None] = [*list(times.values())[1:], None]
        for (state, start), end in zip(times.items(), ends, strict=True):
            if state != NodeState.GONE.value:
                yield state, start, end


class NodeHistory:
    """The nodes of a cluster; safe to read in any thread.

    `registries` and `requested_by_pool` return one entry for each pool; the pool is
    "" if there is only one.
    """

    def __init__(
        self,
        name: str,
        registries: Callable[[], Mapping[str, NodeRegistry]],
        requested_by_pool: Callable[[], Mapping[str, int]],
    ) -> None:
        self.name = name  # of the cluster
        self.registries, self.requested_by_pool = registries, requested_by_pool

    @property
    def requested(self) -> int:
        return sum(self.requested_by_pool().values())

    def rows(self, *, live: bool = False) -> list[JobRow]:
        """Return live nodes and, unless `live`, the ended ones that are still kept."""
        return [
            row_of(record)
            for registry in self.registries().values()
            for record in (list(registry.live.values()) if live else registry)
        ]

    def counts(self, pool: str | None = None) -> dict[str, int]:
        """Count the nodes in each state, also those not kept; costs O(states)."""
        registries = self.registries()
        some = registries.values() if pool is None else [registries[pool]]
        counts = [registry.shown() for registry in some]
        return {state.value: sum(each[state] for each in counts) for state in NodeState}


def row_of(record: NodeRecord) -> JobRow:
    """Make the row of a node as it is now."""
    diagnosis = record.diagnosis if record.ending else None
    return JobRow(
        id=record.id,
        host=record.host,
        state=record.shown,
        since=record.shown_since,
        worker=record.worker,
        peak_memory=record.peak_memory,
        cause=diagnosis.cause.value if diagnosis else "",
        pid=record.pid,
        submitted=record.submitted,
        arrived=record.arrived,
        working=record.working,
        pool=record.pool,
        queue=record.queue,
        began=record.began,
        allocated=record.allocated,
        suspended=record.suspended,
        leaving=record.leaving,
        gone=record.gone,
        source=diagnosis.source if diagnosis else "",
        failed=diagnosis is not None and diagnosis.cause.is_failure,
        restarts=record.restarts,
        restarted=record.restarted,
        death=record.death.cause.value if record.death else "",
    )
