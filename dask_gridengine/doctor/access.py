"""Is there a Grid Engine, does it answer, and may this host and user submit?"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from dask_gridengine.batch import OVERRIDE
from dask_gridengine.blocking import in_thread
from dask_gridengine.doctor.commands import CommandResult, Commands
from dask_gridengine.doctor.finding import Finding, failed, passed, skipped, warned
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
KNOCK_SECONDS = 5.0
#: Of what a command says, if it did not get through to the master.
NO_ANSWER = ("commlib error", "unable to contact", "unable to send")


def user() -> str:
    """Whose jobs these would be; by number where that has no name here."""
    try:  # not `getpass`, which asks the environment, and that may be another's (sudo)
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def grid_is_meant(environment: Mapping[str, str], options: Options) -> bool:
    """Whether anything here speaks of a Grid Engine, so that its absence is a fault."""
    if options.launcher is not None:
        return options.launcher == "drmaa"
    return grid_is_configured(environment)


def other_grid(environment: Mapping[str, str], options: Options) -> Finding | None:
    """What to say where a grid is meant that is no Grid Engine; None if it is one."""
    if environment.get(OVERRIDE) not in (None, "gridengine"):
        why = f"{OVERRIDE} is {environment[OVERRIDE]!r}"
    elif find_root(environment) or not environment.get("DRMAA_LIBRARY_PATH"):
        return None
    else:
        why = "DRMAA_LIBRARY_PATH is set, and SGE_ROOT is not"
    return skipped(
        "site",
        f"{why}: this is another grid, of which the library and a probe are looked at",
    )


def no_grid(environment: Mapping[str, str], options: Options) -> Finding:
    """What to say where nothing speaks of one."""
    if options.launcher == "process":
        return skipped("library", "launcher is 'process': no Grid Engine is looked for")
    if found := shutil.which("qconf", path=environment.get("PATH")):
        return warned(
            "library",
            f"SGE_ROOT is not set, though there is {found}: nodes are processes of"
            " this host",
            SETTINGS,
        )
    return skipped(
        "library",
        "no Grid Engine here (no SGE_ROOT, no qconf): nodes are processes of this host",
        f"if there is one: {SETTINGS}",
    )


async def library(environment: Mapping[str, str]) -> Finding:
    """Which libdrmaa, or where it was looked for."""
    try:
        found = await in_thread(find_library, environment)
    except LauncherUnavailable as exc:
        return failed("library", exc.reason, exc.advice)
    how = "as DRMAA_LIBRARY_PATH says" if environment.get("DRMAA_LIBRARY_PATH") else ""
    return passed("library", f"libdrmaa is {found}" + (f", {how}" if how else ""))


async def cell(environment: Mapping[str, str]) -> Finding:
    """Whether ``$SGE_ROOT/$SGE_CELL`` is a cell."""
    root, name = find_root(environment), environment.get("SGE_CELL", "default")
    if root is None:
        return failed("cell", "SGE_ROOT is not set", SETTINGS)
    if not await in_thread(os.path.isdir, root):
        return failed("cell", f"SGE_ROOT={root} is no directory here", SETTINGS)
    if await in_thread(master_host, environment):
        return passed("cell", f"cell {name!r} in {root}")
    there = await in_thread(_cells, root)
    return failed(
        "cell",
        f"there is no cell {name!r} in {root}: {name}/common/act_qmaster is not there",
        f"export SGE_CELL={there[0]}" if there else SETTINGS,
        f"cells there are: {', '.join(there) or 'none'}",
    )


def _cells(root: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(
            place.parent.parent.name
            for place in Path(root).glob("*/common/act_qmaster")
        )
    return []


def _port(environment: Mapping[str, str]) -> int:
    with contextlib.suppress(ValueError):
        return (
            int(environment["SGE_QMASTER_PORT"])
            if (environment.get("SGE_QMASTER_PORT"))
            else socket.getservbyname("sge_qmaster", "tcp")
        )
    return QMASTER_PORT


async def qmaster(environment: Mapping[str, str], commands: Commands) -> Finding:
    """Whether the master's port answers, and the master behind it."""
    host = await in_thread(master_host, environment)
    try:
        port = _port(environment)
    except OSError:  # no such service in /etc/services
        port = QMASTER_PORT
    place = join(host, port)
    said, _ = await in_thread(try_connect, place, KNOCK_SECONDS)
    if said != CONNECTED:
        return failed(
            "qmaster",
            f"Grid Engine's master does not answer at {place}: {said}",
            f"tell your admins that sge_qmaster is down or not reached at {place}; if"
            " it is elsewhere, the cell's act_qmaster or SGE_QMASTER_PORT is wrong",
        )
    answer = await commands.run("qconf", "-ss")
    if answer.hung:
        return failed(
            "qmaster",
            f"Grid Engine's master accepts at {place} but does not answer: it hangs, or"
            " is overloaded",
            "try qhost; tell your admins",
            *answer.lines,
        )
    if answer.missing:
        return warned(
            "qmaster",
            f"{place} accepts, but there are no Grid Engine commands here: what the"
            " site is like cannot be asked",
            f"to have more checks: {SETTINGS}",
        )
    # That this host may not ask, or that there is no submit host, is an answer, too.
    if not answer.ok and any(word in answer.text for word in NO_ANSWER):
        return failed(
            "qmaster",
            f"Grid Engine's master at {place} gives no answer",
            "try qhost; tell your admins",
            *answer.lines,
        )
    return passed("qmaster", f"answers at {place}")


async def verification(commands: Commands, native: str) -> CommandResult:
    """What ``qsub -w v`` says of these options; it queues nothing."""
    return await commands.run(
        "qsub", "-w", "v", *native.split(), "-b", "y", "/bin/true"
    )


async def submit_host(commands: Commands, verified: CommandResult) -> Finding:
    """Whether this host may submit."""
    here = socket.gethostname()
    if verified.missing:
        return warned(
            "submit host",
            f"there is no qsub here to ask whether {here} may submit; the probe will"
            " tell",
            f"to have more checks: {SETTINGS}",
        )
    if denied := [line for line in verified.lines if "denied: host" in line]:
        listed = await commands.run("qconf", "-ss")
        hosts = ", ".join(listed.lines) if listed.ok else "only the admins see which"
        return failed(
            "submit host",
            f"this host, {here}, may not submit jobs",
            f"run on one of the submit hosts, or have an admin type: qconf -as {here}",
            *denied,
            f"submit hosts: {hosts}",
        )
    return passed("submit host", f"{here} may submit")
