"""The whole examination: every check in its order, each only if it can tell more."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.doctor import access, arrivals, conditions, ways
from dask_gridengine.doctor.commands import CommandResult, Commands
from dask_gridengine.doctor.complexes import memory
from dask_gridengine.doctor.environments import environments
from dask_gridengine.doctor.finding import Book, Finding, failed
from dask_gridengine.doctor.limits import limits
from dask_gridengine.doctor.queues import queues
from dask_gridengine.doctor.sending import Sending
from dask_gridengine.doctor.standing import Standing, standing
from dask_gridengine.errors import OptionError
from dask_gridengine.launchers.drmaa.discovery import find_root
from dask_gridengine.nodes.job_request import request
from dask_gridengine.options import Options
from dask_gridengine.worker import job_resources as granted

COMMANDS_SECONDS = 60.0  # for a check of several commands, each of which has 10
SUBMIT_SECONDS = 90.0  # a launcher gives up before
#: What must not have failed, or the grid would only refuse the probe.
BEFORE_PROBE = (
    "cell",
    "library",
    "qmaster",
    "submit host",
    "options",
    "queues",
    "parallel env.",
    "memory",
)


@dataclass(kw_only=True)
class Examination:
    """One look at this site.

    Parameters
    ----------
    options
        What a cluster would be asked for.
    count
        Nodes of the probe.
    timeout
        Seconds these may queue.
    tell
        Given each finding as soon as there is one.
    note
        Given a line on what is waited for.
    """

    options: Options
    count: int = 2
    timeout: float = 300.0
    tell: Callable[[Finding], object]
    note: Callable[[str], object] = field(default=lambda line: None)

    def __post_init__(self) -> None:
        self.book = Book(self.tell)
        self._environment = dict(os.environ)
        meant = access.grid_is_meant(self._environment, self.options)
        self._kind = "drmaa" if meant else "process"
        self._commands = Commands(self._environment)
        self._summary = Standing()

    async def run(self) -> None:
        """Make every check. Cancelled, it deletes what it has queued, and ends."""
        if self._kind == "process":
            self.book.add(access.no_grid(self._environment, self.options))
        elif other := access.other_grid(self._environment, self.options):
            self.book.add(other)
            await self._look_for_the_library()
        else:
            await self._look_at_the_grid()
        async with AsyncExitStack() as stack:
            sending = Sending(self.options, self._kind, stack)
            await self._send(sending)
            await self._tell_of_nodes(sending)
            self.note("deleting the probe")

    async def _look_at_the_grid(self) -> None:
        env, commands = self._environment, self._commands
        self.note("looking for Grid Engine")
        await self.book.check("cell", lambda: access.cell(env))
        # Without SGE_ROOT both would say the same.
        await self._look_for_the_library(*(() if find_root(env) else ("cell",)))
        await self.book.check(
            "qmaster", lambda: access.qmaster(env, commands), needs=("cell",)
        )
        native = self._native()
        verified = CommandResult("", ok=False)
        if not self.book.obstacle(("qmaster",)):
            verified = await access.verification(commands, native)
        await self._ask_the_grid(commands, native, verified)

    async def _look_for_the_library(self, *needs: str) -> None:
        env = self._environment
        await self.book.check("library", lambda: access.library(env), needs=needs)

    async def _ask_the_grid(
        self, commands: Commands, native: str, verified: CommandResult
    ) -> None:
        options, user = self.options, access.user()
        lines: list[tuple[str, str, Callable[[], Awaitable[Finding]]]] = [
            ("submit host", "qmaster", lambda: access.submit_host(commands, verified)),
            (
                "queues",
                "submit host",
                lambda: queues(commands, options, verified, user),
            ),
            ("parallel env.", "qmaster", lambda: environments(commands, options, user)),
            ("memory", "qmaster", lambda: memory(commands, options, native)),
            ("limits", "qmaster", lambda: limits(commands, options, user)),
        ]
        for name, need, look in lines:
            await self.book.check(name, look, needs=(need,), timeout=COMMANDS_SECONDS)

    def _native(self) -> str:
        """The options as they will be submitted."""
        try:
            return request(self.options, (), "drmaa", GridEngine()).native
        except OptionError as exc:
            if self.options.cores == 1 or self.options.parallel_environment:
                first = str(exc).splitlines()[0]
                self.book.add(failed("options", first, "change what it names"))
            return ""  # else the line of the parallel environments says it better

    async def _send(self, sending: Sending) -> None:
        check = self.book.check
        self.note("asking for nodes")
        await check("directory here", sending.make_directory, needs=BEFORE_PROBE)
        await check("session", sending.open_launcher, needs=("directory here",))
        await check("listening", sending.listen, needs=("session",))
        await check(
            "probe",
            lambda: sending.submit(self.count),
            needs=("listening",),
            timeout=SUBMIT_SECONDS,
        )
        if sending.probe is not None and not self.book.obstacle(("probe",)):
            await sending.probe.watch(self.timeout, sending.news, self.note)
            await self._ask_after(sending)

    async def _ask_after(self, sending: Sending) -> None:
        """Why nodes have not come, while Grid Engine still knows them."""
        silent = [o for o in sending.outcomes if o.waited is None and o.end is None]
        if silent and self.book.passed("qmaster"):
            self._summary = await standing(self._commands, silent[0].node.job)

    async def _tell_of_nodes(self, sending: Sending) -> None:
        """The lines of the probe: of what its nodes have told, or why there is none."""
        options, found = self.options, sending.outcomes
        job = found[0].node.job if found else ""
        admission, scheduler = sending.told_addresses
        encrypted = options.security is not False
        lines: dict[str, Callable[[], Finding]] = {
            "waiting": lambda: arrivals.waiting(found, self.timeout, self._summary),
            "nodes": lambda: arrivals.nodes(found, job),
            "directory there": lambda: arrivals.directory(found, options),
            "python": lambda: arrivals.python(found, options),
            "versions": lambda: arrivals.versions(found, granted.versions()),
            "addresses": lambda: ways.addresses(found, admission, scheduler),
            "CURVE": lambda: ways.curve(found),
            "TLS" if encrypted else "TCP": lambda: ways.tls(found, encrypted=encrypted),
            "way back": lambda: ways.way_back(found),
            "import of dask": lambda: conditions.imports(found),
            "scratch": lambda: conditions.scratch(found),
            "clock": lambda: conditions.clock(found),
        }
        for name, judge in lines.items():

            async def look(judge: Callable[[], Finding] = judge) -> Finding:
                return judge()

            await self.book.check(name, look, needs=("probe",))
