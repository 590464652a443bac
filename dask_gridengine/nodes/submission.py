"""Submit nodes as arrays, within the limits of the user and of the grid."""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.errors import ArrayTooLarge
from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.admission import AdmissionControl
from dask_gridengine.nodes.host_blocklist import HostBlocklist
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.options import Options

logger = logging.getLogger(__name__)

#: Larger arrays wait until it is known how many nodes of one may run at once. To ask
#: takes 0.02 to 0.1 s (measured), which must not delay a small cluster.
LARGE_ARRAY = 100


class ArraySubmitter:
    """Submits the nodes of one pool."""

    def __init__(
        self,
        options: Options,
        registry: NodeRegistry,
        admission: AdmissionControl,
        blocklist: HostBlocklist,
        launcher: Launcher,
        request: NodeRequest,
        environment: Mapping[str, str],
    ) -> None:
        self._options, self._registry = options, registry
        self._admission, self._blocklist = admission, blocklist
        self._launcher, self._request = launcher, request
        self._environment = environment  # of nodes, beside that of the request
        #: The most nodes of an array; 0 while no limit is known.
        self.largest = 0
        #: Nodes whose submission the launcher has not answered yet.
        self.in_flight = 0
        self._limit: asyncio.Task[None] | None = None

    def start(
        self, on_limit: Callable[[Iterable[NodeRecord]], Awaitable[None]]
    ) -> None:
        """Ask the grid how many nodes of one array may run at once.

        `on_limit` gets the nodes that were submitted meanwhile.
        """
        self._limit = asyncio.create_task(self._ask_limit(on_limit))

    def close(self) -> None:
        """Ask the grid nothing any more. Idempotent."""
        if self._limit is not None:
            self._limit.cancel()

    async def wait_for_limit(self, count: int) -> None:
        """Wait until the grid's limit is known, if this many nodes may exceed it."""
        if self._limit is not None and count > LARGE_ARRAY:
            await asyncio.wait([self._limit])

    @property
    def room(self) -> int:
        """How many more nodes may be submitted now, as one array."""
        limits = (
            (self._options.max_queued_jobs, self._registry.counts[NodeState.QUEUED]),
            # Includes draining nodes, whose successors come before they go.
            (self._options.max_jobs, self._registry.alive),
            (self.largest or None, 0),
        )
        room = [max(0, most - there) for most, there in limits if most is not None]
        return min(room, default=sys.maxsize)

    async def submit(self, count: int) -> list[NodeRecord]:
        """Queue one array of this many nodes, or of as many as an array may have.

        Raises `LauncherError` if the launcher refuses; nothing was queued then.
        """
        batch_system = self._launcher.batch_system
        excluded = self._blocklist.blocked(self._registry.clock())
        submission_id = uuid.uuid4().hex
        request = replace(
            self._request,
            native=batch_system.exclude_hosts(self._request.native, excluded),
            environment={
                **self._request.environment,
                **self._environment,
                SUBMISSION: submission_id,
            },
        )
        self._admission.submitting += 1
        self.in_flight = count
        try:
            ids = await self._submit_fitting(request, count)
        finally:
            self._admission.submitting -= 1
            self.in_flight = 0
        self._registry.submitted(ids, submission_id, numbered=not batch_system.arrays)
        return [self._registry.records[node] for node in ids]

    async def _submit_fitting(
        self, request: NodeRequest, count: int
    ) -> Sequence[NodeId]:
        while True:
            try:
                return await self._launcher.submit(request, count)
            except ArrayTooLarge as exc:
                if not 0 < exc.limit < count:
                    raise
                logger.info("An array has at most %d nodes here", exc.limit)
                self.largest = count = exc.limit

    async def _ask_limit(
        self, on_limit: Callable[[Iterable[NodeRecord]], Awaitable[None]]
    ) -> None:
        most = await self._launcher.array_running()
        if most is not None:
            self.largest = min(self.largest or most, most)
            await on_limit(self._registry)

    def blocked(self, records: Iterable[NodeRecord]) -> dict[str, list[NodeRecord]]:
        """Queued nodes beyond what their array may run at once, by job."""
        arrays: dict[str, list[NodeRecord]] = {}
        for record in records:
            arrays.setdefault(record.id.job, []).append(record)
        blocked = {
            job: [
                record
                for record in nodes[self.largest or len(nodes) :]
                if record.state is NodeState.QUEUED
            ]
            for job, nodes in arrays.items()
        }
        return {job: nodes for job, nodes in blocked.items() if nodes}
