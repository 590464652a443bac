"""``dask gridengine kill``: end forgotten clusters, and what is left of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_gridengine.cli.common import cluster_names, sentences, shared_option
from dask_gridengine.cli.connection_files import shared_directory
from dask_gridengine.errors import GridEngineError

if TYPE_CHECKING:
    from dask_gridengine.cli.discovery import ClusterInfo, Overview


@click.command("kill", short_help="End forgotten clusters, or those named.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=cluster_names)
@click.option("--all", "everything", is_flag=True, help="Also those that are alive.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--now", is_flag=True, help="Do not wait for tasks that run.")
@shared_option
@sentences
def command(
    names: tuple[str, ...],
    everything: bool,
    yes: bool,
    now: bool,
    shared: Path | None,
) -> None:
    """End clusters: those named, or all, or by default those whose manager is gone.

    What would be ended is listed first. A manager that lives lets the tasks that run
    end, gives all nodes back and tidies up. Of one that is gone the jobs are deleted,
    and its files. Nothing but your own clusters is ever touched.

    \b
    Examples:
      dask gridengine kill
      dask gridengine kill mine --yes
    """
    from dask_gridengine.cli.discovery import look

    place = shared_directory(shared)
    seen = look(place)
    cancelled = _choose(seen, names, everything)
    if not cancelled:
        _say_none(seen, place)
        return
    _list(cancelled)
    if not yes:
        click.confirm("End this?" if len(cancelled) == 1 else "End these?", abort=True)
    if not all([_end(cluster, now=now) for cluster in cancelled]):
        sys.exit(1)


def _choose(
    seen: Overview, names: Collection[str], everything: bool
) -> list[ClusterInfo]:
    from dask_gridengine.cli.discovery import GONE
    from dask_gridengine.cli.selection import named

    if names:
        return named(seen.clusters, names)
    return [c for c in seen.clusters if everything or c.state == GONE]


def _say_none(seen: Overview, place: Path) -> None:
    grid = f"; no jobs were looked for: {seen.grid}" if seen.grid else ""
    if not seen.clusters:
        click.echo(f"nothing to end: no cluster of yours in {place}{grid}")
        return
    click.echo(f"nothing to end: no cluster is without its manager{grid}")
    for cluster in seen.clusters:
        why = f" ({cluster.why})" if cluster.why else ""
        click.echo(
            f"  {cluster.label} is {cluster.state}{why}; to end it:"
            f" dask gridengine kill {cluster.label}"
        )


def _list(cancelled: Collection[ClusterInfo]) -> None:
    from dask_gridengine.cli.ps import nodes
    from dask_gridengine.cli.tables import print_table, since

    rows = []
    for cluster in cancelled:
        connection = cluster.entry.connection if cluster.entry else None
        ids = ", ".join(job.id for job in cluster.jobs)
        rows.append(
            (
                cluster.label,
                cluster.state,
                f"{connection.host} {connection.pid}" if connection else "-",
                since(time.time() - connection.started)
                if connection
                else cluster.jobs[0].submitted,
                ids or "-",
                nodes(cluster).partition(" (job")[0],
            )
        )
    print_table(("cluster", "manager", "on", "for", "jobs", "nodes"), rows)
    for cluster in cancelled:
        if cluster.why:
            click.echo(f"{cluster.label}: {cluster.why}")


def _end(cluster: ClusterInfo, *, now: bool) -> bool:
    from dask_gridengine.cli.removal import end

    try:
        for step in end(cluster, now=now):
            click.echo(step)
    except GridEngineError as exc:
        click.echo(f"dask gridengine kill: {exc}", err=True)
        return False
    return True
