"""The DRMAA launcher: nodes as array tasks of a grid."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dask_gridengine.batch import batch_system
from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.batch.commands import run_command
from dask_gridengine.daemon_threads import Threads, in_thread
from dask_gridengine.errors import LauncherUnavailable, SubmitError
from dask_gridengine.formatting import format_duration
from dask_gridengine.grid_types import (
    AccountingRecord,
    EndCallback,
    NodeId,
    NodeRequest,
)
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.channel import ChildProgram
from dask_gridengine.launchers.drmaa.accounting import Accounting
from dask_gridengine.launchers.drmaa.discovery import (
    STATIC_TLS_TUNABLE,
    configured_systems,
    find_library,
    find_root,
    master_host,
)
from dask_gridengine.launchers.supervisor import ChildSupervisor

T = TypeVar("T")
QUERY_TIMEOUT = 30.0  # seconds, for the commands of one query
QUERY_THREADS = 4


class DrmaaLauncher(Launcher):
    """Runs nodes on a grid; its queries run the grid's own commands."""

    def __init__(self, child: ChildSupervisor) -> None:
        system = batch_system(child.ready["batch_system"])
        title = f"{system.title[0].upper()}{system.title[1:]}"
        description = f"{title} through DRMAA ({child.ready['system']})"
        super().__init__(child, description=description, batch_system=system)
        self._run = functools.partial(
            run_command, environment=child.program.environment
        )
        self._accounting = Accounting(lambda node: system.account(node, self._run))
        self._threads = Threads(QUERY_THREADS)

    async def account(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        return await self._accounting.record(node, timeout)

    async def _rejection(
        self, reason: str, request: NodeRequest, count: int
    ) -> SubmitError:
        system, native = self.batch_system, request.native
        error = system.submit_error(reason, count, native)
        advice = await self._query(system.rejection_advice, reason, native)
        error.hint = advice or error.hint
        return error

    async def _query(self, query: Callable[..., T], *arguments: Any) -> T | None:
        """Run a query in a thread; return None if it takes too long."""
        with contextlib.suppress(asyncio.TimeoutError):
            return await self._threads.call(
                query, *arguments, self._run, timeout=QUERY_TIMEOUT
            )
        return None


async def open_drmaa(
    on_end: EndCallback,
    *,
    cleanup: Path | None = None,
    timeout: float = 30,
) -> Launcher:
    """Open a session with the grid of this host.

    `on_end` gets the end of every node. `cleanup` is the cluster's shared directory,
    which the child removes if this process dies. After `timeout` seconds libdrmaa, or
    its file server, counts as hanging. Raises `LauncherUnavailable` with what was tried
    and what to type.
    """
    program = await drmaa_program(cleanup=cleanup, timeout=timeout)
    return DrmaaLauncher(await ChildSupervisor.open(program, on_end))


async def drmaa_program(
    *, cleanup: Path | None = None, timeout: float = 30
) -> ChildProgram:
    """Return the child's program and environment; see `open_drmaa`."""
    environment = dict(os.environ)
    try:
        # These read files that may be on a slow or dead file server.
        library = await in_thread(find_library, environment, timeout=timeout)
        master = await in_thread(master_host, environment, timeout=timeout)
        found = await in_thread(configured_systems, environment, timeout=timeout)
    except asyncio.TimeoutError:
        raise LauncherUnavailable(
            "drmaa",
            f"reading the grid's files took more than {format_duration(timeout)}",
            "check the file server of SGE_ROOT: ls -R $SGE_ROOT/lib",
        ) from None
    system, *_ = [*found, BatchSystem()]
    host = f"; the qmaster should run on {master}" if master else ""
    return ChildProgram(
        kind="drmaa",
        module="dask_gridengine.launchers.drmaa.process",
        advice=f"{system.if_unavailable}{host}",
        cleanup=cleanup,
        environment=_child_environment(environment, library),
        nodes_survive=True,
        start_timeout=timeout,
    )


def _child_environment(ours: Mapping[str, str], library: str) -> dict[str, str]:
    tunables = [ours["GLIBC_TUNABLES"]] if ours.get("GLIBC_TUNABLES") else []
    root = find_root(ours)
    return {
        **ours,
        **({"SGE_ROOT": root} if root else {}),
        "DRMAA_LIBRARY_PATH": library,
        "GLIBC_TUNABLES": ":".join([*tunables, STATIC_TLS_TUNABLE]),
    }
