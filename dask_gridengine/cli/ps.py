"""``dask gridengine ps``: the clusters there are, and their nodes by state."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dask_gridengine.cli.common import sentences, shared_option
from dask_gridengine.cli.connection_files import shared_directory

if TYPE_CHECKING:
    from dask_gridengine.cli.discovery import ClusterInfo, Overview

COLUMNS = ("cluster", "manager", "on", "for", "wanted", "nodes", "tasks")


@click.command("ps", short_help="Show your clusters: nodes by state.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@shared_option
@sentences
def command(as_json: bool, shared: Path | None) -> None:
    """Show your clusters, whoever started them and wherever: nodes by state.

    Each is asked. Of one whose manager (the Python that started it) is gone, what is
    left on the grid is shown.

    \b
    Example:
      dask gridengine ps
    """
    from dask_gridengine.cli.discovery import look

    place = shared_directory(shared)
    seen = look(place)
    if as_json:
        click.echo(json.dumps([_plain(cluster) for cluster in seen.clusters], indent=2))
        return
    if not seen.clusters:
        click.echo(f"no cluster of yours: none in {place}, {_grid(seen)}")
        return
    _show(seen)


def _show(seen: Overview) -> None:
    from dask_gridengine.cli.discovery import NO_GRID
    from dask_gridengine.cli.tables import print_table

    print_table(COLUMNS, [row(cluster) for cluster in seen.clusters])
    for cluster in seen.clusters:
        if cluster.why:
            click.echo(f"{cluster.label}: {remark(cluster)}")
    if seen.grid not in ("", NO_GRID):
        click.echo(f"({_grid(seen)})", err=True)


def row(cluster: ClusterInfo) -> tuple[str, ...]:
    """One line of the table."""
    from dask_gridengine.cli.tables import since

    connection = cluster.entry.connection if cluster.entry else None
    status = cluster.status
    return (
        cluster.label,
        cluster.state,
        f"{connection.host} {connection.pid}" if connection else "-",
        since(time.time() - connection.started) if connection else "-",
        _wanted(status),
        nodes(cluster),
        _tasks(status.get("tasks", {})),
    )


def nodes(cluster: ClusterInfo) -> str:
    """Its nodes by state: as it says, or else as the grid does."""
    from dask_gridengine.cli.tables import format_answer

    if cluster.status:
        return format_answer(cluster.status["states"]) or "none"
    if not cluster.jobs:
        return "-"
    jobs = ", ".join(job.id for job in cluster.jobs)
    return f"{format_answer(cluster.tasks_left) or 'none'} (job {jobs})"


def remark(cluster: ClusterInfo) -> str:
    """What is the matter with one that does not answer, and what to type."""
    from dask_gridengine.cli.discovery import GONE, UNKNOWN

    if cluster.state == UNKNOWN:
        return (
            f"{cluster.why}; if you know that it does not run:"
            f" dask gridengine kill {cluster.label}"
        )
    if cluster.state != GONE:
        return cluster.why
    return f"{cluster.why}; to end what is left: dask gridengine kill {cluster.label}"


def _wanted(status: dict[str, Any]) -> str:
    if not status:
        return "-"
    if bounds := status["adaptive"]:
        return f"{status['wanted']} (adaptive, {bounds})"
    return str(status["wanted"])


def _tasks(tasks: dict[str, int]) -> str:
    from dask_gridengine.cli.tables import format_answer

    return format_answer(tasks) or "-"


def _grid(seen: Overview) -> str:
    if seen.grid:
        return f"jobs on the grid were not looked for: {seen.grid}"
    return "and no job of one on the grid"


def _plain(cluster: ClusterInfo) -> dict[str, Any]:
    connection = cluster.entry.connection if cluster.entry else None
    return {
        "cluster": cluster.label,
        "name": cluster.name,
        "manager": cluster.state,
        "why": cluster.why,
        "host": connection.host if connection else None,
        "pid": connection.pid if connection else None,
        "started": connection.started if connection else None,
        "directories": [str(place) for place in cluster.directories],
        "status": cluster.status or None,
        "jobs": [
            {"id": job.id, "states": job.states, "submitted": job.submitted}
            for job in cluster.jobs
        ],
    }
