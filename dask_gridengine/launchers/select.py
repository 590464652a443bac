"""Which launcher: the one asked for, or the best there is."""

from __future__ import annotations

import os
from pathlib import Path

from dask_gridengine.errors import LauncherUnavailable, OptionError
from dask_gridengine.grid_types import EndCallback
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.drmaa.discovery import grid_is_configured
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from dask_gridengine.launchers.local.launcher import open_process

KINDS = ("drmaa", "process")
LOCALLY = (
    'or use local processes: launcher="process" (for a command: export'
    " DASK_GRIDENGINE__LAUNCHER=process)"
)


async def open_launcher(
    kind: str | None,
    on_end: EndCallback,
    *,
    slots: int | None = None,
    dialect: str | None = None,
    cleanup: Path | None = None,
) -> Launcher:
    """Open a launcher.

    Parameters
    ----------
    kind
        ``"drmaa"``, ``"process"``, or None: local processes where no grid is set up
        (neither ``SGE_ROOT`` nor ``DRMAA_LIBRARY_PATH``), otherwise the grid. The
        launcher's description says what it became, and why.
    on_end
        Told of the end of every node.
    slots
        Of the process launcher; by default one for each CPU.
    dialect
        Of the DRMAA launcher; by default that of the grid's own words.
    cleanup
        The cluster's shared directory, removed when this process dies unawares.

    Raises
    ------
    OptionError
        If there is no launcher of that kind.
    LauncherUnavailable
        If it does not work, also where the kind is None and a grid is set up; the
        message says what was tried and what to do.
    """
    if kind is not None and kind not in KINDS:
        raise OptionError(
            f"no launcher {kind!r}; there are: {', '.join(KINDS)}, or None for drmaa"
            " where there is a Grid Engine and process where not"
        )
    if kind == "process":
        return await open_process(on_end, slots=slots, cleanup=cleanup)
    try:
        return await open_drmaa(on_end, dialect=dialect, cleanup=cleanup)
    except LauncherUnavailable as exc:
        if kind is not None:
            raise
        if grid_is_configured(os.environ):
            # The user means the grid. Local processes would load the login node.
            raise LauncherUnavailable(
                exc.launcher, exc.reason, f"{exc.hint}; {LOCALLY}"
            ) from exc
        launcher = await open_process(on_end, slots=slots, cleanup=cleanup)
        reason = " ".join(exc.reason.split())  # it may quote lines of a library
        launcher.description += f"; no Grid Engine here: {reason}"
        return launcher
