"""``dask gridengine ps``: list the clusters with their nodes by state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dask_gridengine.cli.discovery import (
    GONE,
    NO_GRID,
    UNKNOWN,
    ClusterInfo,
    discover,
)
from dask_gridengine.cli.formatting import format_process, print_table
from dask_gridengine.formatting import format_counts

COLUMNS = ("cluster", "manager", "on", "age", "requested", "nodes", "tasks")


def list_clusters(shared: Path, *, as_json: bool) -> None:
    """Print a table of all clusters, or JSON."""
    found = discover(shared)
    if as_json:
        rows = [_json_row(cluster) for cluster in found.clusters]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found.clusters:
        note = found.grid_note or ", and no nodes on the grid"
        click.echo(f"no clusters in {shared}{note}")
        return
    print_table(COLUMNS, [_row(cluster) for cluster in found.clusters])
    for cluster in found.clusters:
        if cluster.why:
            click.echo(f"{cluster.label}: {remark(cluster)}")
    if found.grid_problem not in ("", NO_GRID):
        click.echo(f"Did not search the grid: {found.grid_problem}", err=True)


def format_nodes(cluster: ClusterInfo) -> str:
    """Format nodes by state, as the cluster reports them, or else as the grid does."""
    if cluster.status:
        return format_counts(cluster.status["states"]) or "none"
    if not cluster.jobs:
        return "-"
    return format_counts(cluster.grid_states) or "none"


def format_jobs(cluster: ClusterInfo) -> str:
    """List the job ids of a cluster's arrays."""
    return ", ".join(job.id for job in cluster.jobs)


def remark(cluster: ClusterInfo) -> str:
    """Explain why a cluster does not answer, and what to type."""
    if cluster.state == GONE:
        return f"{cluster.why}. To clean up: dask gridengine kill {cluster.label}"
    if cluster.state == UNKNOWN:
        return (
            f"{cluster.why}. To delete its jobs if it does not run any more:"
            f" dask gridengine kill {cluster.label}"
        )
    return cluster.why


def format_requested(status: dict[str, Any]) -> str:
    """Format how many nodes a cluster requests."""
    adaptive = f" (adaptive, {status['adaptive']})" if status["adaptive"] else ""
    return f"{status['wanted']}{adaptive}"


def _row(cluster: ClusterInfo) -> tuple[str, ...]:
    status = cluster.status
    jobs = "" if status or not cluster.jobs else f" (job {format_jobs(cluster)})"
    return (
        cluster.label,
        cluster.state,
        *format_process(cluster.connection),
        format_requested(status) if status else "-",
        f"{format_nodes(cluster)}{jobs}",
        format_counts(status.get("tasks", {})) or "-",
    )


def _json_row(cluster: ClusterInfo) -> dict[str, Any]:
    connection = cluster.connection
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
