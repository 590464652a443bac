"""Checks the site's limits of jobs and of walltime."""

from __future__ import annotations

from dask_gridengine.batch.sge.qconf import limits_in
from dask_gridengine.batch.sge.submit_options import shortest
from dask_gridengine.cli.doctor.finding import Finding, passed, skipped, warned
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands, attributes
from dask_gridengine.cli.doctor.grid_checks.queues import usable_queues
from dask_gridengine.options import Options

NAME = "limits"
#: In ``qconf -sconf`` and ``-ssconf``; 0 is no limit.
COUNTS = {
    "max_aj_tasks": "nodes in one array",
    "max_aj_instances": "nodes of one array at a time",
    "max_u_jobs": "jobs of one user (an array counts as one)",
    "maxujobs": "running jobs of one user",
    "max_jobs": "jobs of all users",
}
MOST = 20  # queues to check
INF = float("inf")


async def check_limits(commands: GridCommands, options: Options, user: str) -> Finding:
    """List the limits, and warn of those that a cluster with these options meets."""
    shown = await commands.run("qconf", "-sconf")
    if not shown.ok:
        return skipped(NAME, "qconf -sconf does not list the limits")
    scheduler = await commands.run("qconf", "-ssconf")
    counts = parse_counts(f"{shown.text}\n{scheduler.text}")
    quota = await commands.run("qquota", "-u", user)
    walltimes = await _walltimes(commands, options, user)
    most = [f"{counts[name]} {text}" for name, text in COUNTS.items() if name in counts]
    ends = [f"{q}: {seconds:g} s" for q, seconds in walltimes.items() if seconds < INF]
    evidence = [
        f"at most {', '.join(most)}" if most else "no number of jobs is limited",
        f"walltime: {', '.join(ends) or 'no queue has a limit'}",
        *([f"quota (qquota): {line}" for line in quota.lines[2:]] if quota.ok else []),
    ]
    longest = max(walltimes.values(), default=INF)
    if options.walltime and options.walltime > longest:
        return warned(
            NAME,
            f"walltime is {options.walltime:g} s, but the longest of your queues is"
            f" {longest:g} s: such jobs wait for ever",
            f"walltime: {longest:g}",
            *evidence,
        )
    requested = max(options.jobs, options.max_jobs or 0)
    for name in ("max_aj_instances", "maxujobs"):
        if counts.get(name, requested) < requested:
            return warned(
                NAME,
                f"{requested} nodes are configured, but {name} lets {counts[name]} run"
                " at a time: the others wait",
                f"max_jobs: {counts[name]}",
                *evidence,
            )
    return passed(NAME, "; ".join(evidence))


def parse_counts(text: str) -> dict[str, int]:
    r"""Read the limits of numbers that are set.

    Examples
    --------
    >>> parse_counts("max_aj_tasks   75000\nmax_u_jobs   0")
    {'max_aj_tasks': 75000}
    """
    shown = attributes(text)
    found = {name: shown.get(name, "") for name in COUNTS}
    return {k: int(v) for k, v in found.items() if v.isdigit() and int(v)}


async def _walltimes(
    commands: GridCommands, options: Options, user: str
) -> dict[str, float]:
    """Return the limit of each queue of this user in seconds; inf if it has none."""
    usable = await usable_queues(commands, options, user)
    names = {line.partition("@")[0] for line in usable.lines if "@" in line}
    found = {}
    for name in sorted(names)[:MOST]:
        shown = await commands.run("qconf", "-sq", name)
        found[name] = shortest(limits_in(shown.text)) or INF
    return found
