"""The DRMAA launcher: nodes as array tasks of Grid Engine."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping
from pathlib import Path

from dask_gridengine.launchers.base import EndCallback
from dask_gridengine.launchers.drmaa_accounting import Accounting
from dask_gridengine.launchers.drmaa_hosts import possible_hosts, run_command
from dask_gridengine.launchers.drmaa_places import (
    INSTALL,
    SETTINGS,
    TUNABLE,
    find_library,
    find_root,
    master_host,
)
from dask_gridengine.launchers.drmaa_queues import queue_limit
from dask_gridengine.launchers.keeper import SessionProgram
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.session import SessionLauncher


async def open_drmaa(
    on_end: EndCallback, *, cleanup: Path | None = None, timeout: float = 30
) -> SessionLauncher:
    """Open a session with the Grid Engine this host belongs to.

    Parameters
    ----------
    on_end
        Told of the end of every node.
    cleanup
        The cluster's shared directory, removed when this process dies unawares.
    timeout
        Seconds until libdrmaa counts as hanging.

    Raises
    ------
    LauncherUnavailable
        If there is none to be had; with what was tried and what to type.
    """
    environment = dict(os.environ)
    # In a thread: it looks at directories that may be on a slow file server.
    library = await asyncio.to_thread(find_library, environment)
    program = _program(library, environment, cleanup, timeout)
    return await SessionLauncher.open(program, on_end)


def _program(
    library: str, environment: Mapping[str, str], cleanup: Path | None, timeout: float
) -> SessionProgram:
    ours = _session_environment(environment, library)
    run = functools.partial(run_command, environment=ours)
    return SessionProgram(
        kind="drmaa",
        module="dask_gridengine.launchers.drmaa_session",
        arguments=("--cleanup", str(cleanup.absolute())) if cleanup else (),
        environment=ours,
        describe=lambda ready: f"Grid Engine through DRMAA ({ready['system']})",
        advise=lambda failed: _advice(failed, environment),
        nodes_outlive_it=True,
        hosts=lambda native: asyncio.to_thread(possible_hosts, native, run),
        account=Accounting(run).account,
        queue_limit=lambda queue: asyncio.to_thread(queue_limit, queue, run),
        opening=timeout,
    )


def _session_environment(ours: Mapping[str, str], library: str) -> dict[str, str]:
    tunables = [ours["GLIBC_TUNABLES"]] if ours.get("GLIBC_TUNABLES") else []
    root = find_root(ours)
    return {
        **ours,
        **({"SGE_ROOT": root} if root else {}),
        "DRMAA_LIBRARY_PATH": library,
        "GLIBC_TUNABLES": ":".join([*tunables, TUNABLE]),
    }


def _advice(failed: Message, environment: Mapping[str, str]) -> str:
    lacking = failed.get("lacking")
    if lacking == "package":
        return "pip install drmaa, for the Python that runs this"
    if lacking == "library":
        return INSTALL
    if lacking == "cell":
        return SETTINGS
    master = master_host(environment)
    at = f" (qmaster is to be on {master})" if master else ""
    return (
        f"see whether Grid Engine answers on this host: qhost{at}; and whether this"
        " host may submit: qconf -ss"
    )
