"""Which clusters a command is about, and what can be said of one that is gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dask_gridengine.cli.discovery import ClusterInfo, look
from dask_gridengine.cli.ps import remark
from dask_gridengine.cli.tables import format_answer
from dask_gridengine.errors import OptionError

LOGS_SHOWN = 20  # of a cluster that is gone, the newest


def named(clusters: Iterable[ClusterInfo], asked: Iterable[str]) -> list[ClusterInfo]:
    """Those that are called so.

    Raises
    ------
    OptionError
        If a name is nobody's.
    """
    clusters, found = list(clusters), []
    for name in asked:
        those = [
            seen
            for seen in clusters
            if name in (seen.label, seen.name, *map(str, seen.directories))
        ]
        if not those:
            there = ", ".join(seen.label for seen in clusters) or "none"
            raise OptionError(f"no cluster {name!r}; there are: {there}")
        found += [seen for seen in those if seen not in found]
    return found


def chosen(shared: Path, cluster: str | None) -> list[ClusterInfo]:
    """The cluster asked for, or all there are.

    Raises
    ------
    OptionError
        If there is none.
    """
    seen = look(shared)
    if cluster is not None:
        return named(seen.clusters, [cluster])
    if not seen.clusters:
        grid = f" (and on the grid: {seen.grid})" if seen.grid else ""
        raise OptionError(
            f"no cluster of yours: none in {shared}{grid}\n"
            "  what to do: dask gridengine up --jobs 4 starts one"
        )
    return list(seen.clusters)


def told_of(seen: ClusterInfo, node: str | None) -> str:
    """What is known without its manager; "" if nothing is of that node."""
    lines = [f"its manager is {seen.state}: {remark(seen)}"]
    for job in seen.jobs:
        if node is None or node.partition(".")[0] == job.id:
            states = format_answer(job.states) or "no node in the grid's list"
            lines.append(f"job {job.id}, submitted {job.submitted}: {states}")
    logs = log_files(seen, node)
    if logs:
        lines.append(f"logs of its nodes: {logs[0].parent}")
    if node is not None and len(lines) == 1:
        return ""
    return "\n".join(lines)


def log_files(seen: ClusterInfo, node: str | None) -> list[Path]:
    """Logs of its nodes that are in its directory, the oldest first."""
    found = [
        path
        for directory in seen.directories
        for path in (directory / "logs").glob("*.log")
        if node is None or node in (path.stem, path.stem.partition(".")[0])
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime)[-LOGS_SHOWN:]
