"""Asking the grid for nodes: as arrays, as many as it lets and no more.

What cannot be asked for now is *owed*: the reconciler asks again when there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.errors import ArrayTooLarge, LauncherError
from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.admission import AdmissionControl
from dask_gridengine.nodes.host_blocklist import HostBlocklist
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.options import Options

logger = logging.getLogger(__name__)

#: Arrays of more nodes wait until it is known how many of one may run at once; to ask
#: takes 0.02 to 0.1 s (measured), which a small cluster shall not be later for.
LARGE_ARRAY = 100


class ArraySubmitter:
    """What is submitted for one kind of nodes.

    Parameters
    ----------
    options
        What the user asked for; among it how many nodes there may be.
    roster, door, guard
        The nodes there are, where they arrive, and the hosts to leave out.
    cancel
        Stops nodes, wherever they are.
    note
        People should know this.
    """

    def __init__(
        self,
        options: Options,
        registry: NodeRegistry,
        admission: AdmissionControl,
        blocklist: HostBlocklist,
        *,
        cancel: Callable[[Collection[NodeRecord]], Awaitable[None]],
        note: Callable[[str], None],
    ) -> None:
        self._options, self._registry, self._admission = options, registry, admission
        self._blocklist, self._cancel, self._note = blocklist, cancel, note
        self._largest = 0  # nodes; 0 while no array was too large
        self._asking: asyncio.Task[None] | None = None  # the grid, what that is
        self._launcher: Launcher | None = None
        self._request: NodeRequest | None = None

    def open(self, launcher: Launcher, request: NodeRequest) -> None:
        """From now on nodes can be asked for, each with this request."""
        self._launcher, self._request = launcher, request
        self._asking = asyncio.create_task(self._ask_limit(launcher))

    def close(self) -> None:
        """Ask the grid nothing any more. Idempotent."""
        if self._asking is not None:
            self._asking.cancel()

    def short(self, names: int = 0) -> int:
        """How many nodes to ask for so that so many more names get one.

        Places in the queue that nobody needs at the moment count, and nodes that sleep
        at the door of a shut host do not. Those that are owed are asked for later.
        """
        ready = (
            self._registry.expected
            - self._admission.num_blocked
            + self._registry.backlog
        )
        return max(0, len(self._registry.unbound) + names - ready)

    @property
    def room(self) -> int:
        """How many nodes more may be asked for now, as one array."""
        bounds = (
            (self._options.max_queued_jobs, self._registry.counts[NodeState.QUEUED]),
            # Also those on their way out, for whom others shall come before they go.
            (self._options.max_jobs, self._registry.alive),
            (self._largest or None, 0),
        )
        room = [max(0, most - there) for most, there in bounds if most is not None]
        return min(room, default=sys.maxsize)

    async def submit(self, names: Sequence[str]) -> None:
        """Have a node for each of these names, and for each that waits for one.

        What is missing is queued as one array, as far as there is room for it; the rest
        is owed.

        Raises
        ------
        LauncherError
            If the launcher will not; nothing was queued.
        """
        missing = self.short(len(names))
        if self._asking is not None and missing > LARGE_ARRAY:
            await asyncio.wait([self._asking])
        count = min(missing, self.room)
        records = await self._submit(count) if count else []
        if (
            self._admission.closed
        ):  # since it was asked for: who closes has not seen them
            await self._cancel(records)
            return
        self._registry.backlog += missing - len(records)
        self._registry.unbound.extend(names)
        await self._exchange(records)

    async def _submit(self, count: int) -> list[NodeRecord]:
        assert self._launcher is not None, "not open"
        assert self._request is not None, "not open"
        dialect = self._launcher.dialect
        shut = self._blocklist.blocked(self._registry.clock())
        submission_id = uuid.uuid4().hex
        request = replace(
            self._request,
            native=dialect.exclude_hosts(self._request.native, shut),
            environment={**self._request.environment, SUBMISSION: submission_id},
        )
        self._admission.submitting += 1
        try:
            ids = await self._submit_fitting(self._launcher, request, count)
        finally:
            self._admission.submitting -= 1
        self._registry.submitted(ids, submission_id, numbered=not dialect.arrays)
        return [self._registry.records[node] for node in ids]

    async def _submit_fitting(
        self, launcher: Launcher, request: NodeRequest, count: int
    ) -> Sequence[NodeId]:
        """Queue so many nodes, or as many as an array may have here."""
        while True:
            try:
                return await launcher.submit(request, count)
            except ArrayTooLarge as exc:
                if not 0 < exc.limit < count:
                    raise
                logger.info("arrays have %d nodes here at most", exc.limit)
                self._largest = count = exc.limit

    async def _ask_limit(self, launcher: Launcher) -> None:
        """Learn how many nodes of one array may run at once."""
        most = await launcher.array_running()
        if most is not None:
            self._largest = min(self._largest or most, most)
            await self._exchange(self._registry)

    async def _exchange(self, records: Iterable[NodeRecord]) -> None:
        """Ask for nodes anew that are beyond what an array may run at once.

        They queue behind the others of their array, and could not start, whatever room
        there is. Their array was on its way when the limit was not known yet.
        """
        arrays: dict[str, list[NodeRecord]] = {}
        for record in records:
            arrays.setdefault(record.id.job, []).append(record)
        for job, nodes in arrays.items():
            beyond = [
                record
                for record in nodes[self._largest or len(nodes) :]
                if record.state is NodeState.QUEUED
            ]
            if beyond:
                self._note(
                    f"the grid runs {self._largest} nodes of an array at once:"
                    f" {len(beyond)} of job {job} are asked for anew, in arrays of"
                    " their own"
                )
                self._registry.backlog += len(beyond)
                with contextlib.suppress(LauncherError):  # its successor deletes them
                    await self._cancel(beyond)
