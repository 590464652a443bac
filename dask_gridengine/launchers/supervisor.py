"""Keeps a session running: opens one, and replaces it when it dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dask_gridengine.batch import batch_system
from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.errors import (
    DrmCommunicationError,
    LauncherError,
    LauncherUnavailable,
)
from dask_gridengine.grid_types import AccountingRecord, ArrayReport, NodeId
from dask_gridengine.launchers.channel import Channel, SessionDied
from dask_gridengine.launchers.end_notices import EndNotices
from dask_gridengine.launchers.protocol import Message, pack

logger = logging.getLogger(__name__)

STABLE = 300.0  # a session that lived so many seconds gives its successor all tries


class GridInfo:
    """What is asked of a grid beside its session; here nobody can tell."""

    dialect: BatchSystem = batch_system(
        "gridengine"
    )  # which local processes speak, too

    async def hosts(self, native: str) -> frozenset[str] | None:
        """See `Launcher.hosts`."""
        return None

    async def queue_limit(self, queue: str) -> float | None:
        """See `Launcher.queue_limit`."""
        return None

    async def array_running(self) -> int | None:
        """See `Launcher.array_running`."""
        return None

    async def report(self, job: str, native: str) -> ArrayReport | None:
        """See `Launcher.report`."""
        return None

    async def suspended(self) -> frozenset[NodeId] | None:
        """See `Launcher.suspended`."""
        return None

    async def account(self, node: NodeId, timeout: float) -> AccountingRecord | None:
        """See `Launcher.account`."""
        return None


@dataclass(frozen=True, kw_only=True)
class SessionProgram:
    """Which program a launcher's session runs, and what people are told about it."""

    kind: str  # the launcher's name
    module: str  # has a function ``main``
    describe: Callable[[Message], str]  # from "ready"
    advise: Callable[[Message], str]  # what to do; from "failed", or {} if it died
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None  # ours if None
    nodes_outlive_it: bool = False
    tidy: Callable[[Message], None] = lambda ready: None  # after it died, from "ready"
    opening: float = 30.0  # seconds it has to say that it is ready
    answering: float = 60.0  # seconds it has to answer a request
    grid_info: Callable[[Message], GridInfo] = lambda ready: GridInfo()
    respawn: tuple[float, ...] = (0.0, 0.5, 2.0, 10.0, 30.0)  # before each try, seconds


class SessionSupervisor:
    """The one session of a launcher, and its successors.

    Parameters
    ----------
    program
        What a session runs.
    ledger
        Whose nodes a successor adopts, or which died with their session.
    on_event
        Given every message of a session that is no reply.
    """

    def __init__(
        self,
        program: SessionProgram,
        ledger: EndNotices,
        on_event: Callable[[Message], None],
    ) -> None:
        self._program, self._ledger = program, ledger
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._session: Channel | None = None
        self._ready: Message = {}  # the first message of the session or its forerunner
        self._born = 0.0
        self._tries = 0  # to replace it
        self._recovery: asyncio.Task[None] | None = None
        self._stopped = False
        self.lost = ""  # why there is no session

    @property
    def ready(self) -> Message:
        """What the session said first."""
        return self._ready

    @property
    def alive(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    async def open(self) -> None:
        """Start a session, and hand our nodes over if it is not the first.

        Raises
        ------
        LauncherUnavailable
            If it cannot be had, with what it said and what to do.
        """
        program = self._program
        contact = self._ready.get("contact")
        hello: Message = {}
        try:
            session = await Channel.open(
                program.module,
                on_event=self._on_event,
                on_death=self._died,
                arguments=(
                    *program.arguments,
                    *(("--contact", contact) if contact else ()),
                ),
                environment=program.environment,
                timeout=program.opening,
            )
            hello = session.hello
            if hello["kind"] != "ready":
                await session.aclose(timeout=1)
                raise LauncherError(hello["text"])
            if self._ledger.live:
                await self._hand_over(session)
        except LauncherError as exc:
            advice = program.advise(hello)
            raise LauncherUnavailable(program.kind, str(exc), advice) from exc
        self._session, self._ready = session, hello
        self._born = self._loop.time()

    async def get(self, timeout: float) -> Channel:
        """The session there is, or within `timeout` seconds a new one.

        Raises
        ------
        DrmCommunicationError
            If it died and cannot be replaced now; the next call will try again.
        LauncherError
            If it died and its nodes with it, or this was stopped.
        """
        if self._session is None and self._program.nodes_outlive_it:
            self._recover()
            if self._recovery is not None:
                await asyncio.wait([self._recovery], timeout=timeout)
        if self._session is not None:
            return self._session
        error = (
            DrmCommunicationError if self._program.nodes_outlive_it else LauncherError
        )
        raise error(self.lost or "the session's replacement is under way")

    def stop(self) -> None:
        """Have no session any more, and no successor."""
        self._stopped = True
        self._session, self.lost = None, "this launcher is closed"
        if self._recovery is not None:
            self._recovery.cancel()

    async def _hand_over(self, session: Channel) -> None:
        reply = session.ask(
            "adopt",
            nodes=pack(self._ledger.live),
            cancelled=pack(self._ledger.cancelled),
        )
        await asyncio.wait([reply], timeout=self._program.answering)
        if not reply.done():
            session.kill()
            raise SessionDied("the new session did not take over the nodes in time")
        if "error" in (answer := reply.result()):
            session.kill()
            raise LauncherError(answer["text"])

    def _died(self, why: str) -> None:
        self._session, self.lost = None, why
        if self._program.nodes_outlive_it:
            logger.warning("%s; its nodes are not affected, starting another", why)
            if self._loop.time() - self._born > STABLE:
                self._tries = 0
            self._recover()
        else:
            logger.warning("%s; its nodes died with it", why)
            self._program.tidy(self._ready)
            self._ledger.end_all(reason=f"the launcher died: {why}")

    def _recover(self) -> None:
        if not self._stopped and (self._recovery is None or self._recovery.done()):
            self._recovery = self._loop.create_task(self._replace())

    async def _replace(self) -> None:
        """Try while there are tries left, and once for each request after that."""
        while True:
            spent = self._tries >= len(self._program.respawn)
            if not spent:
                self._tries += 1
                await asyncio.sleep(self._program.respawn[self._tries - 1])
            try:
                await self.open()
            except LauncherError as exc:
                self.lost = str(exc)
                logger.warning("the session cannot be replaced yet: %s", exc)
            if self._session is not None or spent:
                return
