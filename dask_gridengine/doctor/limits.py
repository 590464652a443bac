"""How many jobs and how long: what the site says before anybody is surprised."""

from __future__ import annotations

from dask_gridengine.batch.sge.qconf import limits_in
from dask_gridengine.batch.sge.submit_options import shortest
from dask_gridengine.doctor.commands import Commands, table
from dask_gridengine.doctor.finding import Finding, passed, skipped, warned
from dask_gridengine.options import Options

NAME = "limits"
#: Of ``qconf -sconf`` and ``-ssconf``, as people say them; 0 is no limit.
COUNTS = {
    "max_aj_tasks": "nodes in one array",
    "max_aj_instances": "nodes of one array at a time",
    "max_u_jobs": "jobs of one user (an array counts as one)",
    "maxujobs": "running jobs of one user",
    "max_jobs": "jobs of all users",
}
QUEUES = 20  # looked at


async def limits(commands: Commands, options: Options, user: str) -> Finding:
    """The limits a cluster may meet, and those it would break as it is configured."""
    shown = await commands.run("qconf", "-sconf")
    if not shown.ok:
        return skipped(NAME, "qconf -sconf does not say")
    scheduler = await commands.run("qconf", "-ssconf")
    counts = parse_counts(shown.text + "\n" + scheduler.text)
    quota = await commands.run("qquota", "-u", user)
    walltimes = await _walltimes(commands, options, user)
    said = [
        f"{counts[name]} {words}" for name, words in COUNTS.items() if name in counts
    ]
    ends = [
        f"{queue}: {seconds:g} s" for queue, seconds in walltimes.items() if seconds
    ]
    evidence = [
        f"at most {', '.join(said)}" if said else "no number of jobs is limited",
        f"walltime: {', '.join(ends)}" if ends else "walltime: no queue has a limit",
        *([f"quotas (qquota): {line}" for line in quota.lines[2:]] if quota.ok else []),
    ]
    return _judged(options, counts, walltimes, evidence)


def _judged(
    options: Options,
    counts: dict[str, int],
    walltimes: dict[str, float | None],
    evidence: list[str],
) -> Finding:
    longest = max((s or float("inf") for s in walltimes.values()), default=float("inf"))
    if options.walltime and options.walltime > longest:
        return warned(
            NAME,
            f"walltime is {options.walltime:g} s, and no queue of yours runs jobs for"
            f" longer than {longest:g} s: such jobs wait for ever",
            f"walltime: {longest:g}",
            *evidence,
        )
    wanted = max(options.jobs, options.max_jobs or 0)
    for name in ("max_aj_instances", "maxujobs"):
        if 0 < counts.get(name, 0) < wanted:
            return warned(
                NAME,
                f"{wanted} nodes are configured, and {name} lets {counts[name]} run at"
                " a time: the others wait",
                f"max_jobs: {counts[name]}",
                *evidence,
            )
    return passed(NAME, "; ".join(evidence))


def parse_counts(text: str) -> dict[str, int]:
    r"""Limits of numbers that are limits.

    Examples
    --------
    >>> parse_counts("max_aj_tasks   75000\nmax_u_jobs   0")
    {'max_aj_tasks': 75000}
    """
    shown = table(text)
    found = {name: shown.get(name, "") for name in COUNTS}
    return {
        name: int(value)
        for name, value in found.items()
        if value.isdigit() and int(value)
    }


async def _walltimes(
    commands: Commands, options: Options, user: str
) -> dict[str, float | None]:
    """Seconds by queue of this user's; None where there is no end."""
    chosen = ["-q", options.queue] if options.queue else []
    selected = await commands.run("qselect", "-U", user, *chosen)
    names = {line.partition("@")[0] for line in selected.lines if "@" in line}
    found = {}
    for name in sorted(names)[:QUEUES]:
        shown = await commands.run("qconf", "-sq", name)
        found[name] = shortest(limits_in(shown.text))
    return found
