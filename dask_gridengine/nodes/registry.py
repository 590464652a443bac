"""The known nodes of a pool: the state of each, and the last ones that ended."""

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


#: Ended nodes whose details are kept; the others are only counted. A record takes about
#: 5 kB, and `jobs`, `explain` and each picture read all of them.
ENDED_KEPT = 2_000


class NodeState(str, enum.Enum):
    """State of a node, which only ever moves down this list.

    ``SUSPENDED`` is the exception: users see it of a node that the grid has suspended.
    Its record keeps the state in which it goes on.
    """

    QUEUED = "queued"  # the grid has it, and it has sent nothing
    ARRIVED = "arrived"  # its hello was answered with wait
    IMPORTING = "importing"  # it has its allocation and starts its worker
    WORKING = "working"  # the scheduler has its worker, or the first one
    SUSPENDED = "suspended"  # by the grid; it goes on when the grid resumes it
    DRAINING = "draining"  # it is being stopped, or has sent its exit report
    GONE = "gone"  # its end notice has come


#: The states of a record, in their order. A node enters one after the other, and may
#: be stopped, and may end, at any time.
ORDER: list[NodeState] = [
    state for state in NodeState if state is not NodeState.SUSPENDED
]
_ON_ITS_WAY_OUT = (NodeState.DRAINING, NodeState.GONE)


@dataclass(kw_only=True, slots=True)
class NodeRecord:
    """Everything that is known of one node. Times are by `steady_time`."""

    id: NodeId
    number: int = 0  # how many were submitted before it
    submission_id: str = ""  # of its submission
    log: str = ""  # the name of its log, without ".log"
    pool: str = ""  # "" if the cluster has only one
    state: NodeState
    since: float  # when it entered this state
    submitted: float
    arrived: float | None = None
    heard: float | None = None  # its last hello
    allocated: float | None = None
    working: float | None = None
    suspended: float | None = None  # since when, by the grid; None if it is not
    leaving: float | None = None  # it had arrived, and stops; else it leaves the queue
    gone: float | None = None
    process_token: str | None = None
    host: str = ""
    pid: int = 0
    via: str = ""  # which of the cluster's addresses answered
    tried: dict[str, str] = field(default_factory=dict)  # all, and their answers
    granted_memory: int = 0  # bytes, the grid's limit; 0 means no limit
    worker: str | None = None  # its name, of which those of its workers are made
    cancelled: bool = False  # by us
    present: set[str] = field(default_factory=set)  # its workers that registered
    missing: dict[str, float] = field(default_factory=dict)  # those lost, since when
    began: float | None = None  # start of the job, by this cluster's clock
    queue: str = ""  # of the grid
    notify: float = 0.0  # seconds from a signal to the deletion; 0: unknown
    prologue: Sequence[str] = ()  # lines before Python that failed
    turned: Diagnosis | None = None  # why it must leave although it works
    rotating: bool = False  # its successor is desired instead of it
    unfinished: str = ""  # tasks that it cannot finish before it goes
    given_up: bool = False  # it is silent; the grid may still have it
    over: bool = False  # its end is known, and its name is given up
    asked: float | None = None  # when the grid was asked about its silence
    retired: bool = False  # the scheduler let its worker go on purpose
    restarts: int = 0  # workers that died and that its Nanny replaced
    restarted: float | None = None  # when the last of them died
    restarting: set[str] = field(default_factory=set)  # workers, now
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
        """The state that users see."""
        return self.state if self.suspended is None else NodeState.SUSPENDED

    @property
    def shown_since(self) -> float:
        """When it entered that state."""
        return self.since if self.suspended is None else self.suspended

    @property
    def ending(self) -> bool:
        """Whether it has ended, or ends without further action."""
        return self.state in _ON_ITS_WAY_OUT


class NodeRegistry:
    """Nodes by id, and the desired names without a node.

    The grid's tasks are interchangeable, so a *name* waits until some node arrives; the
    oldest name is assigned first.
    """

    def __init__(
        self, *, pool: str = "", clock: Callable[[], float] = steady_time
    ) -> None:
        self._pool = pool
        self.records: dict[NodeId, NodeRecord] = {}
        #: How many nodes are in each state; kept up to date, so it costs nothing.
        self.counts: Counter[NodeState] = Counter()
        #: The nodes that are not gone.
        self.live: dict[NodeId, NodeRecord] = {}
        #: Names without a node, oldest first.
        self.unbound: deque[str] = deque()
        #: Nodes that the grid has suspended.
        self.suspended: dict[NodeId, NodeRecord] = {}
        self.by_worker: dict[str, NodeRecord] = {}
        #: Number of nodes ever submitted.
        self.total = 0
        #: Number of ended nodes by the cause known then; never decreases.
        self.ended: Counter[Cause | None] = Counter()
        #: Number of those that are not kept any more, by the final cause.
        self.dropped: Counter[Cause | None] = Counter()
        #: The ended nodes that are kept, in the order in which they ended.
        self._kept: deque[NodeRecord] = deque()
        #: Nodes that do not know their ids, by the names of their logs.
        self._numbered: dict[str, NodeId] = {}
        self.clock = clock

    def __iter__(self) -> Iterator[NodeRecord]:
        # A copy, made in one step: other threads iterate while nodes come and go.
        return iter(list(self.records.values()))

    def submitted(
        self, ids: Iterable[NodeId], submission_id: str = "", *, numbered: bool = False
    ) -> None:
        """Enter nodes that the launcher has just queued, in the order of its answer.

        If they are `numbered`, they do not know their ids, but their numbers in it.
        """
        now = self.clock()
        for number, node in enumerate(ids, 1):
            log = str(node)
            if numbered:
                log = f"{submission_id}.{number}"
                self._numbered[log] = node
            self.records[node] = self.live[node] = NodeRecord(
                id=node,
                number=self.total,
                submission_id=submission_id,
                log=log,
                pool=self._pool,
                state=NodeState.QUEUED,
                since=now,
                submitted=now,
            )
            self.counts[NodeState.QUEUED] += 1
            self.total += 1

    def saying(self, message: Hello | ExitReport) -> NodeRecord | None:
        """The node that sent this, by its id, or by its number in its submission."""
        node: NodeId | None = NodeId(message.job, message.index)
        if not message.job:
            node = self._numbered.get(f"{message.submission_id}.{message.index}")
        return self.records.get(node) if node else None

    def move(self, record: NodeRecord, state: NodeState) -> bool:
        """Change the state of a node; returns whether it has changed.

        A state that was passed is a late report. A transition that leaves one out is
        logged and changes nothing: a state is never guessed, and one mistake must not
        stop the cluster.
        """
        steps = ORDER.index(state) - ORDER.index(record.state)
        if steps <= 0:
            return False  # reports of node, scheduler and launcher overtake each other
        if steps > 1 and state not in _ON_ITS_WAY_OUT:
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
        record.state, record.since = state, now
        if state is NodeState.DRAINING:
            # A queue place that is given up drains nothing: it queues until it is gone.
            record.leaving = now if record.arrived is not None else None
        elif state is NodeState.GONE:
            record.gone = now
            self.live.pop(record.id, None)
            self._keep(record)
        return True

    def _keep(self, record: NodeRecord) -> None:
        """Count an end, and drop the oldest ended nodes beyond `ENDED_KEPT`."""
        self.ended[_cause(record)] += 1
        self._kept.append(record)
        while len(self._kept) > ENDED_KEPT:
            self._drop(self._kept.popleft())

    def _drop(self, record: NodeRecord) -> None:
        self.dropped[_cause(record)] += 1
        self._numbered.pop(record.log, None)
        # The grid may have reused its id.
        if self.records.get(record.id) is record:
            del self.records[record.id]
        if self.by_worker.get(record.worker or "") is record:
            del self.by_worker[record.worker or ""]

    def causes(self) -> Counter[Cause | None]:
        """Number of ended nodes, by cause as known now; safe in any thread."""
        return Counter(dict(self.dropped)) + Counter(map(_cause, list(self._kept)))

    def suspend(self, record: NodeRecord) -> None:
        """The grid has suspended a node, which sends nothing until it is resumed."""
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
        """Ignore this many seconds of silence: nothing could be received."""
        record.since += seconds
        for name in record.missing:
            record.missing[name] += seconds
        if record.heard is not None:
            record.heard += seconds
        record.asked = None

    def shown(self) -> Counter[NodeState]:
        """Number of nodes in each state, as users see them; cheap."""
        counts = Counter(self.counts)
        for record in list(self.suspended.values()):
            counts[record.state] -= 1
            counts[NodeState.SUSPENDED] += 1
        return counts

    def arrive(self, record: NodeRecord, hello: Hello) -> None:
        """Take over the first hello of a node."""
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
        """Assign the oldest waiting name to a node that has arrived."""
        name = self.unbound.popleft()
        record.worker, record.allocated = name, self.clock()
        self.by_worker[name] = record
        self.move(record, NodeState.IMPORTING)
        return name

    def registered(self, name: str) -> NodeRecord | None:
        """The scheduler has a worker of this name; returns the node, if it is ours."""
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

        It is `expected` if the scheduler let the worker go on purpose.
        """
        record = self.bearing(name)
        if record is not None and not record.ending:
            record.present.discard(name)
            record.retired |= expected
            # Of several workers that were let go only the last one is missing: after
            # that the node sends its exit report.
            if not expected or not record.present:
                record.missing[name] = self.clock()
        return record

    def bearing(self, worker: str) -> NodeRecord | None:
        """The node of the worker of this name."""
        return self.by_worker.get(node_of(worker))

    def in_state(self, *states: NodeState) -> list[NodeRecord]:
        """Nodes in any of these states, in the order of submission."""
        among = self.records if NodeState.GONE in states else self.live
        return [record for record in list(among.values()) if record.state in states]

    @property
    def expected(self) -> int:
        """Number of nodes that may still ask for a name."""
        return self.counts[NodeState.QUEUED] + self.counts[NodeState.ARRIVED]


def _cause(record: NodeRecord) -> Cause | None:
    return record.diagnosis.cause if record.diagnosis is not None else None
