"""The roster: every node ever submitted, and the state each is in."""

from __future__ import annotations

import enum
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dask_gridengine.allocation import Farewell, Hello
from dask_gridengine.causes import Diagnosis
from dask_gridengine.launchers.base import NodeId


class NodeState(str, enum.Enum):
    """Where a node is on its way; it only ever moves down this list."""

    QUEUED = "queued"  # the grid has it, and it has not been heard of
    ARRIVED = "arrived"  # it said hello and was told to wait
    IMPORTING = "importing"  # it has its allocation and becomes its worker
    WORKING = "working"  # the scheduler has its worker
    LEAVING = "leaving"  # it was told to go, or said farewell
    GONE = "gone"  # the launcher says so


_ORDER = {state: place for place, state in enumerate(NodeState)}


@dataclass(kw_only=True, slots=True)
class NodeRecord:
    """All that is known of one node. Times are `time.time` seconds."""

    id: NodeId
    state: NodeState
    since: float  # when it came into this state
    submitted: float
    arrived: float | None = None
    allocated: float | None = None
    working: float | None = None
    incarnation: str | None = None
    host: str = ""
    pid: int = 0
    via: str = ""  # which of the cluster's addresses answered
    worker: str | None = None  # the name it was bound to
    cancelled: bool = False  # by us
    farewell: Farewell | None = None
    diagnosis: Diagnosis | None = None

    def __str__(self) -> str:
        return f"node {self.id}" + (f" on {self.host}" if self.host else "")

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of it yet."""
        return self.state is NodeState.QUEUED


class Roster:
    """Nodes by id, with the worker names that still wait for one.

    The grid's tasks are interchangeable, so a *name* waits here until some node
    arrives to bear it; the oldest name goes first.

    Parameters
    ----------
    clock
        Seconds since the epoch; tests give their own.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.records: dict[NodeId, NodeRecord] = {}
        #: How many nodes are in each state; kept, so that it costs nothing to ask.
        self.counts: Counter[NodeState] = Counter()
        #: Names without a node, oldest first.
        self.unbound: deque[str] = deque()
        self.by_worker: dict[str, NodeRecord] = {}
        #: Whether any node has become a worker yet.
        self.worked = False
        #: How many nodes import on each host.
        self.importing_on: Counter[str] = Counter()
        self._clock = clock

    def __iter__(self) -> Iterator[NodeRecord]:
        return iter(self.records.values())

    def submitted(self, ids: Iterable[NodeId]) -> None:
        """Enter nodes the launcher has just queued."""
        now = self._clock()
        for node in ids:
            self.records[node] = NodeRecord(
                id=node, state=NodeState.QUEUED, since=now, submitted=now
            )
            self.counts[NodeState.QUEUED] += 1

    def move(self, record: NodeRecord, state: NodeState) -> bool:
        """Bring a node into a later state; a step back or none changes nothing.

        Reports of one node come by three ways (door, scheduler, launcher) that
        overtake each other: a late "importing" must not revive what is gone.
        """
        if _ORDER[state] <= _ORDER[record.state]:
            return False
        self.counts[record.state] -= 1
        self.counts[state] += 1
        if record.state is NodeState.IMPORTING:
            self.importing_on[record.host] -= 1
        if state is NodeState.IMPORTING:
            self.importing_on[record.host] += 1
        record.state, record.since = state, self._clock()
        return True

    def arrive(self, record: NodeRecord, hello: Hello) -> None:
        """A node said its first hello."""
        record.incarnation = hello.incarnation
        record.host, record.pid, record.via = hello.host, hello.pid, hello.via
        record.arrived = self._clock()
        self.move(record, NodeState.ARRIVED)

    def bind(self, record: NodeRecord) -> str:
        """Give the oldest waiting name to a node that has arrived."""
        name = self.unbound.popleft()
        record.worker, record.allocated = name, self._clock()
        self.by_worker[name] = record
        self.move(record, NodeState.IMPORTING)
        return name

    def registered(self, name: str) -> NodeRecord | None:
        """The scheduler has a worker of this name."""
        record = self.by_worker.get(name)
        if record is not None and self.move(record, NodeState.WORKING):
            record.working = self._clock()
            self.worked = True
        return record

    def in_state(self, *states: NodeState) -> list[NodeRecord]:
        """Nodes in any of these states, in the order of submission."""
        return [record for record in self if record.state in states]

    @property
    def expected(self) -> int:
        """Nodes that may still come to the door for a name."""
        return self.counts[NodeState.QUEUED] + self.counts[NodeState.ARRIVED]

    @property
    def alive(self) -> int:
        """Nodes that hold, or wait for, a place on the grid."""
        return len(self.records) - self.counts[NodeState.GONE]
