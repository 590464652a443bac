"""Checks for a parallel environment that gives a node all its slots on one host."""

from __future__ import annotations

from dask_gridengine.cli.doctor.finding import (
    Finding,
    Setting,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands, attributes
from dask_gridengine.cli.doctor.grid_checks.queues import shortened
from dask_gridengine.options import Options

NAME = "parallel env."
MOST = 30  # environments to check; some sites have hundreds, one per kind of host
#: Usual names of environments for threads, the most usual first.
USUAL = ("smp", "threaded", "shared", "shm", "openmp", "orte_smp", "serial", "make")
ONE_HOST = "$pe_slots"  # the allocation rule (man 5 sge_pe)


async def check_parallel_environments(
    commands: GridCommands, options: Options, user: str
) -> Finding:
    """Check that nodes can have more than one core."""
    listed = await commands.run("qconf", "-spl")
    if listed.missing:
        return skipped(NAME, "qconf is not installed here")
    names = listed.lines if listed.ok else []
    if options.parallel_environment:
        return await _of_option(commands, options.parallel_environment, names)
    usable = await commands.run("qselect", "-U", user)
    if not usable.ok:
        return skipped(NAME, "because of: queues")
    fitting = await _fitting(commands, names, user)
    if options.cores > 1:
        return failed(
            NAME,
            f"cores={options.cores} needs a parallel environment",
            f"--parallel-environment {fitting[0]} (option parallel_environment)"
            if fitting
            else "cores=1: no environment puts all slots of a job on one host",
            f"with all slots on one host: {shortened(fitting) or 'none'}",
        )
    if not fitting:
        return warned(
            NAME,
            "none puts all slots of a job on one host: nodes have one core each",
            f"for more cores ask your admins for one with allocation_rule {ONE_HOST}",
            f"environments: {shortened(names) or 'none'}",
        )
    setting = Setting(
        key="parallel-environment",
        value=fitting[0],
        reason=f"for cores above 1: all slots of a node on one host ({ONE_HOST})",
        optional=True,
    )
    sentence = f"{shortened(fitting)}: all slots of a node on one host"
    return passed(NAME, f"{sentence}, for cores above 1", settings=[setting])


async def _of_option(commands: GridCommands, name: str, names: list[str]) -> Finding:
    if "*" not in name and names and name not in names:
        return failed(
            NAME,
            f"parallel environment {name!r} does not exist",
            "use one of these with --parallel-environment (option"
            f" parallel_environment): {shortened(names)}",
        )
    rule = await _allocation_rule(commands, name)
    if rule not in (ONE_HOST, ""):
        return failed(
            NAME,
            f"{name} may give a node slots on several hosts (allocation_rule {rule}),"
            " but its worker can use one host only",
            f"use an environment with allocation_rule {ONE_HOST}: qconf -spl lists all,"
            " qconf -sp NAME shows one",
        )
    return passed(NAME, f"{name}: all slots of a node on one host")


async def _allocation_rule(commands: GridCommands, name: str) -> str:
    shown = await commands.run("qconf", "-sp", name)
    return attributes(shown.text).get("allocation_rule", "")


async def _fitting(commands: GridCommands, names: list[str], user: str) -> list[str]:
    """List the environments with all slots on one host in a queue of this user."""
    usual = {name: place for place, name in enumerate(USUAL)}
    found = []
    for name in sorted(names, key=lambda n: (usual.get(n, len(USUAL)), n))[:MOST]:
        if await _allocation_rule(commands, name) == ONE_HOST:
            usable = await commands.run("qselect", "-U", user, "-pe", name)
            if usable.ok and usable.lines:
                found.append(name)
    return found
