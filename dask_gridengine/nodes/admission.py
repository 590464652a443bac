"""The answer to a node's hello, and what it warns of. Without a socket of its own.

It is decided before the node has imported Dask. Slots of the grid are scarce, so
plans may change while a node queues, and a node that is not needed leaves at no cost.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

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
from dask_gridengine.formatting import plural
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.prologue import hinted
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.worker import job_resources

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

IMPORT_SECONDS = 1.0  # about what becoming a worker takes; only spaces the waits
LONGEST_WAIT = 30.0  # seconds; a waiting node says hello at least this often
SHORT_WAIT = 0.2  # seconds, where the reason is over in a moment
USED = "this job id has already been used by another process"


class AdmissionControl:
    """Answers the hellos of a pool's nodes, and records them in the registry.

    At most ``max-importing`` nodes import at once, because file servers feel each.
    """

    def __init__(self, pool: NodePool) -> None:
        self._pool, self._registry = pool, pool.registry
        self.versions = job_resources.versions()  # which a node must have
        self.submitting = 0  # submissions under way, whose ids are not known yet
        self.ready = False  # whether there is a scheduler
        self.closed = False
        #: Hellos of known nodes that wait, in the order of arrival.
        self._waiting: dict[NodeId, Hello] = {}
        self._logged: set[str] = set()  # errors whose traceback has been logged

    def answer(self, hello: Hello) -> Answer:
        """Decide what a node has to do. Idempotent for one process."""
        token = hello.process_token
        if self.closed:
            return NotNeeded(process_token=token, reason="the cluster is closing")
        record = self._registry.saying(hello)
        if record is None:
            return self._answer_unknown(hello)
        if record.cancelled and record.process_token is None:
            return NotNeeded(process_token=token, reason="the job was cancelled")
        if reason := self._identity_error(record, hello):
            return Rejected(process_token=token, reason=reason)
        if record.state is NodeState.QUEUED:
            self._registry.arrive(record, hello)
        self._registry.resume(record)
        record.heard = self._registry.clock()
        if reason := version_mismatch(self.versions, hello.versions):
            return self._reject(record, hello, Cause.VERSIONS, reason)
        return self._assign(record, hello)

    def release_waiting(self) -> Iterator[tuple[Hello, Answer]]:
        """Answer waiting nodes that need not wait any more.

        A node that misses such an answer asks again later, and gets the same.
        """
        hosts = {hello.host for hello in self._waiting.values()}
        blocked = {host for host in hosts if self._host_block(host)}
        while self._global_block() is None:
            free = (n for n, h in self._waiting.items() if h.host not in blocked)
            if (node := next(free, None)) is None:
                return
            hello = self._waiting.pop(node)
            if node not in self._registry.records:
                continue  # it has ended and is not kept
            answer = self.answer(hello)
            if isinstance(answer, Wait):
                blocked.add(hello.host)
            yield hello, answer

    def _answer_unknown(self, hello: Hello) -> Answer:
        if self.submitting:
            # A node may be faster than the launcher's answer to our submission.
            return self._wait(hello, SHORT_WAIT, "its array is being submitted")
        return Rejected(
            process_token=hello.process_token,
            reason=f"job {hello.job}.{hello.index} does not belong to this cluster",
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
        if not self._registry.unbound:
            self._registry.move(record, NodeState.DRAINING)
            record.diagnosis = Diagnosis(cause=Cause.LEFT, source="bootstrap")
            return NotNeeded(
                process_token=hello.process_token,
                reason="no more workers are needed",
            )
        if block := self._host_block(record.host) or self._global_block():
            self._waiting[record.id] = hello
            return self._wait(hello, *block)
        self._waiting.pop(record.id, None)
        answer = self._allocate(record, self._registry.unbound[0], hello)
        if isinstance(answer, Allocation):
            # Not before: a node that is rejected must not keep the name.
            self._registry.bind(record)
        return answer

    def _allocate(self, record: NodeRecord, name: str, hello: Hello) -> Answer:
        try:
            return self._pool.allocate(name, hello)
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

    @property
    def num_blocked(self) -> int:
        """How many nodes wait because their host is blocked. Safe in any thread."""
        blocklist, now = self._pool.blocklist, self._registry.clock()
        blocked = {h for h in blocklist.blocked(now) if blocklist.block_seconds(h, now)}
        if not blocked:
            return 0
        # A copy made in one step, because nodes come and go meanwhile. Nodes that have
        # ended are forgotten only when their host is released.
        return sum(
            hello.host in blocked
            and (record := self._registry.live.get(node)) is not None
            and record.state is NodeState.ARRIVED
            for node, hello in list(self._waiting.items())
        )

    def _host_block(self, host: str) -> tuple[float, str] | None:
        """Return how long nodes of this host have to wait, and why.

        If they left, the grid would send the next node there.
        """
        now = self._registry.clock()
        if seconds := self._pool.blocklist.block_seconds(host, now):
            return seconds, f"nodes on {host} fail shortly after starting"
        return None

    def _global_block(self) -> tuple[float, str] | None:
        """Return about how long all nodes have to wait, and why."""
        if not self.ready:
            return SHORT_WAIT, "the scheduler is starting"
        counts, most = self._registry.counts, self._pool.options.max_importing
        if counts[NodeState.IMPORTING] >= most:
            rounds = counts[NodeState.ARRIVED] / most
            reason = f"{plural(most, 'node')} may import at the same time"
            return rounds * IMPORT_SECONDS, reason
        return None

    def _wait(self, hello: Hello, seconds: float, reason: str) -> Wait:
        # Jitter, so that nodes that wait together do not ask together.
        spread = random.uniform(0.5, 1.5) * max(seconds, SHORT_WAIT)
        return Wait(
            process_token=hello.process_token,
            seconds=min(spread, LONGEST_WAIT),
            reason=reason,
        )


def warnings_of(hello: Hello) -> Iterator[tuple[str, str]]:
    """Yield warnings that follow from a hello, although the node works.

    Each has a key, which is equal for the same warning of other nodes, and a text.
    """
    for failure in hello.prologue:
        line = failure.partition(" (")[0]
        yield (
            line,
            f"a line of job_script_prologue failed on {hello.host}: {hinted(failure)}."
            " Nodes go on without it; end the line with '|| exit 1' to stop them",
        )
    if hello.slots_elsewhere:
        name = hello.parallel_environment
        slots = hello.slots + hello.slots_elsewhere
        yield (
            f"parallel environment {name}",
            f"the parallel environment {name!r} has spread the {slots} slots of a node"
            " over several hosts; a worker uses only those of its own host, here"
            f" {hello.slots} on {hello.host}. Use one with allocation_rule $pe_slots",
        )
