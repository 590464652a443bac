"""Select the launcher: the requested one, or the grid if one is configured."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.grid_types import EndCallback
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.drmaa.discovery import configured_systems
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from dask_gridengine.launchers.local.launcher import open_process

PATH_SECONDS = 5.0  # for a search of PATH
USE_LOCAL = (
    'or use local processes: launcher="process" (for a command: export'
    " DASK_GRIDENGINE__LAUNCHER=process)"
)


async def open_launcher(
    kind: str | None,
    on_end: EndCallback,
    *,
    slots: int | None = None,
    cleanup: Path | None = None,
) -> Launcher:
    """Open a launcher; see `open_drmaa` and `open_process` for the arguments.

    `kind` is ``"drmaa"``, ``"process"``, or None: local processes where no grid is
    configured (see `configured_systems`), otherwise the grid.
    The launcher's description says which one was selected, and why.

    Raises `LauncherUnavailable` if the launcher does not work; with kind None also
    where a configured grid does not work.
    """
    if kind == "process":
        return await open_process(on_end, slots=slots, cleanup=cleanup)
    try:
        return await open_drmaa(on_end, cleanup=cleanup)
    except LauncherUnavailable as exc:
        if kind is not None:
            raise
        if await _grid_is_configured():
            # The user means the grid. Local processes would load the login node.
            raise LauncherUnavailable(
                exc.launcher, exc.reason, f"{exc.hint}; {USE_LOCAL}"
            ) from exc
        launcher = await open_process(on_end, slots=slots, cleanup=cleanup)
        reason = " ".join(exc.reason.split())  # may quote several lines of a library
        launcher.description += f"; no Grid Engine here: {reason}"
        return launcher


async def _grid_is_configured() -> bool:
    try:
        # It searches PATH, of which a part may be on a dead file server.
        found = await in_thread(configured_systems, os.environ, timeout=PATH_SECONDS)
    except asyncio.TimeoutError:
        return True
    return bool(found)
