"""The launcher itself: an asyncio client of one session child after another.

Both launchers are this class; they differ in the child's program and in whether nodes
outlive it. Grid Engine's do, so a session that dies is replaced and its nodes adopted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dask_gridengine.errors import (
    DrmCommunicationError,
    LauncherError,
    LauncherUnavailable,
    SubmitError,
)
from dask_gridengine.launchers.base import EndCallback, NodeEnd, NodeId, NodeRequest
from dask_gridengine.launchers.channel import Channel, SessionDied
from dask_gridengine.launchers.protocol import (
    COMMUNICATION,
    REFUSED,
    Message,
    pack,
    pack_request,
    unpack,
)

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 60.0  # seconds a session has to answer a request
RESPAWN_DELAYS = (0.0, 0.5, 2.0, 10.0, 30.0)  # seconds before each try to replace it
STABLE = 300.0  # a session that lived so many seconds gives its successor all tries


@dataclass(frozen=True, kw_only=True)
class SessionProgram:
    """Which program a launcher's session runs, and what people are told about it."""

    kind: str  # the launcher's name
    module: str  # has a function ``main``
    describe: Callable[[Message], str]  # from the session's first message
    advise: Callable[[Message], str]  # what to do; from "failed", or {} if it died
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None  # ours if None
    nodes_outlive_it: bool = False
    opening: float = 30.0  # seconds it has to say that it is ready


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
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._live: dict[NodeId, bool] = {}  # whether we cancelled it
        self._early: dict[NodeId, NodeEnd] = {}  # ends of what nobody knows yet
        self._undoing: set[asyncio.Task[None]] = set()
        self._session: Channel | None = None
        self._contact = ""
        self._born = 0.0  # when the session was opened
        self._tries = 0  # of RESPAWN_DELAYS
        self._lost = ""  # why there is no session
        self._recovery: asyncio.Task[None] | None = None
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
        await self._connect()
        assert self._session is not None
        self.description = program.describe(self._session.hello)
        return self

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        """Queue `count` nodes as one array.

        Cancelling this lets the submission land and then deletes what it queued; no
        end is reported for such nodes.

        Raises
        ------
        SubmitError
            If the grid refuses it; nothing was queued.
        DrmCommunicationError
            If the grid or the session does not answer in time. What is queued late
            all the same is deleted.
        LauncherError
            If there is no session any more, or this launcher is closed.
        """
        session = await self._a_session()
        reply = session.ask("submit", request=pack_request(request), count=count)
        try:
            await asyncio.wait([reply], timeout=ANSWER_TIMEOUT)
        except asyncio.CancelledError:
            self._undo(session, reply)
            raise
        if not reply.done():
            self._undo(session, reply)
            raise DrmCommunicationError(
                f"no answer to a submission in {ANSWER_TIMEOUT:g} s; what it still"
                " queues will be deleted"
            )
        answer = reply.result()
        if answer.get("error") == REFUSED:
            raise SubmitError(answer["text"], count, request.native)
        _raise_error(answer)
        nodes = unpack(answer["nodes"])
        self._live.update(dict.fromkeys(nodes, False))
        self._loop.call_soon(self._catch_up, nodes)
        return nodes

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        """Stop these nodes, queued or running; nodes already gone are a no-op.

        Returns when the session has taken it on. While the grid does not answer, the
        session tries again by itself.

        Raises
        ------
        LauncherError
            If the session fails and cannot be replaced, or this launcher is closed.
        """
        known = [node for node in nodes if node in self._live]
        if not known:
            return
        self._live.update(dict.fromkeys(known, True))
        try:
            session = await self._a_session()
            reply = session.ask("cancel", nodes=pack(known))
            await asyncio.wait([reply], timeout=ANSWER_TIMEOUT)
            if reply.done():
                _raise_error(reply.result())
        except SessionDied:
            # Either its nodes died with it, or its successor is told which to delete.
            if self._program.nodes_outlive_it:
                await self._a_session()

    async def aclose(self, timeout: float = 20.0) -> None:
        """Cancel whatever is left and let go, in about `timeout` seconds.

        Idempotent, never raises, and goes on when its caller is cancelled.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(timeout))
        await asyncio.shield(self._closing)

    async def _a_session(self) -> Channel:
        """The session there is, or a new one."""
        if self._closing is not None:
            raise LauncherError(f"this {self.kind} launcher is closed")
        if self._session is None and self._program.nodes_outlive_it:
            self._recover()
            assert self._recovery is not None
            await asyncio.wait([self._recovery], timeout=ANSWER_TIMEOUT)
        if self._session is None:
            raise LauncherError(self._lost)
        return self._session

    async def _connect(self) -> None:
        """Start a session; if it is not the first, hand our nodes over to it."""
        program = self._program
        takeover = ("--contact", self._contact) if self._contact else ()
        hello: Message = {}
        try:
            session = await Channel.open(
                program.module,
                on_event=self._hear,
                on_death=self._session_died,
                arguments=(*program.arguments, *takeover),
                environment=program.environment,
                timeout=program.opening,
            )
            hello = session.hello
            if hello["kind"] != "ready":
                await session.aclose(timeout=1)
                raise LauncherError(hello["text"])
            if self._live:
                await self._hand_over(session)
        except LauncherError as exc:
            advice = program.advise(hello)
            raise LauncherUnavailable(self.kind, str(exc), advice) from exc
        self._session, self._contact = session, hello["contact"]
        self._born = self._loop.time()

    async def _hand_over(self, session: Channel) -> None:
        cancelled = [node for node, ours in self._live.items() if ours]
        reply = session.ask("adopt", nodes=pack(self._live), cancelled=pack(cancelled))
        await asyncio.wait([reply], timeout=ANSWER_TIMEOUT)
        if not reply.done():
            session.kill()
            raise SessionDied("the new session did not take over the nodes in time")
        _raise_error(reply.result())

    def _session_died(self, why: str) -> None:
        self._session, self._lost = None, why
        if self._program.nodes_outlive_it:
            logger.warning("%s; starting another, no node is lost", why)
            if self._loop.time() - self._born > STABLE:
                self._tries = 0
            self._recover()
        else:
            logger.warning("%s; its nodes died with it", why)
            self._end_all(reason=f"its {self.kind} launcher died: {why}")

    def _recover(self) -> None:
        if self._closing is None and (self._recovery is None or self._recovery.done()):
            self._recovery = self._loop.create_task(self._replace_session())

    async def _replace_session(self) -> None:
        """Try while there are tries, and once for each request after that."""
        while True:
            spent = self._tries >= len(RESPAWN_DELAYS)
            if not spent:
                await asyncio.sleep(RESPAWN_DELAYS[self._tries])
                self._tries += 1
            try:
                await self._connect()
            except LauncherError as exc:
                self._lost = str(exc)
                logger.warning("cannot replace the session: %s", exc)
            if self._session is not None or spent:
                return

    def _hear(self, message: Message) -> None:
        if message["kind"] == "note":
            logger.warning("%s", message["text"])
        elif message["kind"] == "end":
            fields = {k: v for k, v in message.items() if k not in ("kind", "nodes")}
            for node in unpack(message["nodes"]):
                end = NodeEnd(node=node, **fields)
                if node in self._live:
                    self._report(end)
                else:
                    self._early[node] = end

    def _catch_up(self, nodes: Iterable[NodeId]) -> None:
        """Report what ended while `submit` was still on its way back to the caller."""
        for node in nodes:
            if (end := self._early.pop(node, None)) is not None:
                self._report(end)
        if self._session is None and not self._program.nodes_outlive_it:
            self._end_all(reason=self._lost)

    def _report(self, end: NodeEnd) -> None:
        cancelled = self._live.pop(end.node, None)
        if cancelled is None:
            return  # reported already
        try:
            self._on_end(replace(end, cancelled=end.cancelled or cancelled))
        except Exception:
            # One bad turn of the cluster's must not cost it the other end notices.
            logger.exception("the end of node %s was not taken well", end.node)

    def _end_all(self, *, reason: str, cancelled: bool = False) -> None:
        for node in list(self._live):
            self._report(NodeEnd(node=node, cancelled=cancelled, reason=reason))

    def _undo(self, session: Channel, reply: asyncio.Future[Message]) -> None:
        """Delete what a submission queues that nobody waits for any more."""
        # The request cannot be recalled. `aclose` needs not wait for this: the session
        # serves in order, so it will know these nodes when it is asked to close.
        task = self._loop.create_task(self._delete_when_known(session, reply))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _delete_when_known(
        self, session: Channel, reply: asyncio.Future[Message]
    ) -> None:
        await asyncio.wait([reply])
        if reply.exception() is None and (ranges := reply.result().get("nodes")):
            await asyncio.wait([session.ask("cancel", nodes=ranges)])
            for node in unpack(ranges):
                self._early.pop(node, None)

    async def _close(self, timeout: float) -> None:
        if self._recovery is not None:
            await asyncio.wait([self._recovery], timeout=timeout / 4)
            self._recovery.cancel()
        session = self._session
        if session is not None:
            reply = session.ask("close", patience=timeout / 2)
            await asyncio.wait([reply], timeout=timeout * 3 / 4)
            if not await session.aclose(timeout=timeout / 4):
                self._part_from(session)
        for task in list(self._undoing):
            task.cancel()
        self._session, self._lost = None, f"this {self.kind} launcher is closed"
        self._end_all(reason="the cluster closed", cancelled=True)

    def _part_from(self, session: Channel) -> None:
        if self._program.nodes_outlive_it and self._live:
            logger.warning(
                "the grid does not answer: process %d goes on trying to delete job %s",
                session.pid,
                ", ".join(sorted({node.job for node in self._live})),
            )
            session.let_go()
        else:
            session.kill()


def _raise_error(answer: Message) -> None:
    if answer.get("error") == COMMUNICATION:
        raise DrmCommunicationError(answer["text"])
    if "error" in answer:
        raise LauncherError(answer["text"])
