"""Checks of parallel environments, memory and limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dask_gridengine.batch.commands import user_name
from dask_gridengine.batch.sge.qconf import CHARGED_PER, attributes, complexes
from dask_gridengine.cli.doctor.finding import (
    Finding,
    Setting,
    Status,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.cli.doctor.grid_commands import Grid, shortened
from dask_gridengine.options import Options

MAX_ENVIRONMENTS = 30  # to check; some sites have hundreds, one per kind of host
ONE_HOST = "$pe_slots"  # the allocation rule (man 5 sge_pe)
#: Usual names of parallel environments for threads, the most usual first.
USUAL_ENVIRONMENTS = ("smp", "threaded", "shared", "shm", "openmp", "orte_smp", "make")
#: Usual consumable complexes of memory, the most usual first.
USUAL_MEMORY = ("h_vmem", "mem_free", "m_mem_free", "virtual_free", "h_rss", "s_vmem")
#: Limits in ``qconf -sconf`` and ``-ssconf``; 0 means no limit.
COUNTS = {
    "max_aj_tasks": "nodes in one array",
    "max_aj_instances": "nodes of one array at a time",
    "max_u_jobs": "jobs of one user (an array counts as one)",
    "maxujobs": "running jobs of one user",
    "max_jobs": "jobs of all users",
}


def check_parallel_environments(grid: Grid, options: Options) -> Finding:
    """Check for one that gives a node all its slots on one host."""
    if name := options.parallel_environment:
        rule = _allocation_rule(grid, name)
        if rule in (ONE_HOST, ""):  # "" if the name is a pattern
            return passed(f"{name}: all slots of a node on one host")
        return failed(
            f"{name} may give a node slots on several hosts (allocation_rule {rule}),"
            " but its worker can use one host only",
            f"use an environment with allocation_rule {ONE_HOST}: qconf -spl lists all,"
            " qconf -sp NAME shows one",
        )
    listed = grid.run("qconf", "-spl")
    names = usual_first(listed.lines if listed.ok else (), USUAL_ENVIRONMENTS)
    fitting = [n for n in names[:MAX_ENVIRONMENTS] if _fits(grid, n)]
    if options.cores > 1:
        return failed(
            f"cores={options.cores} needs a parallel environment",
            f"--parallel-environment {fitting[0]} (option parallel_environment)"
            if fitting
            else "cores=1: no environment puts all slots of a job on one host",
            f"with all slots on one host: {shortened(fitting) or 'none'}",
        )
    if not fitting:
        return warned(
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
    return passed(f"{sentence}, for cores above 1", setting)


def _fits(grid: Grid, name: str) -> bool:
    """Whether a node gets all slots on one host, in a queue of this user."""
    if _allocation_rule(grid, name) != ONE_HOST:
        return False
    usable = grid.run("qselect", "-U", user_name(), "-pe", name)
    return usable.ok and bool(usable.lines)


def _allocation_rule(grid: Grid, name: str) -> str:
    return attributes(grid.run("qconf", "-sp", name).text).get("allocation_rule", "")


def check_memory(grid: Grid, options: Options) -> Finding:
    """Check that ``memory_resource`` reserves memory, or propose a complex."""
    shown = grid.run("qconf", "-sc")
    if not shown.ok:
        return skipped("qconf -sc does not list the complexes")
    reserving = reserving_complexes(shown.text)
    listed = ", ".join(f"{each.name} (per {each.per})" for each in reserving)
    if name := options.memory_resource:
        found = next((c for c in reserving if name in (c.name, c.shortcut)), None)
        if found is not None and not options.memory:
            return warned(
                f"{name} is charged per {found.per}, but memory is not set, so none is"
                " requested",
                "memory: '4 GB', for example",
            )
        if found is not None:
            return passed(f"{name} reserves it, charged per {found.per}")
        if not any(name in (c["name"], c["shortcut"]) for c in complexes(shown.text)):
            return failed(
                f"memory_resource={name!r} is not a complex of this site",
                f"use another ({listed or 'none reserves memory here'}); qconf -sc"
                " lists them all",
            )
        return warned(
            f"{name} is not consumable: it selects hosts but reserves nothing, so the"
            " same memory may be given to other jobs",
            f"memory_resource: one that reserves memory ({listed or 'none here'})",
        )
    if not reserving:
        return passed(
            "no complex reserves memory here (none is consumable): memory= is only a"
            " limit of the worker, and is not requested from the grid"
        )
    usual = reserving[0].name
    setting = Setting(
        key="memory-resource",
        value=usual,
        reason=f"qconf -sc: {usual} is consumable and requestable",
    )
    sentence = f"memory is not requested from the grid, but can be reserved: {listed}"
    advice = f"memory_resource: {usual}, and memory: as much as a node needs"
    return Finding(Status.WARN, sentence, advice=advice, settings=(setting,))


class Complex(NamedTuple):
    """A resource that reserves memory for the job that requests it."""

    name: str
    shortcut: str
    per: str  # what it is charged for


def reserving_complexes(text: str) -> list[Complex]:
    """Return the complexes in ``qconf -sc`` that reserve memory, most usual first."""
    found = {
        c["name"]: Complex(c["name"], c["shortcut"], CHARGED_PER[c["consumable"]])
        for c in complexes(text)
        if c["type"] == "MEMORY"
        and c["requestable"] != "NO"
        and c["consumable"] in CHARGED_PER
    }
    return [found[name] for name in usual_first(found, USUAL_MEMORY)]


def check_limits(grid: Grid, options: Options) -> Finding:
    """List the limits of numbers, and warn of one that a cluster would meet."""
    shown = grid.run("qconf", "-sconf")
    if not shown.ok:
        return skipped("qconf -sconf does not list the limits")
    values = attributes(f"{shown.text}\n{grid.run('qconf', '-ssconf').text}")
    counts = {k: int(v) for k, v in values.items() if k in COUNTS and v.isdigit()}
    known = [f"{counts[k]} {text}" for k, text in COUNTS.items() if counts.get(k)]
    quota = grid.run("qquota", "-u", user_name())
    # The limit of a rule is "slots=1/8"; the header has none.
    rules = [line for line in quota.lines if quota.ok and "=" in line]
    evidence = [
        f"at most {', '.join(known)}" if known else "no number of jobs is limited",
        *(f"quota (qquota): {line}" for line in rules),
    ]
    requested = max(options.jobs, options.max_jobs or 0)
    for name in ("max_aj_instances", "maxujobs"):
        if 0 < counts.get(name, 0) < requested:
            return warned(
                f"{requested} nodes are configured, but {name} lets {counts[name]} run"
                " at a time: the others wait",
                f"max_jobs: {counts[name]}",
                *evidence,
            )
    return passed("; ".join(evidence))


def usual_first(names: Iterable[str], usual: tuple[str, ...]) -> list[str]:
    """Sort names: the usual ones in their order, then all others."""
    rank = {name: place for place, name in enumerate(usual)}
    return sorted(names, key=lambda name: (rank.get(name, len(usual)), name))
