"""Checks of Grid Engine and its configuration, with qconf, qselect, qstat and qsub.

What only a job can show is left to the cluster of `trial`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from dask_gridengine.batch.base import BatchSystem, CheckResult
from dask_gridengine.batch.commands import run_command, user_name
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.batch.sge.qconf import attributes
from dask_gridengine.batch.sge.qstat import instances as queue_instances
from dask_gridengine.cli.doctor.finding import (
    Finding,
    Findings,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.cli.doctor.grid_commands import (
    LISTED,
    Grid,
    Output,
    shortened,
)
from dask_gridengine.cli.doctor.resource_checks import (
    check_limits,
    check_memory,
    check_parallel_environments,
)
from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.formatting import plural
from dask_gridengine.launchers.drmaa.discovery import (
    SETTINGS,
    configured_systems,
    find_library,
    find_root,
    master_host,
)
from dask_gridengine.nodes.job_request import request
from dask_gridengine.options import Options

COMMANDS_SECONDS = 60.0  # for a check with several commands, which have 10 s each
#: In the output of a command that did not reach the master.
NOT_REACHED = ("commlib error", "unable to contact", "unable to send", "timed out")
PERMISSIONS = ("user_lists", "xuser_lists", "projects", "xprojects")


def expects_grid(environment: Mapping[str, str], options: Options) -> bool:
    """Whether a missing grid is an error here."""
    if options.launcher is not None:
        return options.launcher == "drmaa"
    return bool(configured_systems(environment))


def no_grid(options: Options) -> Finding:
    """Report that no grid is expected."""
    if options.launcher == "process":
        return skipped("launcher is 'process': Grid Engine is not used")
    return skipped(
        "no Grid Engine here (SGE_ROOT is not set): nodes are processes of this host",
        f"if there is one: {SETTINGS}",
    )


def other_grid(environment: Mapping[str, str]) -> BatchSystem | None:
    """Return the batch system of this host; None if it is a Grid Engine."""
    system = next(iter(configured_systems(environment)), None)
    return None if system is None or system.name == "gridengine" else system


async def check_grid(
    findings: Findings, options: Options, environment: Mapping[str, str]
) -> bool:
    """Make all checks of a grid; returns whether none has failed."""
    if (other := other_grid(environment)) is not None:
        return await _check_other(findings, other, options, environment)
    grid = Grid(environment)
    for name, needed in NEEDED.items():
        if not await findings.check(name, in_thread(needed, grid.environment)):
            return False
    if missing := grid.missing():
        reason = f"not installed here: {', '.join(missing)}"
        findings.add("site", skipped(reason, f"for more checks: {SETTINGS}"))
        return True
    if not await findings.check("qmaster", in_thread(check_qmaster, grid)):
        return False
    if not await findings.check("submit host", in_thread(check_submit_host, grid)):
        return False
    made = [
        await findings.check(name, in_thread(check, grid, options), COMMANDS_SECONDS)
        for name, check in CHECKS.items()
    ]
    return all(made)


async def _check_other(
    findings: Findings,
    system: BatchSystem,
    options: Options,
    environment: Mapping[str, str],
) -> bool:
    """Make the checks that a batch system has of its own."""
    if not await findings.check("library", in_thread(check_library, environment)):
        return False

    def check() -> list[CheckResult]:
        native = request(options, (), "drmaa", system).native
        return list(system.checks(native, options.queue or "", run_command))

    made = await in_thread(check, timeout=COMMANDS_SECONDS)
    for result in made:
        make = failed if result.fatal else warned
        advised = make(result.sentence, result.advice) if result.advice else None
        findings.add(result.check, advised or passed(result.sentence))
    if not made:
        findings.add(
            "site",
            skipped(
                f"{system.title} has no commands that are known here: its queues and"
                " limits are not checked, only the trial cluster below is"
            ),
        )
    return not any(result.fatal for result in made)


def check_cell(environment: Mapping[str, str]) -> Finding:
    """Check that ``$SGE_ROOT/$SGE_CELL`` is a cell."""
    root, cell = find_root(environment), environment.get("SGE_CELL", "default")
    if root is None:
        return failed("SGE_ROOT is not set", SETTINGS)
    if master_host(environment):
        return passed(f"cell {cell!r} in {root}")
    files = Path(root).glob("*/common/act_qmaster")
    cells = sorted(file.parent.parent.name for file in files)
    return failed(
        f"no cell {cell!r} in SGE_ROOT={root}: no {cell}/common/act_qmaster",
        f"export SGE_CELL={cells[0]}" if cells else SETTINGS,
        f"cells: {', '.join(cells) or 'none'}",
    )


def check_library(environment: Mapping[str, str]) -> Finding:
    """Find libdrmaa."""
    source = " (DRMAA_LIBRARY_PATH)" if environment.get("DRMAA_LIBRARY_PATH") else ""
    return passed(f"libdrmaa is {find_library(environment)}{source}")


def check_qmaster(grid: Grid) -> Finding:
    """Check that the master answers a command."""
    host, shown = master_host(grid.environment), grid.run("qconf", "-ss")
    # A command that the master refuses has reached it.
    if shown.ok or not any(text in shown.text for text in NOT_REACHED):
        return passed(f"answers on {host}")
    return failed(
        f"Grid Engine's master does not answer on {host}",
        f"try qhost; tell your admins that sge_qmaster is not reachable on {host}; if"
        " it runs elsewhere, the cell's act_qmaster or SGE_QMASTER_PORT is wrong",
        *shown.lines,
    )


def check_submit_host(grid: Grid) -> Finding:
    """Check that the grid takes jobs from this host."""
    here = socket.gethostname()
    denied = [line for line in grid.verify().lines if "denied: host" in line]
    if not denied:
        return passed(f"{here} may submit jobs")
    listed = grid.run("qconf", "-ss")
    hosts = ", ".join(listed.lines) if listed.ok else "only admins can list them"
    return failed(
        f"this host, {here}, may not submit jobs",
        f"run on one of the submit hosts, or have an admin type: qconf -as {here}",
        *denied,
        f"submit hosts: {hosts}",
    )


def check_queues(grid: Grid, options: Options) -> Finding:
    """Check that a queue can run jobs with these options."""
    verified = grid.verify(request(options, (), "drmaa", GridEngine()).native)
    queue = ["-q", options.queue] if options.queue else []
    usable = grid.run("qselect", "-U", user_name(), *queue)
    if not verified.ok:
        return _rejected(grid, options, verified, usable)
    instances = [
        instance
        for instance in queue_instances(lambda command: grid.run(*command).text)
        if f"{instance.queue}@{instance.host}" in usable.lines
    ]
    good = [instance for instance in instances if not instance.states]
    bad = [instance for instance in instances if instance.states]
    names = shortened(sorted({instance.queue for instance in instances}))
    slots = sum(instance.slots for instance in good)
    free = sum(max(0, instance.slots - instance.used) for instance in good)
    hosts = plural(len({instance.host for instance in good}), "host")
    sentence = f"{names}: {hosts}, {free} of {slots} slots free"
    if not instances:
        return passed("Grid Engine takes jobs with these options")
    if not bad:
        return passed(sentence)
    return warned(
        f"{sentence}; {len(bad)} of {len(instances)} queue instances take no jobs"
        if good
        else f"{names}: no host takes jobs at the moment, they will wait",
        "see qstat -f -explain E; ask your admins if it lasts",
        *(f"{each.queue}@{each.host} is {each.trouble}" for each in bad[:LISTED]),
    )


def _rejected(
    grid: Grid, options: Options, verified: Output, usable: Output
) -> Finding:
    evidence = [line for line in verified.lines if line != "Exiting."]
    if usable.lines and usable.ok:
        return failed(
            "no queue can run jobs with these options",
            "change the option that Grid Engine names: queue, resource_spec,"
            " parallel_environment, memory_resource, walltime",
            *evidence,
        )
    listed = grid.run("qconf", "-sql").lines
    queues = options.queue.split(",") if options.queue else listed
    return failed(
        f"{user_name()} cannot use {options.queue or 'any queue'}",
        "use another queue with --queue (option queue), or ask your admins for access",
        *evidence,
        f"queues: {shortened(listed)}",
        *(line for name in queues[:LISTED] for line in _access(grid, name)),
    )


def _access(grid: Grid, queue: str) -> list[str]:
    """Return the lists of users and projects that may use a queue."""
    shown = attributes(grid.run("qconf", "-sq", queue.partition("@")[0]).text)
    given = [f"{k} {shown[k]}" for k in PERMISSIONS if shown.get(k, "NONE") != "NONE"]
    return [f"{queue}: {'; '.join(given)} (see qconf -su LIST)"] if given else []


#: The checks without which no other is worth making, in order.
NEEDED: dict[str, Callable[[Mapping[str, str]], Finding]] = {
    "cell": check_cell,
    "library": check_library,
}
CHECKS: dict[str, Callable[[Grid, Options], Finding]] = {
    "queues": check_queues,
    "parallel env.": check_parallel_environments,
    "memory": check_memory,
    "limits": check_limits,
}
#: Names of all checks of a Grid Engine.
NAMES = (*NEEDED, "qmaster", "submit host", *CHECKS)
