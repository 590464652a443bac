"""``dask gridengine kill``: close clusters and remove what dead ones left.

Touches only what `discovery` has found: clusters whose connection file this user owns,
and jobs of this user that carry the marks of this package.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from dask_gridengine.batch import batch_system
from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.batch.commands import Runner, run_command
from dask_gridengine.cli.client import send_request
from dask_gridengine.cli.connection_files import ClusterEntry, select
from dask_gridengine.cli.discovery import (
    ALIVE,
    GONE,
    ClusterInfo,
    describe_failure,
    discover,
)
from dask_gridengine.cli.formatting import format_process, print_table
from dask_gridengine.cli.ps import format_jobs, format_nodes
from dask_gridengine.errors import GridEngineError, LauncherError
from dask_gridengine.formatting import format_duration
from dask_gridengine.launchers.child import remove_shared_directory

COLUMNS = ("cluster", "manager", "on", "age", "jobs", "nodes")
POLL_SECONDS = 0.3
CLOSE_SECONDS = 120.0  # for a cluster to finish running tasks and close
DELETE_SECONDS = 45.0  # for deleted jobs to leave the list: Slurm kills after 30 s


def kill_clusters(
    shared: Path, names: Sequence[str], *, everything: bool, yes: bool, now: bool
) -> None:
    """List the clusters to end, ask for confirmation, and end them."""
    found = discover(shared)
    if names:
        selected = select(found.clusters, names)
    else:
        selected = [c for c in found.clusters if everything or c.state == GONE]
    if not selected:
        click.echo(f"nothing to end: no cluster in {shared} is gone{found.grid_note}")
        if found.clusters:
            _print(found.clusters)
            click.echo("To end a cluster that is not gone: dask gridengine kill NAME")
        return
    _print(selected)
    if not yes:
        click.confirm("End this?" if len(selected) == 1 else "End these?", abort=True)
    if not all([_end_and_print(cluster, now=now) for cluster in selected]):
        sys.exit(1)


def _print(clusters: Sequence[ClusterInfo]) -> None:
    print_table(COLUMNS, [_row(cluster) for cluster in clusters])
    for cluster in clusters:
        if cluster.why:
            click.echo(f"{cluster.label}: {cluster.why}")


def _row(cluster: ClusterInfo) -> tuple[str, ...]:
    jobs, nodes = format_jobs(cluster) or "-", format_nodes(cluster)
    process = format_process(cluster.connection)
    return cluster.label, cluster.state, *process, jobs, nodes


def _end_and_print(cluster: ClusterInfo, *, now: bool) -> bool:
    try:
        for step in end_cluster(cluster, now=now):
            click.echo(step)
    except GridEngineError as exc:
        click.echo(f"Error: {exc}", err=True)
        return False
    return True


def end_cluster(
    cluster: ClusterInfo,
    *,
    now: bool = False,
    timeout: float = CLOSE_SECONDS,
    run: Runner = run_command,
) -> Iterator[str]:
    """End one cluster; yields a sentence for each thing that was done.

    Raises
    ------
    LauncherError
        If jobs cannot be listed or deleted, or the cluster is not closed in `timeout`
        seconds. The files that lead to the jobs stay then.
    """
    if cluster.state == ALIVE and cluster.entry:
        command = "close" if now else "drain"
        yield from _close(cluster.label, cluster.entry, command, timeout)
        return
    if cluster.jobs_unknown:
        raise _jobs_unknown(cluster)
    if cluster.jobs:
        yield from _delete_jobs(cluster, run)
    if cluster.state == GONE:
        yield from _remove_files(cluster)
    elif cluster.directories:
        paths = shlex.join(map(str, cluster.directories))
        yield (
            f"{cluster.label}: did not remove {paths}, because its manager may still"
            f" run: {cluster.why}. If it does not run: rm -r {paths}"
        )


def _close(
    label: str, entry: ClusterEntry, command: str, timeout: float
) -> Iterator[str]:
    """Have a cluster close itself; it removes its connection files at the end."""
    host = entry.connection.host
    try:
        send_request(entry.connection, command)
    except GridEngineError as exc:
        raise LauncherError(f"could not close {label}: {exc}") from exc
    after = " after its running tasks" if command == "drain" else ""
    yield f"{label}: its manager on {host} closes it{after}"
    deadline = time.monotonic() + timeout
    while entry.open:
        if time.monotonic() > deadline:
            raise LauncherError(
                f"{label} is not closed after {format_duration(timeout)}",
                hint=f"dask gridengine explain --cluster {label}",
            )
        time.sleep(POLL_SECONDS)
    yield f"{label}: closed"


def _jobs_unknown(cluster: ClusterInfo) -> LauncherError:
    """Nodes of a cluster whose process has ended may still queue, and run."""
    paths = shlex.join(map(str, cluster.directories))
    return LauncherError(
        f"cannot tell which jobs {cluster.label} has left: {cluster.jobs_unknown}",
        hint="run this where the grid's commands work; if the grid has no job named"
        f" {cluster.name}: rm -r {paths}",
    )


def _delete_jobs(cluster: ClusterInfo, run: Runner) -> Iterator[str]:
    ids = [job.id for job in cluster.jobs]
    system = batch_system(cluster.jobs[0].system)
    try:
        system.delete_jobs(ids, run)
    except (OSError, subprocess.SubprocessError) as exc:
        raise LauncherError(
            f"could not delete jobs {', '.join(ids)}: {describe_failure(exc)}",
            hint=f"{system.delete_command} {' '.join(ids)}",
        ) from exc
    yield f"{cluster.label}: deleted job {', '.join(ids)}"
    deadline = time.monotonic() + DELETE_SECONDS
    while left := _still_listed(ids, system, run):
        if time.monotonic() > deadline:
            raise LauncherError(
                f"job {', '.join(left)} of {cluster.label} is still in the grid's list"
                f" after {DELETE_SECONDS:g} s",
                hint=f"try again later; {system.undeletable}",
            )
        time.sleep(POLL_SECONDS)


def _still_listed(
    ids: Sequence[str], system: BatchSystem, run: Runner
) -> Sequence[str]:
    try:
        listed = {job.id for job in system.marked_jobs(run)}
    except (OSError, subprocess.SubprocessError):
        return ids
    return [job for job in ids if job in listed]


def _remove_files(cluster: ClusterInfo) -> Iterator[str]:
    for directory in cluster.directories:
        existed = directory.exists()
        remove_shared_directory(directory)
        if existed and not directory.exists():
            yield f"{cluster.label}: removed {directory}"
