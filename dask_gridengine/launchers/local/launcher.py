"""The process launcher: nodes as processes of this machine."""

from __future__ import annotations

import socket
from pathlib import Path

from dask_gridengine.grid_types import EndCallback
from dask_gridengine.launchers.local.orphans import remove_remains
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.session import SessionLauncher
from dask_gridengine.launchers.supervisor import GridInfo, SessionProgram


async def open_process(
    on_end: EndCallback, *, slots: int | None = None, cleanup: Path | None = None
) -> SessionLauncher:
    """Open a small grid on this machine.

    Parameters
    ----------
    on_end
        Told of the end of every node.
    slots
        How many slots it has; by default as many as there are CPUs for us.
    cleanup
        The cluster's shared directory, removed when this process dies unawares.

    Raises
    ------
    LauncherUnavailable
        If its session cannot be started.
    """
    return await SessionLauncher.open(_program(slots, cleanup), on_end)


def _program(slots: int | None, cleanup: Path | None) -> SessionProgram:
    arguments = []
    if slots is not None:
        arguments += ["--slots", str(slots)]
    if cleanup is not None:
        arguments += ["--cleanup", str(cleanup.absolute())]
    return SessionProgram(
        kind="process",
        module="dask_gridengine.launchers.local.process",
        arguments=tuple(arguments),
        describe=_describe,
        grid_info=lambda ready: LocalGridInfo(),
        advise=lambda _: "this is a bug in dask-gridengine; please report the above",
        tidy=lambda ready: remove_remains(Path(ready["directory"])),
    )


def _describe(hello: Message) -> str:
    slots = hello["slots"]
    return f"{slots} {'slot' if slots == 1 else 'slots'} of local processes"


class LocalGridInfo(GridInfo):
    """What is known of a grid that is this machine."""

    async def hosts(self, native: str) -> frozenset[str] | None:
        """See `Launcher.hosts`."""
        return frozenset({socket.gethostname()})
