"""The DRMAA launcher: nodes as array tasks of a grid."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dask_gridengine.batch import batch_system_of
from dask_gridengine.batch.base import BatchSystem, Runner
from dask_gridengine.blocking import Threads, in_thread
from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.grid_types import (
    AccountingRecord,
    ArrayReport,
    EndCallback,
    NodeId,
)
from dask_gridengine.launchers.commands import run_command
from dask_gridengine.launchers.drmaa.accounting import Accounting
from dask_gridengine.launchers.drmaa.discovery import (
    INSTALL,
    SETTINGS,
    TUNABLE,
    find_library,
    find_root,
    master_host,
)
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.session import SessionLauncher
from dask_gridengine.launchers.supervisor import GridInfo, SessionProgram

T = TypeVar("T")
QUESTION_SECONDS = 30.0  # that the commands of one question may take
QUESTION_THREADS = 4


async def open_drmaa(
    on_end: EndCallback,
    *,
    dialect: str | None = None,
    cleanup: Path | None = None,
    timeout: float = 30,
) -> SessionLauncher:
    """Open a session with the grid this host belongs to.

    Parameters
    ----------
    on_end
        Told of the end of every node.
    dialect
        What kind of grid it is; None goes by what it calls itself.
    cleanup
        The cluster's shared directory, removed when this process dies unawares.
    timeout
        Seconds until libdrmaa, or the file server it is on, counts as hanging.

    Raises
    ------
    LauncherUnavailable
        If there is none to be had; with what was tried and what to type.
    """
    environment = dict(os.environ)
    try:
        # These look at files that may be on a slow or dead file server.
        library = await in_thread(find_library, environment, timeout=timeout)
        master = await in_thread(master_host, environment, timeout=timeout)
    except asyncio.TimeoutError:
        raise LauncherUnavailable(
            "drmaa",
            f"reading files of the grid took more than {timeout:g} s",
            "see whether the file server of SGE_ROOT answers: ls -R $SGE_ROOT/lib",
        ) from None
    program = _program(library, master, environment, dialect, cleanup, timeout)
    return await SessionLauncher.open(program, on_end)


def _program(
    library: str,
    master: str,
    environment: Mapping[str, str],
    dialect: str | None,
    cleanup: Path | None,
    timeout: float,
) -> SessionProgram:
    arguments = ["--cleanup", str(cleanup.absolute())] if cleanup else []
    if dialect:
        arguments += ["--dialect", dialect]
    ours = _session_environment(environment, library)
    return SessionProgram(
        kind="drmaa",
        module="dask_gridengine.launchers.drmaa.process",
        arguments=tuple(arguments),
        environment=ours,
        describe=lambda ready: _describe(ready["system"], dialect),
        advise=lambda failed: _advice(failed, master),
        nodes_outlive_it=True,
        grid_info=lambda ready: DrmaaGridInfo(
            batch_system_of(ready["system"], dialect), ours
        ),
        opening=timeout,
    )


def _describe(system: str, dialect: str | None) -> str:
    title = batch_system_of(system, dialect).title
    return f"{title[0].upper()}{title[1:]} through DRMAA ({system})"


class DrmaaGridInfo(GridInfo):
    """What a grid's own commands tell.

    Parameters
    ----------
    dialect
        The grid's.
    environment
        Of its commands.
    """

    def __init__(self, dialect: BatchSystem, environment: Mapping[str, str]) -> None:
        self.dialect = dialect
        self._run: Runner = functools.partial(run_command, environment=environment)
        self._accounting = Accounting(lambda node: dialect.account(node, self._run))
        self._threads = Threads(QUESTION_THREADS)

    async def hosts(self, native: str) -> frozenset[str] | None:
        """See `Launcher.hosts`."""
        return await self._ask(self.dialect.hosts, native)

    async def queue_limit(self, queue: str) -> float | None:
        """See `Launcher.queue_limit`."""
        return await self._ask(self.dialect.queue_limit, queue)

    async def array_running(self) -> int | None:
        """See `Launcher.array_running`."""
        return await self._ask(self.dialect.array_running)

    async def report(self, job: str, native: str) -> ArrayReport | None:
        """See `Launcher.report`."""
        return await self._ask(self.dialect.report, job, native)

    async def suspended(self) -> frozenset[NodeId] | None:
        """See `Launcher.suspended`."""
        return await self._ask(self.dialect.suspended)

    async def account(self, node: NodeId, timeout: float) -> AccountingRecord | None:
        """See `Launcher.account`."""
        return await self._accounting.account(node, timeout)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:
        """The answer; None if there is none in time."""
        with contextlib.suppress(asyncio.TimeoutError):
            return await self._threads.call(
                question, *arguments, self._run, timeout=QUESTION_SECONDS
            )
        return None


def _session_environment(ours: Mapping[str, str], library: str) -> dict[str, str]:
    tunables = [ours["GLIBC_TUNABLES"]] if ours.get("GLIBC_TUNABLES") else []
    root = find_root(ours)
    return {
        **ours,
        **({"SGE_ROOT": root} if root else {}),
        "DRMAA_LIBRARY_PATH": library,
        "GLIBC_TUNABLES": ":".join([*tunables, TUNABLE]),
    }


def _advice(failed: Message, master: str) -> str:
    lacking = failed.get("lacking")
    if lacking == "package":
        return "pip install drmaa, for the Python that runs this"
    if lacking == "library":
        return INSTALL
    if lacking == "cell":
        return SETTINGS
    at = f" (qmaster is to be on {master})" if master else ""
    return (
        f"see whether Grid Engine answers on this host: qhost{at}; and whether this"
        " host may submit: qconf -ss"
    )
