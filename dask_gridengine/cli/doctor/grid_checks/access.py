"""Checks whether Grid Engine is there, answers, and takes jobs from this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from dask_gridengine.batch import OVERRIDE
from dask_gridengine.batch.sge.qstat import user_name
from dask_gridengine.cli.doctor.finding import Finding, failed, passed, skipped, warned
from dask_gridengine.cli.doctor.grid_checks.commands import CommandResult, GridCommands
from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.launchers.drmaa.discovery import (
    SETTINGS,
    find_library,
    find_root,
    grid_is_configured,
    master_host,
)
from dask_gridengine.net.addresses import join
from dask_gridengine.net.connect_probe import CONNECTED, try_connect
from dask_gridengine.options import Options

QMASTER_PORT = 6444  # registered at IANA as sge_qmaster
CONNECT_SECONDS = 5.0
#: In the output of a command that did not reach the master.
NOT_REACHED = ("commlib error", "unable to contact", "unable to send")


def user_name_or_id() -> str:
    """The user of this process; the id where it has no name on this host."""
    try:
        return user_name()
    except KeyError:
        return str(os.getuid())


def expects_grid(environment: Mapping[str, str], options: Options) -> bool:
    """Whether a missing Grid Engine is an error here."""
    if options.launcher is not None:
        return options.launcher == "drmaa"
    return grid_is_configured(environment)


def other_grid(environment: Mapping[str, str]) -> Finding | None:
    """The finding for a grid that is not a Grid Engine; None for a Grid Engine."""
    if environment.get(OVERRIDE) not in (None, "gridengine"):
        reason = f"{OVERRIDE} is {environment[OVERRIDE]!r}"
    elif find_root(environment) or not environment.get("DRMAA_LIBRARY_PATH"):
        return None
    else:
        reason = "DRMAA_LIBRARY_PATH is set and SGE_ROOT is not"
    return skipped("site", f"not a Grid Engine: {reason}. Its queues are not checked")


def no_grid(environment: Mapping[str, str], options: Options) -> Finding:
    """The finding where no grid is expected."""
    if options.launcher == "process":
        return skipped("library", "launcher is 'process': Grid Engine is not used")
    if found := shutil.which("qconf", path=environment.get("PATH")):
        return warned(
            "library",
            f"SGE_ROOT is not set, but there is {found}: nodes are processes of this"
            " host",
            SETTINGS,
        )
    return skipped(
        "library",
        "no Grid Engine here (no SGE_ROOT, no qconf): nodes are processes of this host",
        f"if there is one: {SETTINGS}",
    )


async def check_library(environment: Mapping[str, str]) -> Finding:
    """Find libdrmaa."""
    try:
        found = await in_thread(find_library, environment)
    except LauncherUnavailable as exc:
        return failed("library", exc.reason, exc.hint)
    source = " (DRMAA_LIBRARY_PATH)" if environment.get("DRMAA_LIBRARY_PATH") else ""
    return passed("library", f"libdrmaa is {found}{source}")


async def check_cell(environment: Mapping[str, str]) -> Finding:
    """Check that ``$SGE_ROOT/$SGE_CELL`` is a cell."""
    root, name = find_root(environment), environment.get("SGE_CELL", "default")
    if root is None:
        return failed("cell", "SGE_ROOT is not set", SETTINGS)
    if not await in_thread(os.path.isdir, root):
        return failed("cell", f"SGE_ROOT={root} is not a directory here", SETTINGS)
    if await in_thread(master_host, environment):
        return passed("cell", f"cell {name!r} in {root}")
    cells = await in_thread(_cells, root)
    return failed(
        "cell",
        f"no cell {name!r} in {root}: {name}/common/act_qmaster does not exist",
        f"export SGE_CELL={cells[0]}" if cells else SETTINGS,
        f"cells: {', '.join(cells) or 'none'}",
    )


def _cells(root: str) -> list[str]:
    with contextlib.suppress(OSError):
        files = Path(root).glob("*/common/act_qmaster")
        return sorted(file.parent.parent.name for file in files)
    return []


def _qmaster_port(environment: Mapping[str, str]) -> int:
    with contextlib.suppress(ValueError, OSError):  # no such service in /etc/services
        port = environment.get("SGE_QMASTER_PORT")
        return int(port) if port else socket.getservbyname("sge_qmaster", "tcp")
    return QMASTER_PORT


async def check_qmaster(
    environment: Mapping[str, str], commands: GridCommands
) -> Finding:
    """Check that the master's port accepts and that the master answers a command."""
    host = await in_thread(master_host, environment)
    address = join(host, _qmaster_port(environment))
    answer, _ = await in_thread(try_connect, address, CONNECT_SECONDS)
    if answer != CONNECTED:
        return failed(
            "qmaster",
            f"Grid Engine's master does not answer at {address}: {answer}",
            f"tell your admins that sge_qmaster is not reachable at {address}; if it"
            " runs elsewhere, the cell's act_qmaster or SGE_QMASTER_PORT is wrong",
        )
    result = await commands.run("qconf", "-ss")
    if result.missing:
        return warned(
            "qmaster",
            f"{address} accepts, but Grid Engine's commands are not installed here:"
            " the site's configuration is not checked",
            f"for more checks: {SETTINGS}",
        )
    # A command that the master refuses has reached it.
    if result.timed_out or (
        not result.ok and any(text in result.text for text in NOT_REACHED)
    ):
        return failed(
            "qmaster",
            f"Grid Engine's master accepts at {address} but does not answer: it hangs"
            " or is overloaded",
            "try qhost; tell your admins",
            *result.lines,
        )
    return passed("qmaster", f"answers at {address}")


async def check_submit_host(commands: GridCommands, verified: CommandResult) -> Finding:
    """Check that the grid takes jobs from this host."""
    here = socket.gethostname()
    if verified.missing:
        return warned(
            "submit host",
            f"not checked whether {here} may submit jobs: qsub is not installed here",
            f"for more checks: {SETTINGS}",
        )
    if denied := [line for line in verified.lines if "denied: host" in line]:
        listed = await commands.run("qconf", "-ss")
        hosts = ", ".join(listed.lines) if listed.ok else "only admins can list them"
        return failed(
            "submit host",
            f"this host, {here}, may not submit jobs",
            f"run on one of the submit hosts, or have an admin type: qconf -as {here}",
            *denied,
            f"submit hosts: {hosts}",
        )
    return passed("submit host", f"{here} may submit jobs")
