"""Parallel environments: which put all slots of a node on one host, as ours must be."""

from __future__ import annotations

from dask_gridengine.doctor.commands import Commands, table
from dask_gridengine.doctor.finding import (
    Finding,
    Setting,
    Status,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.doctor.queues import NAMED, some
from dask_gridengine.options import Options

NAME = "parallel env."
LOOKED_AT = 30  # environments; a site may have hundreds, one per kind of host
#: What admins call them that mean threads of one host, the likeliest first.
USUAL = ("smp", "threaded", "shared", "shm", "openmp", "orte_smp", "serial", "make")


async def environments(commands: Commands, options: Options, user: str) -> Finding:
    """Whether cores above 1 can be had, and through which environment."""
    listed = await commands.run("qconf", "-spl")
    if listed.missing:
        return skipped(NAME, "there is no qconf here")
    names = listed.lines if listed.ok else []
    if options.parallel_environment:
        return await _given(commands, options.parallel_environment, names)
    mine = await commands.run("qselect", "-U", user)
    if not mine.ok:
        return skipped(NAME, "because of: queues")
    fitting = await _fitting(commands, names, user)
    if options.cores > 1:
        return failed(
            NAME,
            f"cores={options.cores} need a parallel environment, and none is chosen",
            f"--parallel-environment {fitting[0]} (option parallel_environment)"
            if fitting
            else "cores=1: no environment puts all slots of a job on one host",
            f"those that put all slots on one host: {some(fitting) or 'none'}",
        )
    if not fitting:
        return warned(
            NAME,
            "none puts all slots of a job on one host: nodes have one core each",
            "ask your admins for an environment with allocation_rule $pe_slots,"
            " should you want more",
            f"there are: {some(names) or 'none'}",
        )
    setting = Setting(
        key="parallel-environment",
        value=fitting[0],
        because="for cores above 1: it puts all slots of a node on one host"
        " ($pe_slots)",
        optional=True,
    )
    return Finding(
        name=NAME,
        status=Status.PASS,
        sentence=f"{some(fitting)}: all slots of a node on one host, for cores above 1",
        settings=(setting,),
    )


async def _given(commands: Commands, name: str, names: list[str]) -> Finding:
    if "*" not in name and names and name not in names:
        return failed(
            NAME,
            f"there is no parallel environment {name!r}",
            "choose one of these with --parallel-environment (option"
            f" parallel_environment): {some(names)}",
        )
    rule = table((await commands.run("qconf", "-sp", name)).text).get("allocation_rule")
    if rule is not None and not one_host(rule):
        return failed(
            NAME,
            f"{name} may spread the slots of a node over hosts"
            f" (allocation_rule {rule}), where its worker cannot use them",
            "choose an environment with allocation_rule $pe_slots; qconf -spl lists"
            " all, qconf -sp NAME shows one",
        )
    return passed(NAME, f"{name}: all slots of a node on one host")


async def _fitting(commands: Commands, names: list[str], user: str) -> list[str]:
    """Those that put all slots on one host and that some queue of this user's has."""
    usual = {name: place for place, name in enumerate(USUAL)}
    ordered = sorted(names, key=lambda name: (usual.get(name, NAMED * 9), name))
    found = []
    for name in ordered[:LOOKED_AT]:
        shown = table((await commands.run("qconf", "-sp", name)).text)
        if one_host(shown.get("allocation_rule", "")):
            offered = await commands.run("qselect", "-U", user, "-pe", name)
            if offered.ok and offered.lines:
                found.append(name)
    return found


def one_host(rule: str) -> bool:
    """Whether a rule puts all slots of a job on one host (``man 5 sge_pe``).

    Examples
    --------
    >>> one_host("$pe_slots"), one_host("$fill_up"), one_host("8")
    (True, False, False)
    """
    return rule == "$pe_slots"
