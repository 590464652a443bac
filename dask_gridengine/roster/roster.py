"""The roster: every node ever submitted, and the state each is in."""

from __future__ import annotations

import enum
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dask_gridengine.bootstrap.allocation import Farewell, Hello
from dask_gridengine.causes import Diagnosis
from dask_gridengine.grid import NodeId
from dask_gridengine.names import node_of

logger = logging.getLogger(__name__)


class NodeState(str, enum.Enum):
    """Where a node is on its way; it only ever moves down this list."""

    QUEUED = "queued"  # the grid has it, and it has not been heard of
    ARRIVED = "arrived"  # it said hello and was told to wait
    IMPORTING = "importing"  # it has its allocation and becomes its worker
    WORKING = "working"  # the scheduler has its worker, or the first of them
    DRAINING = "draining"  # it was told to go, or said farewell
    GONE = "gone"  # the launcher says so


_ON_ITS_WAY_OUT = frozenset({NodeState.DRAINING, NodeState.GONE})

#: What may follow what. A node may be told to go, and may end, at any time.
TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    NodeState.QUEUED: frozenset({NodeState.ARRIVED}) | _ON_ITS_WAY_OUT,
    NodeState.ARRIVED: frozenset({NodeState.IMPORTING}) | _ON_ITS_WAY_OUT,
    NodeState.IMPORTING: frozenset({NodeState.WORKING}) | _ON_ITS_WAY_OUT,
    NodeState.WORKING: _ON_ITS_WAY_OUT,
    NodeState.DRAINING: frozenset({NodeState.GONE}),
    NodeState.GONE: frozenset(),
}

#: Reports come by three ways (door, scheduler, launcher) that overtake each other:
#: these are old news, not errors.
_OVERTAKEN = {
    (NodeState.WORKING, NodeState.WORKING),  # its Nanny has started a new worker
    (NodeState.DRAINING, NodeState.WORKING),
    (NodeState.DRAINING, NodeState.DRAINING),
    (NodeState.GONE, NodeState.WORKING),
    (NodeState.GONE, NodeState.DRAINING),
    (NodeState.GONE, NodeState.GONE),
}


@dataclass(kw_only=True, slots=True)
class NodeRecord:
    """All that is known of one node. Times are `time.time` seconds."""

    id: NodeId
    mark: str = ""  # of its submission
    log: str = ""  # the name of its log, without ".log"
    pool: str = ""  # whose it is; "" where there is only one kind of nodes
    state: NodeState
    since: float  # when it came into this state
    submitted: float
    arrived: float | None = None
    heard: float | None = None  # its last hello
    allocated: float | None = None
    working: float | None = None
    leaving: float | None = None  # told to go, or said farewell
    gone: float | None = None
    incarnation: str | None = None
    host: str = ""
    pid: int = 0
    via: str = ""  # which of the cluster's addresses answered
    tried: dict[str, str] = field(default_factory=dict)  # those tried, and the answers
    granted_memory: int = 0  # bytes the grid leaves it; 0 is no limit
    worker: str | None = None  # the name it was bound to: of its worker, or of them all
    cancelled: bool = False  # by us
    present: set[str] = field(default_factory=set)  # its workers that registered
    missing: dict[str, float] = field(default_factory=dict)  # those lost, since when
    began: float | None = None  # its first moment, by this cluster's clock
    queue: str = ""  # of the grid, that it was given
    notify: float = 0.0  # seconds from a courtesy signal to the deed; 0 is unknown
    turned: Diagnosis | None = None  # why it must go although it is wanted
    unfinished: str = ""  # tasks that it cannot finish before it goes
    given_up: bool = False  # it fell silent; the grid may still have it
    over: bool = False  # nothing more comes of it: its worker's name is free
    asked: float | None = None  # when the grid was asked about its silence
    retired: bool = False  # the scheduler let its worker go on purpose
    restarts: int = 0  # workers that died and that its Nanny replaced
    restarting: set[str] = field(default_factory=set)  # of those, whose Nanny said so
    death: Diagnosis | None = None  # why the last of those died
    peak_memory: int = 0  # bytes, of one worker process; 0 is unknown
    farewell: Farewell | None = None
    last_words: str = ""  # the end of its log
    diagnosis: Diagnosis | None = None

    def __str__(self) -> str:
        return f"node {self.id}" + (f" on {self.host}" if self.host else "")

    @property
    def lost(self) -> float | None:
        """Since when the scheduler misses all of its workers; None if it has one."""
        return max(self.missing.values()) if self.missing and not self.present else None

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of it yet."""
        return self.state is NodeState.QUEUED

    @property
    def ending(self) -> bool:
        """Whether it is gone, or will be without anybody's doing."""
        return self.state in _ON_ITS_WAY_OUT


class Roster:
    """Nodes by id, with the worker names that still wait for one.

    The grid's tasks are interchangeable, so a *name* waits here until some node
    arrives to bear it; the oldest name goes first.

    Parameters
    ----------
    pool
        Whose nodes they are; "" where there is only one kind.
    clock
        Seconds since the epoch; tests give their own.
    """

    def __init__(
        self, *, pool: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._pool = pool
        self.records: dict[NodeId, NodeRecord] = {}
        #: How many nodes are in each state; kept, so that it costs nothing to ask.
        self.counts: Counter[NodeState] = Counter()
        #: Those that are not gone: what a look at all of them has to look at.
        self.live: dict[NodeId, NodeRecord] = {}
        #: Names without a node, oldest first.
        self.unbound: deque[str] = deque()
        #: Nodes to ask for as soon as the grid, or the user's limit, has room.
        self.owed = 0
        self.by_worker: dict[str, NodeRecord] = {}
        self._numbered: dict[tuple[str, int], NodeId] = {}
        self.clock = clock

    def __iter__(self) -> Iterator[NodeRecord]:
        # A copy, made in one step: other threads look on while nodes come and go.
        return iter(list(self.records.values()))

    def submitted(
        self, ids: Iterable[NodeId], mark: str = "", *, numbered: bool = False
    ) -> None:
        """Enter nodes the launcher has just queued.

        Parameters
        ----------
        ids
            Theirs, in the order of the launcher's answer.
        mark
            Of their submission, which they carry.
        numbered
            Whether they do not know their ids, but their places in that order.
        """
        now = self.clock()
        for number, node in enumerate(ids, 1):
            if numbered:
                self._numbered[mark, number] = node
            self.records[node] = self.live[node] = NodeRecord(
                id=node,
                mark=mark,
                log=f"{mark}.{number}" if numbered else str(node),
                pool=self._pool,
                state=NodeState.QUEUED,
                since=now,
                submitted=now,
            )
            self.counts[NodeState.QUEUED] += 1

    def saying(self, said: Hello | Farewell) -> NodeRecord | None:
        """The node that says this, by its id, or by its place in its submission."""
        node: NodeId | None = NodeId(said.job, said.index)
        if not said.job:
            node = self._numbered.get((said.mark, said.index))
        return self.records.get(node) if node else None

    def move(self, record: NodeRecord, state: NodeState) -> bool:
        """Bring a node into another state; whether that was news.

        What cannot be is a line in the log and changes nothing: a state is never
        guessed, and one mistake must not take the cluster down.
        """
        if state not in TRANSITIONS[record.state]:
            if (record.state, state) not in _OVERTAKEN:
                logger.error(
                    "illegal transition of %s: %s to %s; please report this",
                    record,
                    record.state.value,
                    state.value,
                )
            return False
        self.counts[record.state] -= 1
        self.counts[state] += 1
        now = self.clock()
        if state is NodeState.DRAINING:
            record.leaving = now
        elif state is NodeState.GONE:
            record.gone = now
            self.live.pop(record.id, None)
        record.state, record.since = state, now
        return True

    def arrive(self, record: NodeRecord, hello: Hello) -> None:
        """A node said its first hello."""
        record.incarnation = hello.incarnation
        record.host, record.pid, record.via = hello.host, hello.pid, hello.via
        record.tried = hello.tried
        record.granted_memory = hello.memory
        record.queue, record.notify = hello.queue, hello.notify
        record.arrived = self.clock()
        record.began = record.arrived - hello.age
        self.move(record, NodeState.ARRIVED)

    def bind(self, record: NodeRecord) -> str:
        """Give the oldest waiting name to a node that has arrived."""
        name = self.unbound.popleft()
        record.worker, record.allocated = name, self.clock()
        self.by_worker[name] = record
        self.move(record, NodeState.IMPORTING)
        return name

    def registered(self, name: str) -> NodeRecord | None:
        """The scheduler has a worker of this name; the node, if it is one of ours."""
        record = self.bearing(name)
        if record is None:
            return None
        record.present.add(name)
        record.missing.pop(name, None)
        record.restarting.discard(name)
        record.asked = None
        if self.move(record, NodeState.WORKING):
            record.working = self.clock()
        return record

    def missing(self, name: str, *, expected: bool) -> NodeRecord | None:
        """The scheduler has no worker of this name any more.

        Parameters
        ----------
        name
            The worker's.
        expected
            Whether the scheduler let it go on purpose.
        """
        record = self.bearing(name)
        if record is not None and not record.ending:
            record.present.discard(name)
            record.retired |= expected
            # One of several that was let go is not missed; the last one is, because
            # its node is to say farewell now.
            if not expected or not record.present:
                record.missing[name] = self.clock()
        return record

    def bearing(self, worker: str) -> NodeRecord | None:
        """The node whose worker has this name."""
        return self.by_worker.get(node_of(worker))

    def in_state(self, *states: NodeState) -> list[NodeRecord]:
        """Nodes in any of these states, in the order of submission."""
        among = self.records if NodeState.GONE in states else self.live
        return [record for record in list(among.values()) if record.state in states]

    @property
    def expected(self) -> int:
        """Nodes that may still come to the door for a name."""
        return self.counts[NodeState.QUEUED] + self.counts[NodeState.ARRIVED]

    @property
    def alive(self) -> int:
        """Nodes that hold, or wait for, a place on the grid."""
        return len(self.live)
