"""The launcher: starts nodes as arrays, stops them, and reports their ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dask_gridengine.batch.base import SUBMISSION, BatchSystem
from dask_gridengine.errors import DrmCommunicationError, LauncherError, SubmitError
from dask_gridengine.formatting import format_duration
from dask_gridengine.grid_types import (
    AccountingRecord,
    ArrayReport,
    NodeId,
    NodeRequest,
)
from dask_gridengine.launchers.channel import Channel, ChildDied
from dask_gridengine.launchers.messages import (
    REJECTED,
    UNREACHABLE,
    Message,
    encode_request,
    from_ranges,
    to_ranges,
)
from dask_gridengine.launchers.supervisor import ChildSupervisor

logger = logging.getLogger(__name__)

T = TypeVar("T")
KINDS = ("drmaa", "process")
CANCEL_TIMEOUT = 5.0  # seconds to wait for the reply to a cancellation


class Launcher:
    """Starts nodes and stops them, through a child process. Does not import Dask.

    The callback given when the launcher was opened gets the end of every node that
    `submit` returned, once, in the event loop the launcher was opened in, and not
    before the caller of `submit` has the node's id.

    The two launchers derive from it. They differ in the child's program, in what they
    can find out about the grid, and in whether nodes survive the child.
    """

    kind: str  # "drmaa" or "process"
    description: str  # one line for users, e.g. "Grid Engine through DRMAA (SGE 8.1.9)"
    batch_system: BatchSystem
    slots: int | None  # of this machine, for local processes; None on a grid

    def __init__(
        self,
        child: ChildSupervisor,
        *,
        description: str,
        batch_system: BatchSystem,
        slots: int | None = None,
    ) -> None:
        self.kind = child.program.kind
        self.description, self.slots = description, slots
        self.batch_system = batch_system
        self._child, self._program, self._ends = child, child.program, child.ends
        self._loop = asyncio.get_running_loop()
        self._deletions: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        """Queue `count` nodes as one array: all of them, or none.

        When this is cancelled, the submission completes and then what it queued is
        deleted; no end is reported for such nodes.

        Raises
        ------
        SubmitError, GridFull, ArrayTooLarge
            If the grid rejects it; nothing was queued.
        DrmCommunicationError
            If the grid or the child does not answer in time, or the child dies. What
            is queued nevertheless, now or later, is deleted.
        LauncherError
            If there is no child any more, or this launcher is closed.
        """
        channel = await self._channel()
        environment = {SUBMISSION: uuid.uuid4().hex, **request.environment}
        request = replace(request, environment=environment)
        reply = channel.request("submit", request=encode_request(request), count=count)
        try:
            await asyncio.wait([reply], timeout=self._program.reply_timeout)
            answer = self._answer(reply)
        except (asyncio.CancelledError, DrmCommunicationError):
            # The request cannot be recalled. `aclose` need not wait for this task: a
            # child serves in order, so it knows the nodes when it is asked to close.
            task = self._loop.create_task(self._delete_queued(channel, reply, request))
            self._deletions.add(task)
            task.add_done_callback(self._deletions.discard)
            raise
        if answer.get("error") == REJECTED:
            raise await self._rejection(answer["text"], request, count)
        _raise_error(answer)
        nodes = [self.batch_system.name_node(n) for n in from_ranges(answer["nodes"])]
        self._ends.add(nodes)
        # The caller has the ids before the first end is reported.
        self._loop.call_soon(self._report_early, nodes)
        return nodes

    async def _rejection(
        self, reason: str, request: NodeRequest, count: int
    ) -> SubmitError:
        """Make the error for an array that was rejected."""
        return self.batch_system.submit_error(reason, count, None)

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        """Stop these nodes, queued or running; ignore nodes that have ended.

        Returns when the child has accepted the request; their end notices may come
        seconds later. While the grid does not answer, the child retries by itself.

        Raises
        ------
        LauncherError
            If there is no child and none can be started, or this launcher is closed.
        """
        live = self._ends.mark_cancelled(nodes)
        if not live:
            return
        try:
            channel = await self._channel()
            reply = channel.request("cancel", nodes=to_ranges(live))
            # A missing reply is not an error: what is in the pipe will be done.
            await asyncio.wait([reply], timeout=CANCEL_TIMEOUT)
            if reply.done():
                _raise_error(reply.result())
        except ChildDied:
            # Either the nodes died with it, or the next child learns which to delete.
            if self._program.nodes_survive:
                await self._channel()

    async def recheck(self, nodes: Collection[NodeId]) -> None:
        """Have the grid asked about these nodes soon, because they stopped responding.

        If a node is gone its end notice comes, otherwise nothing happens. Does not wait
        for the answer, and never raises: a new child, or one that reaches the grid
        again after an outage, checks every node.
        """
        live = [node for node in nodes if node in self._ends.live]
        if live and self._child.running:
            channel = await self._child.channel(0)
            reply = channel.request("recheck", nodes=to_ranges(live))
            reply.add_done_callback(_log_error)

    async def hosts(self, native: str) -> frozenset[str] | None:
        """Return the hosts where these submit options can run; None if unknown."""
        return await self._query(self.batch_system.hosts, native)

    async def queue_limit(self, queue: str) -> float | None:
        """Return the walltime limit of a queue in seconds; None is without limit."""
        return await self._query(self.batch_system.queue_limit, queue)

    async def array_running(self) -> int | None:
        """Return how many nodes of one array may run at once; None is unlimited."""
        return await self._query(self.batch_system.array_running)

    async def report(self, job: str, native: str) -> ArrayReport | None:
        """Return the grid's report of an array with these submit options."""
        return await self._query(self.batch_system.report, job, native)

    async def suspended(self) -> frozenset[NodeId] | None:
        """Return the nodes that the grid has suspended; None if unknown."""
        return await self._query(self.batch_system.suspended)

    async def account(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        """Return the accounting record of a node that has ended; None if unknown.

        May take seconds, and returns None for a while after a slow query. Retries for
        `timeout` seconds, as Grid Engine writes records up to 15 s late.
        """
        return None

    async def aclose(self, timeout: float = 20.0) -> None:
        """Cancel all nodes and end the child, in about `timeout` seconds.

        Idempotent; never raises; continues when its caller is cancelled.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(timeout))
        await asyncio.shield(self._closing)

    async def _query(self, query: Callable[..., T], *arguments: Any) -> T | None:
        """Have a batch system's command answer a query; None if nothing can."""
        return None

    async def _channel(self) -> Channel:
        if self._closing is not None:
            raise LauncherError(f"this {self.kind} launcher is closed")
        return await self._child.channel(self._program.reply_timeout)

    def _answer(self, reply: asyncio.Future[Message]) -> Message:
        if not reply.done():
            raise DrmCommunicationError(
                "no reply to a submission in"
                f" {format_duration(self._program.reply_timeout)}"
            )
        try:
            answer = reply.result()
        except ChildDied as exc:
            if not self._program.nodes_survive:
                raise
            raise DrmCommunicationError(str(exc)) from exc  # it will be restarted
        if answer.get("error") == UNREACHABLE:
            raise DrmCommunicationError(answer["text"])
        return answer

    def _report_early(self, nodes: Collection[NodeId]) -> None:
        """Report what ended while `submit` returned to its caller."""
        self._ends.report_early(nodes)
        self._child.report_lost_nodes()

    async def _delete_queued(
        self, channel: Channel, reply: asyncio.Future[Message], request: NodeRequest
    ) -> None:
        """Delete what a submission still queues after its caller has left."""
        await asyncio.wait([reply])
        if reply.exception() is None:
            # If the grid did not answer, the child finds the array by its id.
            ranges = reply.result().get("nodes", {})
            await asyncio.wait([channel.request("cancel", nodes=ranges)])
            self._ends.discard(from_ranges(ranges))
        elif self._program.nodes_survive:
            with contextlib.suppress(LauncherError):
                channel = await self._child.channel(self._program.reply_timeout)
                reply = channel.request(
                    "delete_unacknowledged",
                    name=request.name,
                    submission_id=request.environment[SUBMISSION],
                )
                await asyncio.wait([reply])

    async def _close(self, timeout: float) -> None:
        try:
            channel = await self._child.channel(timeout / 4)
            reply = channel.request("close", timeout=timeout / 2)
            await asyncio.wait([reply], timeout=timeout * 5 / 8)
            ended = await channel.aclose(timeout=timeout / 8)
            if not ended and self._program.nodes_survive and self._ends.live:
                self._warn_of_remaining_jobs(f"process {channel.pid} goes on trying")
                channel.detach()
            elif not ended:
                channel.kill()
        except LauncherError as exc:
            self._warn_of_remaining_jobs(str(exc))
        self._child.stop()
        for task in list(self._deletions):
            task.cancel()
        self._ends.report_all(reason="the cluster closed", cancelled=True)

    def _warn_of_remaining_jobs(self, text: str) -> None:
        jobs = sorted({node.job for node in self._ends.live})
        if jobs:
            logger.warning("not deleted yet: job %s; %s", ", ".join(jobs), text)


def _log_error(reply: asyncio.Future[Message]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        if error := reply.exception() or reply.result().get("text"):
            logger.debug("could not recheck nodes: %s", error)


def _raise_error(answer: Message) -> None:
    if answer.get("error") == UNREACHABLE:
        raise DrmCommunicationError(answer["text"])
    if "error" in answer:
        raise LauncherError(answer["text"])
