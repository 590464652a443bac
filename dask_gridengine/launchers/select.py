"""Select the launcher: the requested one, or the grid if one is configured."""

from __future__ import annotations

import os
from pathlib import Path

from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.grid_types import EndCallback
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.drmaa.discovery import grid_is_configured
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from dask_gridengine.launchers.local.launcher import open_process

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
    configured (neither ``SGE_ROOT`` nor ``DRMAA_LIBRARY_PATH``), otherwise the grid.
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
        if grid_is_configured(os.environ):
            # The user means the grid. Local processes would load the login node.
            raise LauncherUnavailable(
                exc.launcher, exc.reason, f"{exc.hint}; {USE_LOCAL}"
            ) from exc
        launcher = await open_process(on_end, slots=slots, cleanup=cleanup)
        reason = " ".join(exc.reason.split())  # may quote several lines of a library
        launcher.description += f"; no Grid Engine here: {reason}"
        return launcher
