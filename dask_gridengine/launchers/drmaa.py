"""The DRMAA launcher: nodes as array tasks of Grid Engine."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.launchers.base import EndCallback
from dask_gridengine.launchers.drmaa_session import TUNABLE
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.session import SessionLauncher, SessionProgram

ARCHITECTURES = ("lx-amd64", "lx24-amd64", "lx-arm64", "lx26-amd64", "linux-x64")
KNOWN_PLACES = (
    "/usr/lib/gridengine-drmaa/lib/libdrmaa.so.1.0",  # Debian, Ubuntu
    "/usr/lib64/libdrmaa.so.1.0",  # Fedora, EPEL
    "/usr/lib/libdrmaa.so.1.0",
    "/opt/sge/lib/lx-amd64/libdrmaa.so",
)
INSTALL = (
    "on Debian: apt-get install gridengine-drmaa1.0; elsewhere:"
    " export DRMAA_LIBRARY_PATH=... where libdrmaa.so is"
)
SETTINGS = ". $SGE_ROOT/default/common/settings.sh, wherever your Grid Engine is"


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
        If there is none to be had; with everything that was tried and what to do.
    """
    library = find_library(os.environ)
    program = SessionProgram(
        kind="drmaa",
        module="dask_gridengine.launchers.drmaa_session",
        arguments=("--cleanup", os.path.abspath(cleanup)) if cleanup else (),
        environment=_session_environment(os.environ, library),
        describe=lambda hello: f"Grid Engine through DRMAA ({hello['system']})",
        advise=lambda failed: _advice(failed, library),
        nodes_outlive_it=True,
        opening=timeout,
    )
    return await SessionLauncher.open(program, on_end)


def find_library(environment: Mapping[str, str]) -> str:
    """Where libdrmaa is: the first that exists of the places it may be.

    Raises
    ------
    LauncherUnavailable
        If it is in none of them; the message lists them.
    """
    tried = []
    for place in _places(environment):
        if Path(place).is_file():
            return place
        tried.append(place)
    if named := ctypes.util.find_library("drmaa"):
        return named
    root = environment.get("SGE_ROOT")
    reason = "no libdrmaa was found" if root else "SGE_ROOT is not set and no libdrmaa was found"
    raise LauncherUnavailable(
        "drmaa", f"{reason} ({', '.join(tried)}, ld.so)", INSTALL if root else SETTINGS
    )
