"""The roster: the nodes there are, the state of each, and the last that ended."""

from __future__ import annotations

import enum
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dask_gridengine.bootstrap.messages import ExitReport, Hello
from dask_gridengine.clock import steady_time
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.naming import node_of

logger = logging.getLogger(__name__)


#: Ended nodes whose details are kept; of all others there are counts. A record takes
#: about 5 kB, and `jobs`, `explain` and each picture look at all of them.
ENDED_KEPT = 2_000


class NodeState(str, enum.Enum):
    """Where a node is on its way; it only ever moves down this list.

    ``SUSPENDED`` is the exception: it is what people are shown of a node that the grid
    has suspended. Its record keeps the state in which it goes on.
    """

    QUEUED = "queued"  # the grid has it, and it has not been heard of
    ARRIVED = "arrived"  # it said hello and was told to wait
    IMPORTING = "importing"  # it has its allocation and becomes its worker
    WORKING = "working"  # the scheduler has its worker, or the first of them
    SUSPENDED = "suspended"  # by the grid; it goes on when the grid resumes it
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
    """All that is known of one node. Times are by `steady_time`."""

    id: NodeId
    number: int = 0  # how many were submitted before it
    known_as: tuple[str, int] = ("", 0)  # by what it knows of itself, see `saying`
    submission_id: str = ""  # of its submission
    log: str = ""  # the name of its log, without ".log"
    pool: str = ""  # whose it is; "" where there is only one kind of nodes
    state: NodeState
    since: float  # when it came into this state
    submitted: float
    arrived: float | None = None
    heard: float | None = None  # its last hello
    allocated: float | None = None
    working: float | None = None
    suspended: float | None = None  # since when, by the grid; None if it is not
    leaving: float | None = None  # told to go, or said farewell
    gone: float | None = None
    process_token: str | None = None
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
    prologue: Sequence[str] = ()  # lines before Python that failed
    turned: Diagnosis | None = None  # why it must go although it is wanted
    rotating: bool = False  # its successor is desired instead of it
    unfinished: str = ""  # tasks that it cannot finish before it goes
    dropped: bool = False  # by its roster: it has ended, and is only counted
    given_up: bool = False  # it fell silent; the grid may still have it
    over: bool = False  # nothing more comes of it: its worker's name is free
    asked: float | None = None  # when the grid was asked about its silence
    retired: bool = False  # the scheduler let its worker go on purpose
    restarts: int = 0  # workers that died and that its Nanny replaced
    restarting: set[str] = field(default_factory=set)  # of those, whose Nanny said so
    death: Diagnosis | None = None  # why the last of those died
    peak_memory: int = 0  # bytes, of one worker process; 0 is unknown
    exit_report: ExitReport | None = None
    log_tail: str = ""  # the end of its log
    diagnosis: Diagnosis | None = None

    def __str__(self) -> str:
        return f"node {self.id}" + (f" on {self.host}" if self.host else "")

    @property
    def lost(self) -> float | None:
        """Since when the scheduler misses all of its workers; None if it has one."""
        return max(self.missing.values()) if self.missing and not self.present else None

    @property
    def shown(self) -> NodeState:
        """The state that people are shown."""
        return self.state if self.suspended is None else NodeState.SUSPENDED

    @property
    def shown_since(self) -> float:
        """When it came into that state."""
        return self.since if self.suspended is None else self.suspended

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of it yet."""
        return self.state is NodeState.QUEUED

    @property
    def ending(self) -> bool:
        """Whether it is gone, or will be without anybody's doing."""
        return self.state in _ON_ITS_WAY_OUT


class NodeRegistry:
    """Nodes by id, with the worker names that still wait for one.

    The grid's tasks are interchangeable, so a *name* waits here until some node
    arrives to bear it; the oldest name goes first.

    Parameters
    ----------
    pool
        Whose nodes they are; "" where there is only one kind.
    clock
        See `steady_time`; tests give their own.
    """

    def __init__(
        self, *, pool: str = "", clock: Callable[[], float] = steady_time
    ) -> None:
        self._pool = pool
        self.records: dict[NodeId, NodeRecord] = {}
        #: How many nodes are in each state; kept, so that it costs nothing to ask.
        self.counts: Counter[NodeState] = Counter()
        #: Those that are not gone: what a look at all of them has to look at.
        self.live: dict[NodeId, NodeRecord] = {}
        #: Names without a node, oldest first.
        self.unbound: deque[str] = deque()
        #: Those of them that the grid has suspended.
        self.suspended: dict[NodeId, NodeRecord] = {}
        self.by_worker: dict[str, NodeRecord] = {}
        #: How many nodes were ever submitted.
        self.total = 0
        #: How many nodes have ended, by what was known then; never goes down.
        self.ended: Counter[Cause | None] = Counter()
        #: How many of those are not kept any more, by what was known in the end.
        self.dropped: Counter[Cause | None] = Counter()
        #: The others of those, in the order in which they ended.
        self._kept: deque[NodeRecord] = deque()
        self._numbered: dict[tuple[str, int], NodeId] = {}
        self._used: dict[str, int] = {}  # of those dropped, see `used`: a bit for each
        self.clock = clock

    def __iter__(self) -> Iterator[NodeRecord]:
        # A copy, made in one step: other threads look on while nodes come and go.
        return iter(list(self.records.values()))

    def submitted(
        self, ids: Iterable[NodeId], submission_id: str = "", *, numbered: bool = False
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
                self._numbered[submission_id, number] = node
            self.records[node] = self.live[node] = NodeRecord(
                id=node,
                number=self.total,
                known_as=(submission_id, number)
                if numbered
                else (node.job, node.index),
                submission_id=submission_id,
                log=f"{submission_id}.{number}" if numbered else str(node),
                pool=self._pool,
                state=NodeState.QUEUED,
                since=now,
                submitted=now,
            )
            self.counts[NodeState.QUEUED] += 1
            self.total += 1

    def saying(self, said: Hello | ExitReport) -> NodeRecord | None:
        """The node that says this, by its id, or by its place in its submission."""
        node: NodeId | None = NodeId(said.job, said.index)
        if not said.job:
            node = self._numbered.get((said.submission_id, said.index))
        return self.records.get(node) if node else None

    def used(self, said: Hello) -> bool:
        """Whether the node that says this was ours, has ended and is not kept."""
        key, index = (said.job or said.submission_id), max(0, said.index)
        return bool(self._used.get(key, 0) >> index & 1)

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
        # A suspended node cannot change its state. First, so that `shown` is right.
        self.resume(record)
        self.counts[record.state] -= 1
        self.counts[state] += 1
        now = self.clock()
        if state is NodeState.DRAINING:
            record.leaving = now
        elif state is NodeState.GONE:
            record.gone = now
            self.live.pop(record.id, None)
        record.state, record.since = state, now
        if state is NodeState.GONE:
            self._keep(record)
        return True

    def _keep(self, record: NodeRecord) -> None:
        """Count an end, and drop the oldest of the ended nodes beyond `ENDED_KEPT`."""
        self.ended[_cause(record)] += 1
        self._kept.append(record)
        while len(self._kept) > ENDED_KEPT:
            self._drop(self._kept.popleft())

    def _drop(self, record: NodeRecord) -> None:
        record.dropped = True
        self.dropped[_cause(record)] += 1
        key, index = record.known_as
        self._used[key] = self._used.get(key, 0) | 1 << index
        self._numbered.pop(record.known_as, None)
        # The grid may have given its id to another since.
        if self.records.get(record.id) is record:
            del self.records[record.id]
        if self.by_worker.get(record.worker or "") is record:
            del self.by_worker[record.worker or ""]

    def causes(self) -> Counter[Cause | None]:
        """How many nodes have ended, by cause as known now; safe in any thread."""
        return Counter(dict(self.dropped)) + Counter(map(_cause, list(self._kept)))

    def suspend(self, record: NodeRecord) -> None:
        """The grid has suspended a node. It says nothing until it is resumed."""
        if record.suspended is None and not record.ending:
            record.suspended = self.clock()
            self.suspended[record.id] = record

    def resume(self, record: NodeRecord) -> None:
        """A node is not suspended any more; ignore its silence of that time."""
        if record.suspended is None:
            return
        now = self.clock()
        self.excuse(record, now - record.suspended)
        record.suspended = None
        del self.suspended[record.id]

    @staticmethod
    def excuse(record: NodeRecord, seconds: float) -> None:
        """Ignore this many seconds of silence: the node could not be heard."""
        record.since += seconds
        for name in record.missing:
            record.missing[name] += seconds
        if record.heard is not None:
            record.heard += seconds
        record.asked = None

    def shown(self) -> Counter[NodeState]:
        """How many nodes are in each state, as people are shown them; cheap."""
        counts = Counter(self.counts)
        for record in list(self.suspended.values()):
            counts[record.state] -= 1
            counts[NodeState.SUSPENDED] += 1
        return counts

    def arrive(self, record: NodeRecord, hello: Hello) -> None:
        """A node said its first hello."""
        record.process_token = hello.process_token
        record.host, record.pid, record.via = hello.host, hello.pid, hello.via
        record.tried = hello.tried
        record.granted_memory = hello.memory
        record.queue, record.notify = hello.queue, hello.notify
        record.prologue = hello.prologue
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
        self.resume(record)
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


def _cause(record: NodeRecord) -> Cause | None:
    return record.diagnosis.cause if record.diagnosis is not None else None
