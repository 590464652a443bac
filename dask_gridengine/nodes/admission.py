"""The answer to a node's hello. Pure: without a socket or a clock of its own.

It is decided before the node has imported Dask. Slots of the grid are scarce, so
plans may change while a node queues, and a node that is not needed leaves at no cost.
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
LONGEST_WAIT = 30.0  # seconds; a waiting node says hello at least this often
SHORT_WAIT = 0.2  # seconds, where the reason is over in a moment
USED = "this job id has already been used by another process"


class AdmissionControl:
    """Answers hellos, and records them in the registry.

    `versions` are those a node must have. At most `max_importing` nodes import at once,
    because file servers feel each. `make_allocation` takes a worker name and the hello.
    `block_seconds` returns for how long nodes of a host have to wait, see
    `HostBlocklist`. `jitter` returns a number in [0, 1).
    """

    def __init__(
        self,
        registry: NodeRegistry,
        *,
        versions: Mapping[str, str],
        max_importing: int,
        make_allocation: Callable[[str, Hello], Allocation],
        block_seconds: Callable[[str], float] = lambda host: 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.registry = registry
        self.versions = versions
        self.max_importing = max_importing
        self.submitting = 0  # submissions under way, whose ids are not known yet
        self.ready = False  # whether there is a scheduler
        self.closed = False
        self._make_allocation = make_allocation
        self._block_seconds = block_seconds
        self._jitter = jitter
        #: Hellos of known nodes that wait, by host, each in the order of arrival.
        self._waiting: dict[str, dict[NodeId, Hello]] = {}
        self._logged: set[str] = set()  # errors whose traceback has been logged

    def answer(self, hello: Hello) -> Answer:
        """Decide what a node has to do. Idempotent for one process."""
        token = hello.process_token
        if self.closed:
            return NotNeeded(process_token=token, reason="the cluster is closing")
        record = self.registry.saying(hello)
        if record is None:
            return self._answer_unknown(hello)
        if record.cancelled and record.process_token is None:
            return NotNeeded(process_token=token, reason="the job was cancelled")
        if reason := self._identity_error(record, hello):
            return Rejected(process_token=token, reason=reason)
        if record.silent:
            self.registry.arrive(record, hello)
        self.registry.resume(record)
        record.heard = self.registry.clock()
        if reason := version_mismatch(self.versions, hello.versions):
            return self._reject(record, hello, Cause.VERSIONS, reason)
        return self._assign(record, hello)

    def release_waiting(self) -> Iterator[tuple[Hello, Answer]]:
        """Answer waiting nodes that need not wait any more; hosts take turns.

        A node that misses such an answer asks again later, and gets the same.
        """
        hosts = deque(self._waiting)
        while hosts:
            host = hosts.popleft()
            node, hello = next(iter(self._waiting[host].items()))
            record = self.registry.records.get(node)
            if record and (self._host_block(host) or self._global_block()):
                continue
            self._forget(node, host)
            if host in self._waiting:
                hosts.append(host)
            if record is not None:  # None: it ended and is not kept any more
                yield hello, self.answer(hello)

    def _answer_unknown(self, hello: Hello) -> Answer:
        token, node = hello.process_token, f"{hello.job}.{hello.index}"
        if self.registry.used(hello):
            return Rejected(process_token=token, reason=f"{node} has ended: {USED}")
        if self.submitting:
            # A node may be faster than the launcher's answer to our submission.
            return self._wait(hello, SHORT_WAIT, "its array is being submitted")
        return Rejected(
            process_token=token, reason=f"job {node} does not belong to this cluster"
        )

    def _identity_error(self, record: NodeRecord, hello: Hello) -> str:
        """Return why this identity is not valid; "" if it is.

        Each is valid for one process and one worker: a second process is a replay, or a
        job that the grid has run again. A job id alone, from the environment, may be
        that of a job in which the submitter runs.
        """
        if record.submission_id and hello.submission_id != record.submission_id:
            return (
                f"it reports to be {record.id}, which is of another submission: its"
                " environment has another job's id"
            )
        if record.process_token not in (None, hello.process_token):
            process = f"process {record.pid} on {record.host}"
            return f"{record.id} has already arrived as {process}: {USED}"
        if record.state in (NodeState.WORKING, NodeState.DRAINING, NodeState.GONE):
            return f"{record.id} is {record.state.value}: {USED}"
        return ""

    def _assign(self, record: NodeRecord, hello: Hello) -> Answer:
        if record.worker is not None:
            # Its allocation was lost on the way, or it would not ask again.
            return self._allocate(record, record.worker, hello)
        if not self.registry.unbound:
            self.registry.move(record, NodeState.DRAINING)
            record.diagnosis = Diagnosis(cause=Cause.LEFT, source="bootstrap")
            return NotNeeded(
                process_token=hello.process_token,
                reason="no more workers are needed",
            )
        if block := self._host_block(record.host) or self._global_block():
            self._waiting.setdefault(record.host, {})[record.id] = hello
            return self._wait(hello, *block)
        self._forget(record.id, record.host)
        answer = self._allocate(record, self.registry.unbound[0], hello)
        if isinstance(answer, Allocation):
            # Not before: a node that is rejected must not keep the name.
            self.registry.bind(record)
        return answer

    def _allocate(self, record: NodeRecord, name: str, hello: Hello) -> Answer:
        try:
            return self._make_allocation(name, hello)
        except Exception as exc:
            reason = f"{type(exc).__name__}: {exc}"
            if reason not in self._logged:
                self._logged.add(reason)
                logger.exception("Could not make an allocation for %s", record)
            return self._reject(record, hello, Cause.NO_ALLOCATION, reason)

    def _reject(
        self, record: NodeRecord, hello: Hello, cause: Cause, reason: str
    ) -> Rejected:
        record.diagnosis = Diagnosis(cause=cause, detail=reason, source="bootstrap")
        return Rejected(process_token=hello.process_token, reason=reason)

    def _forget(self, node: NodeId, host: str) -> None:
        queue = self._waiting.get(host, {})
        queue.pop(node, None)
        if not queue:
            self._waiting.pop(host, None)

    @property
    def num_blocked(self) -> int:
        """How many nodes wait because their host is blocked. Safe in any thread."""
        # Nodes that have ended are forgotten only when their host is released. Copies,
        # each made in one step, because nodes come and go meanwhile.
        return sum(
            (record := self.registry.live.get(node)) is not None
            and record.state is NodeState.ARRIVED
            for host, queue in list(self._waiting.items())
            if self._block_seconds(host)
            for node in list(queue)
        )

    def _host_block(self, host: str) -> tuple[float, str] | None:
        """Return how long nodes of this host have to wait, and why.

        If they left, the grid would send the next node there.
        """
        if seconds := self._block_seconds(host):
            return seconds, f"nodes on {host} fail shortly after starting"
        return None

    def _global_block(self) -> tuple[float, str] | None:
        """Return about how long all nodes have to wait, and why."""
        if not self.ready:
            return SHORT_WAIT, "the scheduler is starting"
        importing = self.registry.counts[NodeState.IMPORTING]
        if importing >= self.max_importing:
            rounds = self.registry.counts[NodeState.ARRIVED] / self.max_importing
            reason = f"{importing} nodes are importing, which is the limit"
            return rounds * IMPORT_SECONDS, reason
        return None

    def _wait(self, hello: Hello, seconds: float, reason: str) -> Wait:
        # Jitter, so that nodes that wait together do not ask together.
        spread = (0.5 + self._jitter()) * max(seconds, SHORT_WAIT)
        return Wait(
            process_token=hello.process_token,
            seconds=min(spread, LONGEST_WAIT),
            reason=reason,
        )
