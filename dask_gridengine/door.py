"""What a node that says hello is told. Pure: no socket, no clock of its own.

Decided here, before the node has imported Dask: a place in the queue is the scarce
good, so plans may change for as long as a node queues, and a node nobody needs any
more leaves at no cost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from dask_gridengine.allocation import (
    Allocation,
    Answer,
    Hello,
    Leave,
    Refused,
    Wait,
    version_mismatch,
)
from dask_gridengine.causes import Cause, Diagnosis
from dask_gridengine.launchers.base import NodeId
from dask_gridengine.nodes import NodeRecord, NodeState, Roster

IMPORT_SECONDS = 1.0  # about what becoming a worker takes; only spaces the waits
LONGEST_WAIT = 30.0  # seconds; a waiting node is heard of at least this often


class Door:
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
    jitter
        A number in [0, 1); tests give their own.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        versions: Mapping[str, str],
        max_importing: int,
        make_allocation: Callable[[str, Hello], Allocation],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.roster = roster
        self.versions = versions
        self.max_importing = max_importing
        self.submitting = 0  # submissions under way: their ids are not known yet
        self.closed = False
        self._make_allocation = make_allocation
        self._jitter = jitter

    def answer(self, hello: Hello) -> Answer:
        """Decide what this node is told. Asking twice changes nothing."""
        me = hello.incarnation
        if self.closed:
            return Leave(incarnation=me, reason="the cluster is closing")
        record = self.roster.records.get(NodeId(hello.job, hello.index))
        if record is None:
            return self._stranger(hello)
        if record.cancelled and record.incarnation is None:
            return Leave(incarnation=me, reason="its place was given back")
        if refusal := self._identity_is_used(record, hello):
            return Refused(incarnation=me, reason=refusal)
        if record.silent:
            self.roster.arrive(record, hello)
        if mismatch := version_mismatch(self.versions, hello.versions):
            record.diagnosis = Diagnosis(
                cause=Cause.REFUSED, detail=mismatch, source="door"
            )
            return Refused(incarnation=me, reason=mismatch)
        return self._place(record, hello)

    def _stranger(self, hello: Hello) -> Answer:
        if self.submitting:
            # A node can be faster than the launcher's answer to our submission.
            return self._wait(hello, 0.2, "the array it belongs to is being queued")
        return Refused(
            incarnation=hello.incarnation,
            reason=f"{hello.job}.{hello.index} is none of this cluster's nodes",
        )

    def _identity_is_used(self, record: NodeRecord, hello: Hello) -> str:
        """Why this identity is worth nothing any more; "" if it still is.

        Each is good for one process and for one worker. Whoever shows it a second
        time is a replay, or a job that the grid has run again.
        """
        if record.incarnation not in (None, hello.incarnation):
            return (
                f"{record.id} has already arrived from {record.host}"
                f" (process {record.pid}); its identity is used up"
            )
        if record.state in (NodeState.WORKING, NodeState.LEAVING, NodeState.GONE):
            return f"{record.id} is {record.state.value}; its identity is used up"
        return ""

    def _place(self, record: NodeRecord, hello: Hello) -> Answer:
        if record.worker is not None:
            # Its allocation was lost on the way, or it would not ask again.
            return self._make_allocation(record.worker, hello)
        if not self.roster.unbound:
            self.roster.move(record, NodeState.LEAVING)
            record.diagnosis = Diagnosis(cause=Cause.LEFT, source="door")
            return Leave(
                incarnation=hello.incarnation, reason="there are workers enough"
            )
        importing = self.roster.counts[NodeState.IMPORTING]
        if importing >= self.max_importing:
            turns = self.roster.counts[NodeState.ARRIVED] / self.max_importing
            return self._wait(
                hello,
                turns * IMPORT_SECONDS,
                f"{importing} nodes are importing, which is the limit",
            )
        return self._make_allocation(self.roster.bind(record), hello)

    def _wait(self, hello: Hello, seconds: float, reason: str) -> Wait:
        # Jitter, so that those told to wait together do not come back together.
        spread = (0.5 + self._jitter()) * max(seconds, 0.2)
        return Wait(
            incarnation=hello.incarnation,
            seconds=min(spread, LONGEST_WAIT),
            reason=reason,
        )
