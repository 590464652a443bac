"""The launcher itself: an asyncio client of one session child after another.

Both launchers are this class; they differ in the child's program and in whether nodes
outlive it. Grid Engine's do, so a session that dies is replaced and its nodes adopted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace

from dask_gridengine.batch.base import SUBMISSION, BatchSystem
from dask_gridengine.errors import (
    DrmCommunicationError,
    LauncherError,
)
from dask_gridengine.grid_types import (
    AccountingRecord,
    ArrayReport,
    EndCallback,
    EndNotice,
    NodeId,
    NodeRequest,
)
from dask_gridengine.launchers.channel import Channel, SessionDied
from dask_gridengine.launchers.end_notices import EndNotices
from dask_gridengine.launchers.protocol import (
    COMMUNICATION,
    REFUSED,
    Message,
    pack,
    pack_request,
    unpack,
)
from dask_gridengine.launchers.supervisor import (
    GridInfo,
    SessionProgram,
    SessionSupervisor,
)

logger = logging.getLogger(__name__)

CANCEL_PATIENCE = 5.0  # seconds to hear that a session has taken a cancellation on


class SessionLauncher:
    """A `Launcher` whose work is done in a child process. Made by `open`.

    Parameters
    ----------
    program
        What the child runs.
    on_end
        Told of the end of every node that `submit` returned, once, and never before
        a caller who awaits `submit` directly has its answer.
    """

    def __init__(self, program: SessionProgram, on_end: EndCallback) -> None:
        self.kind = self.description = program.kind
        self._program = program
        self._grid_info = GridInfo()
        self.dialect: BatchSystem = self._grid_info.dialect
        self.slots: int | None = None
        self._loop = asyncio.get_running_loop()
        self._ledger = EndNotices(on_end)
        self._keeper = SessionSupervisor(program, self._ledger, self._hear)
        self._undoing: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, program: SessionProgram, on_end: EndCallback
    ) -> SessionLauncher:
        """Start the session.

        Raises
        ------
        LauncherUnavailable
            If it cannot be had, with what the session said and what to do.
        """
        self = cls(program, on_end)
        await self._keeper.open()
        self.description = program.describe(self._keeper.ready)
        self._grid_info = program.grid_info(self._keeper.ready)
        self.dialect = self._grid_info.dialect
        self.slots = self._keeper.ready.get("slots")
        return self

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        """Queue `count` nodes as one array.

        Cancelling this lets the submission land and then deletes what it queued; no
        end is reported for such nodes.

        Raises
        ------
        SubmitError, GridFull, ArrayTooLarge
            If the grid refuses it; nothing was queued.
        DrmCommunicationError
            If the grid or the session does not answer in time, or the session dies of
            it. What is queued all the same, now or later, is deleted.
        LauncherError
            If there is no session any more, or this launcher is closed.
        """
        session = await self._session()
        marked = _marked(request)
        submission_id = marked.environment[SUBMISSION]
        reply = session.ask("submit", request=pack_request(marked), count=count)
        try:
            await asyncio.wait([reply], timeout=self._program.answering)
            answer = self._answer(reply)
        except (asyncio.CancelledError, DrmCommunicationError):
            self._undo(session, reply, name=request.name, submission_id=submission_id)
            raise
        if answer.get("error") == REFUSED:
            native = None if self.kind == "process" else request.native
            raise self.dialect.submit_error(answer["text"], count, native)
        _raise_error(answer)
        nodes = unpack(answer["nodes"])
        self._ledger.enter(nodes)
        self._loop.call_soon(self._catch_up, nodes)
        return nodes

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        """Stop these nodes, queued or running; nodes already gone are a no-op.

        Returns when the session has taken it on. While the grid does not answer, the
        session tries again by itself.

        Raises
        ------
        LauncherError
            If there is no session and none can be had, or this launcher is closed.
        """
        known = self._ledger.cancel(nodes)
        if not known:
            return
        try:
            session = await self._session()
            reply = session.ask("cancel", nodes=pack(known))
            # No answer is no trouble: what is in the pipe will be carried out.
            await asyncio.wait([reply], timeout=CANCEL_PATIENCE)
            if reply.done():
                _raise_error(reply.result())
        except SessionDied:
            # Either the nodes died with it, or its successor is told which to delete.
            if self._program.nodes_outlive_it:
                await self._session()

    async def ask_about(self, nodes: Collection[NodeId]) -> None:
        """Have the grid asked soon about these, which have gone silent.

        Does not wait for an answer, and never raises. A session that is being
        replaced asks about every node by itself.
        """
        known = [node for node in nodes if node in self._ledger.live]
        if not known or not self._keeper.alive:
            return
        session = await self._keeper.get(0)  # at once, for it is alive
        reply = session.ask("ask", nodes=pack(known))
        reply.add_done_callback(_log_trouble)

    async def hosts(self, native: str) -> frozenset[str] | None:
        """The hosts where these submit options could run; None if nobody can tell."""
        return await self._grid_info.hosts(native)

    async def queue_limit(self, queue: str) -> float | None:
        """Seconds after which a queue ends its jobs; None if no end is known."""
        return await self._grid_info.queue_limit(queue)

    async def array_running(self) -> int | None:
        """How many nodes of one array may run at once; None if nothing limits it."""
        return await self._grid_info.array_running()

    async def report(self, job: str, native: str) -> ArrayReport | None:
        """What the grid says of an array with these submit options; None if nothing."""
        return await self._grid_info.report(job, native)

    async def suspended(self) -> frozenset[NodeId] | None:
        """Nodes that the grid has suspended; None if that is unknown."""
        return await self._grid_info.suspended()

    async def account(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        """What the accounting says of a node that has ended; None if nothing.

        A record may come late, so this tries again for `timeout` seconds.
        """
        return await self._grid_info.account(node, timeout)

    async def aclose(self, timeout: float = 20.0) -> None:
        """Cancel whatever is left and let go, in about `timeout` seconds.

        Idempotent, never raises, and goes on when its caller is cancelled.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(timeout))
        await asyncio.shield(self._closing)

    async def _session(self) -> Channel:
        if self._closing is not None:
            raise LauncherError(f"this {self.kind} launcher is closed")
        return await self._keeper.get(self._program.answering)

    def _answer(self, reply: asyncio.Future[Message]) -> Message:
        if not reply.done():
            raise DrmCommunicationError(
                f"no answer to a submission in {self._program.answering:g} s"
            )
        try:
            answer = reply.result()
        except SessionDied as exc:
            if not self._program.nodes_outlive_it:
                raise
            raise DrmCommunicationError(str(exc)) from exc  # another session will do
        if answer.get("error") == COMMUNICATION:
            raise DrmCommunicationError(answer["text"])
        return answer

    def _hear(self, message: Message) -> None:
        if message["kind"] == "note":
            logger.warning("%s", message["text"])
        elif message["kind"] == "end":
            fields = {k: v for k, v in message.items() if k not in ("kind", "nodes")}
            for node in unpack(message["nodes"]):
                self._ledger.end(EndNotice(node=node, **fields))

    def _catch_up(self, nodes: Collection[NodeId]) -> None:
        """Report what ended while `submit` was on its way back to its caller."""
        self._ledger.catch_up(nodes)
        if not self._keeper.alive and not self._program.nodes_outlive_it:
            self._ledger.end_all(reason=f"the launcher died: {self._keeper.lost}")

    def _undo(
        self,
        session: Channel,
        reply: asyncio.Future[Message],
        *,
        name: str,
        submission_id: str,
    ) -> None:
        """Delete what a submission queues that nobody waits for any more."""
        # The request cannot be recalled. `aclose` needs not wait for this: sessions
        # serve in order, so this one knows the nodes when it is asked to close.
        task = self._loop.create_task(
            self._delete_late(session, reply, name, submission_id)
        )
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _delete_late(
        self,
        session: Channel,
        reply: asyncio.Future[Message],
        name: str,
        submission_id: str,
    ) -> None:
        await asyncio.wait([reply])
        if reply.exception() is None:
            # Where the grid gave no answer the session itself will look for the mark.
            ranges = reply.result().get("nodes", {})
            await asyncio.wait([session.ask("cancel", nodes=ranges)])
            self._ledger.forget(unpack(ranges))
        elif self._program.nodes_outlive_it:
            with contextlib.suppress(LauncherError):
                session = await self._keeper.get(self._program.answering)
                await asyncio.wait(
                    [
                        session.ask(
                            "delete_unacknowledged",
                            name=name,
                            submission_id=submission_id,
                        )
                    ]
                )

    async def _close(self, timeout: float) -> None:
        try:
            session = await self._keeper.get(timeout / 4)
            reply = session.ask("close", timeout=timeout / 2)
            await asyncio.wait([reply], timeout=timeout * 5 / 8)
            if not await session.aclose(timeout=timeout / 8):
                self._part_from(session)
        except LauncherError as exc:
            self._warn_of_leftovers(str(exc))
        self._keeper.stop()
        for task in list(self._undoing):
            task.cancel()
        self._ledger.end_all(reason="the cluster closed", cancelled=True)

    def _part_from(self, session: Channel) -> None:
        if self._program.nodes_outlive_it and self._ledger.live:
            self._warn_of_leftovers(f"process {session.pid} goes on trying")
            session.detach()
        else:
            session.kill()

    def _warn_of_leftovers(self, text: str) -> None:
        jobs = sorted({node.job for node in self._ledger.live})
        if jobs:
            logger.warning("not deleted yet: job %s; %s", ", ".join(jobs), text)


def _marked(request: NodeRequest) -> NodeRequest:
    """With a mark, if its caller has not given it one."""
    environment = {SUBMISSION: uuid.uuid4().hex, **request.environment}
    return replace(request, environment=environment)


def _log_trouble(reply: asyncio.Future[Message]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        trouble = reply.exception() or reply.result().get("text")
        if trouble:
            logger.debug("the grid could not be asked: %s", trouble)


def _raise_error(answer: Message) -> None:
    if answer.get("error") == COMMUNICATION:
        raise DrmCommunicationError(answer["text"])
    if "error" in answer:
        raise LauncherError(answer["text"])
