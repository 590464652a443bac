"""What a node that says hello is told. Pure: no socket, no clock of its own.

Decided here, before the node has imported Dask: a place in the queue is the scarce
good, so plans may change for as long as a node queues, and a node nobody needs any
more leaves at no cost.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    Hello,
    NotNeeded,
    Rejected,
    Wait,
    version_mismatch,
)
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

logger = logging.getLogger(__name__)

IMPORT_SECONDS = 1.0  # about what becoming a worker takes; only spaces the waits
LONGEST_WAIT = 30.0  # seconds; a waiting node is heard of at least this often
SOON = 0.2  # seconds, where what is waited for happens in a moment


class AdmissionControl:
    """Answers hellos, and keeps the roster true while it does.

    Parameters
    ----------
    roster
        Who is known.
    versions
        What a node must have; see `version_mismatch`.
    max_importing
        How many nodes may import at once; file servers feel each.
    make_allocation
        ``(worker name, hello) -> Allocation``.
    hold
        For how many seconds a node on that host shall sleep here; see `HostBlocklist`.
    jitter
        A number in [0, 1); tests give their own.
    """

    def __init__(
        self,
        registry: NodeRegistry,
        *,
        versions: Mapping[str, str],
        max_importing: int,
        make_allocation: Callable[[str, Hello], Allocation],
        hold: Callable[[str], float] = lambda host: 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.registry = registry
        self.versions = versions
        self.max_importing = max_importing
        self.submitting = 0  # submissions under way: their ids are not known yet
        self.ready = False  # whether there is a scheduler to send nodes to
        self.closed = False
        self._make_allocation = make_allocation
        self._hold = hold
        self._jitter = jitter
        #: Known nodes that were told to wait, by host, each in the order of arrival.
        self._waiting: dict[str, dict[NodeId, Hello]] = {}
        self._logged: set[str] = set()  # errors whose traceback is in the log

    def answer(self, hello: Hello) -> Answer:
        """Decide what this node is told. Asking twice changes nothing."""
        me = hello.process_token
        if self.closed:
            return NotNeeded(process_token=me, reason="the cluster is closing")
        record = self.registry.saying(hello)
        if record is None:
            return self._unknown_node(hello)
        if record.cancelled and record.process_token is None:
            return NotNeeded(process_token=me, reason="its place was given back")
        if refusal := self._identity_is_wrong(record, hello):
            return Rejected(process_token=me, reason=refusal)
        if record.silent:
            self.registry.arrive(record, hello)
        self.registry.resume(record)
        record.heard = self.registry.clock()
        if mismatch := version_mismatch(self.versions, hello.versions):
            record.diagnosis = Diagnosis(
                cause=Cause.VERSIONS, detail=mismatch, source="bootstrap"
            )
            return Rejected(process_token=me, reason=mismatch)
        return self._assign(record, hello)

    def admit(self) -> Iterator[tuple[Hello, Answer]]:
        """Answers for those who were told to wait and need not any more.

        Hosts take turns. Whoever misses such an answer asks again when its time is up,
        and is told the same.
        """
        hosts = deque(self._waiting)
        while hosts:
            queue = self._waiting[host := hosts.popleft()]
            node, hello = next(iter(queue.items()))
            record = self.registry.records.get(node)
            if record is None:  # it ended long ago
                self._forget(node, host)
                if host in self._waiting:
                    hosts.append(host)
                continue
            if self._block_reason(record) or self._obstacle():
                continue
            self._forget(node, host)
            if host in self._waiting:
                hosts.append(host)
            yield hello, self.answer(hello)

    def _unknown_node(self, hello: Hello) -> Answer:
        if self.registry.used(hello):
            return Rejected(
                process_token=hello.process_token,
                reason=f"{hello.job}.{hello.index} is gone; its identity is used up",
            )
        if self.submitting:
            # A node can be faster than the launcher's answer to our submission.
            return self._wait(hello, SOON, "the array it belongs to is being queued")
        return Rejected(
            process_token=hello.process_token,
            reason=f"{hello.job}.{hello.index} is none of this cluster's nodes",
        )

    def _identity_is_wrong(self, record: NodeRecord, hello: Hello) -> str:
        """Why this identity is worth nothing, or nothing any more; "" if it still is.

        Each is good for one process and for one worker. Whoever shows it a second
        time is a replay, or a job that the grid has run again. Its job's id alone, from
        its environment, may be that of a job around the submitter.
        """
        if record.submission_id and hello.submission_id != record.submission_id:
            return (
                f"it calls itself {record.id}, but was submitted with others: its"
                " environment has another job's id"
            )
        if record.process_token not in (None, hello.process_token):
            return (
                f"{record.id} has already arrived from {record.host}"
                f" (process {record.pid}); its identity is used up"
            )
        if record.state in (NodeState.WORKING, NodeState.DRAINING, NodeState.GONE):
            return f"{record.id} is {record.state.value}; its identity is used up"
        return ""

    def _assign(self, record: NodeRecord, hello: Hello) -> Answer:
        if record.worker is not None:
            # Its allocation was lost on the way, or it would not ask again.
            return self._allocate(record, record.worker, hello)
        if not self.registry.unbound:
            self.registry.move(record, NodeState.DRAINING)
            record.diagnosis = Diagnosis(cause=Cause.LEFT, source="bootstrap")
            return NotNeeded(
                process_token=hello.process_token, reason="there are workers enough"
            )
        if obstacle := self._block_reason(record) or self._obstacle():
            self._waiting.setdefault(record.host, {})[record.id] = hello
            return self._wait(hello, *obstacle)
        self._forget(record.id, record.host)
        answer = self._allocate(record, self.registry.unbound[0], hello)
        if isinstance(answer, Allocation):
            # Not before: a node that is refused must not keep the name.
            self.registry.bind(record)
        return answer

    def _allocate(self, record: NodeRecord, name: str, hello: Hello) -> Answer:
        """The allocation, or a refusal with the reason if there can be none."""
        try:
            return self._make_allocation(name, hello)
        except Exception as exc:
            reason = f"{type(exc).__name__}: {exc}"
            if reason not in self._logged:
                self._logged.add(reason)
                logger.exception("no allocation can be made for %s", record)
            record.diagnosis = Diagnosis(
                cause=Cause.NO_ALLOCATION, detail=reason, source="bootstrap"
            )
            return Rejected(process_token=hello.process_token, reason=reason)

    def _forget(self, node: NodeId, host: str) -> None:
        queue = self._waiting.get(host, {})
        queue.pop(node, None)
        if not queue:
            self._waiting.pop(host, None)

    @property
    def held(self) -> int:
        """How many nodes sleep here because something is wrong with their host."""
        # Those that are gone meanwhile are forgotten only when their host is let in.
        # Copies, each made in one step: other threads ask while nodes come and go.
        return sum(
            (record := self.registry.live.get(node)) is not None
            and record.state is NodeState.ARRIVED
            for host, queue in list(self._waiting.items())
            if self._hold(host)
            for node in list(queue)
        )

    def _block_reason(self, record: NodeRecord) -> tuple[float, str] | None:
        """How long nodes of this host sleep, where its last ones failed at once.

        To send them away would have the grid send the next one there: one bad host,
        always free, eats an array.
        """
        if seconds := self._hold(record.host):
            return seconds, f"nodes on {record.host} fail at once"
        return None

    def _obstacle(self) -> tuple[float, str] | None:
        """After about how many seconds another node may import, and why not now."""
        if not self.ready:
            return SOON, "the scheduler is starting"
        importing = self.registry.counts[NodeState.IMPORTING]
        if importing >= self.max_importing:
            turns = self.registry.counts[NodeState.ARRIVED] / self.max_importing
            reason = f"{importing} nodes are importing, which is the limit"
            return turns * IMPORT_SECONDS, reason
        return None

    def _wait(self, hello: Hello, seconds: float, reason: str) -> Wait:
        # Jitter, so that those told to wait together do not come back together.
        spread = (0.5 + self._jitter()) * max(seconds, SOON)
        return Wait(
            process_token=hello.process_token,
            seconds=min(spread, LONGEST_WAIT),
            reason=reason,
        )
