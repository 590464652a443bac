"""The process launcher: nodes as processes of this machine."""

from __future__ import annotations

from pathlib import Path

from dask_gridengine.launchers.base import EndCallback
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.session import SessionLauncher, SessionProgram


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
    arguments = [*(["--slots", str(slots)] if slots is not None else [])]
    if cleanup is not None:
        arguments += ["--cleanup", str(cleanup)]
    program = SessionProgram(
        kind="process",
        module="dask_gridengine.launchers.process_session",
        arguments=tuple(arguments),
        describe=_describe,
        advise=lambda _: "this is a bug in dask-gridengine; please report the above",
    )
    return await SessionLauncher.open(program, on_end)


def _describe(hello: Message) -> str:
    slots = hello["slots"]
    return f"{slots} {'slot' if slots == 1 else 'slots'} of local processes"
