"""The process launcher: nodes as processes of this machine."""

from __future__ import annotations

import socket
from pathlib import Path

from dask_gridengine.batch import batch_system
from dask_gridengine.grid_types import EndCallback
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.channel import ChildProgram
from dask_gridengine.launchers.local.orphans import remove_remains
from dask_gridengine.launchers.supervisor import ChildSupervisor


class LocalLauncher(Launcher):
    """Runs nodes on this machine, in the environment of a Grid Engine job."""

    def __init__(self, child: ChildSupervisor) -> None:
        slots = child.ready["slots"]
        description = f"{slots} {'slot' if slots == 1 else 'slots'} of local processes"
        super().__init__(
            child,
            description=description,
            batch_system=batch_system("gridengine"),
            slots=slots,
        )

    async def hosts(self, native: str) -> frozenset[str] | None:
        return frozenset({socket.gethostname()})


async def open_process(
    on_end: EndCallback, *, slots: int | None = None, cleanup: Path | None = None
) -> Launcher:
    """Open a launcher of local processes.

    `on_end` gets the end of every node. `slots` is by default the number of CPUs that
    this process may use. `cleanup` is the cluster's shared directory, which the child
    removes if this process dies. Raises `LauncherUnavailable`.
    """
    program = ChildProgram(
        kind="process",
        module="dask_gridengine.launchers.local.process",
        advice="this is a bug in dask-gridengine; please report the above",
        arguments=() if slots is None else ("--slots", str(slots)),
        cleanup=cleanup,
        remove_remains=lambda ready: remove_remains(Path(ready["directory"])),
    )
    return LocalLauncher(await ChildSupervisor.open(program, on_end))
