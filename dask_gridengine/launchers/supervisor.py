"""Keep a launcher's child process running, and report each node's end once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace

from dask_gridengine.errors import (
    DrmCommunicationError,
    LauncherError,
    LauncherUnavailable,
)
from dask_gridengine.grid_types import EndCallback, EndNotice, NodeId
from dask_gridengine.launchers.channel import Channel, ChildDied, ChildProgram
from dask_gridengine.launchers.messages import Message, from_ranges, to_ranges

logger = logging.getLogger(__name__)

STABLE = 300.0  # seconds; the restart of a child that ran longer has no back-off


class EndNotices:
    """Reports the end of every node once, and not before its id is known."""

    def __init__(self, on_end: EndCallback) -> None:
        self._on_end = on_end
        self._live: dict[NodeId, bool] = {}  # whether we cancelled it
        self._early: dict[NodeId, EndNotice] = {}

    @property
    def live(self) -> Collection[NodeId]:
        """The nodes whose end is not reported yet."""
        return self._live.keys()

    @property
    def cancelled(self) -> list[NodeId]:
        """The live nodes that we cancelled."""
        return [node for node, cancelled in self._live.items() if cancelled]

    def add(self, nodes: Iterable[NodeId]) -> None:
        """Add new nodes; their ends that came early wait for `report_early`."""
        self._live.update(dict.fromkeys(nodes, False))

    def mark_cancelled(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """Record that we cancelled these nodes; return the live ones."""
        known = [node for node in nodes if node in self._live]
        self._live.update(dict.fromkeys(known, True))
        return known

    def report(self, end: EndNotice) -> None:
        """Report an end, or keep it until its node is added."""
        if end.node not in self._live:
            self._early[end.node] = end
            return
        if self._live.pop(end.node):
            end = replace(end, cancelled=True, deleted=False, unstarted=False)
        try:
            self._on_end(end)
        except Exception:
            # An error in the cluster's callback must not lose the other notices.
            logger.exception("could not handle the end of node %s", end.node)

    def report_early(self, nodes: Iterable[NodeId]) -> None:
        """Report the ends of these nodes that came before they were added."""
        for end in self.discard(nodes):
            self.report(end)

    def discard(self, nodes: Iterable[NodeId]) -> list[EndNotice]:
        """Remove and return the early ends of these nodes."""
        return [self._early.pop(node) for node in nodes if node in self._early]

    def report_all(self, *, reason: str, cancelled: bool = False) -> None:
        """Report every live node as ended."""
        for node in list(self._live):
            self.report(EndNotice(node=node, cancelled=cancelled, reason=reason))


class ChildSupervisor:
    """Starts a launcher's child, and a new one when it dies."""

    def __init__(self, program: ChildProgram, on_end: EndCallback) -> None:
        self.program = program
        self.ends = EndNotices(on_end)
        #: The first message of the child, or of the last one.
        self.ready: Message = {}
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._started = 0.0
        self._restarts = 0
        self._restart: asyncio.Task[None] | None = None
        self._stopped = False
        self._problem = ""  # why there is no child

    @classmethod
    async def open(cls, program: ChildProgram, on_end: EndCallback) -> ChildSupervisor:
        """Start the first child; raise `LauncherUnavailable` if it does not start."""
        self = cls(program, on_end)
        await self._start()
        return self

    @property
    def running(self) -> bool:
        """Whether there is a child."""
        return self._channel is not None

    async def channel(self, timeout: float) -> Channel:
        """Return the channel of the child; wait `timeout` seconds for a restart.

        Raises `DrmCommunicationError` if the child cannot be restarted now (the next
        call tries again), `LauncherError` if the nodes died with it.
        """
        if self._channel is None and self.program.nodes_survive and not self._stopped:
            await asyncio.wait([self._restart_soon()], timeout=timeout)
        if self._channel is not None:
            return self._channel
        error = DrmCommunicationError if self.program.nodes_survive else LauncherError
        raise error(self._problem)

    def stop(self) -> None:
        """Stop supervising the child, and start no new one."""
        self._stopped = True
        self._channel, self._problem = None, "this launcher is closed"
        if self._restart is not None:
            self._restart.cancel()

    def report_lost_nodes(self) -> None:
        """Report all nodes as ended if they died with the child."""
        if not self.program.nodes_survive and not self.running:
            self.ends.report_all(reason=f"the launcher died: {self._problem}")

    async def _start(self) -> None:
        """Start a child, and make it take over the live nodes."""
        contact = self.ready.get("contact")
        arguments = ("--contact", contact) if contact else ()
        advice = self.program.advice
        try:
            channel, ready = await Channel.open(
                self.program, *arguments, on_event=self._on_event
            )
            if "error" in ready:
                await channel.aclose(timeout=1)
                advice = ready.get("advice", advice)
                raise LauncherError(ready["text"])
            if self.ends.live:
                await self._hand_over(channel)
            channel.watch(self._on_death)
        except LauncherError as exc:
            raise LauncherUnavailable(self.program.kind, str(exc), advice) from exc
        self._channel, self.ready = channel, ready
        self._started = self._loop.time()

    async def _hand_over(self, channel: Channel) -> None:
        reply = channel.request(
            "take_over",
            nodes=to_ranges(self.ends.live),
            cancelled=to_ranges(self.ends.cancelled),
        )
        await asyncio.wait([reply], timeout=self.program.reply_timeout)
        try:
            if not reply.done():
                raise ChildDied("the new child process did not take over the nodes")
            if "error" in (answer := reply.result()):
                raise LauncherError(answer["text"])
        except LauncherError:
            channel.kill()
            raise

    def _on_event(self, message: Message) -> None:
        if message["kind"] == "note":
            logger.warning("%s", message["text"])
        elif message["kind"] == "end":
            fields = {k: v for k, v in message.items() if k not in ("kind", "nodes")}
            for node in from_ranges(message["nodes"]):
                self.ends.report(EndNotice(node=node, **fields))

    def _on_death(self, problem: str) -> None:
        if self._stopped:
            return
        self._channel, self._problem = None, problem
        if self.program.nodes_survive:
            logger.warning("%s; running nodes go on, restarting it", problem)
            if self._loop.time() - self._started > STABLE:
                self._restarts = 0
            self._restart_soon()
        else:
            logger.warning("%s; its nodes died with it", problem)
            self.program.remove_remains(self.ready)
            self.report_lost_nodes()

    def _restart_soon(self) -> asyncio.Task[None]:
        if self._restart is None or self._restart.done():
            self._restart = self._loop.create_task(self._restart_child())
        return self._restart

    async def _restart_child(self) -> None:
        """Try with each delay that is left, then once for each call of `channel`."""
        delays = self.program.restart_delays
        while not self.running:
            last_try = self._restarts >= len(delays)
            if not last_try:
                self._restarts += 1
                await asyncio.sleep(delays[self._restarts - 1])
            try:
                await self._start()
            except LauncherError as exc:
                self._problem = str(exc)
                logger.warning("could not restart the launcher's child: %s", exc)
            if last_try:
                return
