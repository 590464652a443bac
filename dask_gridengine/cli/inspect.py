"""``dask gridengine explain`` and ``logs``: what nodes are doing and have written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from dask_gridengine.cli.client import send_request
from dask_gridengine.cli.discovery import ALIVE, ClusterInfo, discover_selected
from dask_gridengine.cli.ps import remark
from dask_gridengine.errors import GridEngineError, OptionError
from dask_gridengine.formatting import format_counts

LOGS_SECONDS = 30.0  # for a reply: the cluster gets the log of each worker first
MAX_LOGS = 20  # printed of a cluster that does not answer, the newest


def print_explanations(shared: Path, cluster: str | None, node: str | None) -> None:
    """Print what each cluster reports about its nodes, or about one of them."""
    clusters = discover_selected(shared, cluster)
    printed, errors = False, []
    for info in clusters:
        try:
            text = _explain(info, node)
        except GridEngineError as exc:
            errors.append(str(exc))
            continue
        if len(clusters) > 1 and text:
            click.secho(f"{info.label}:", bold=True)
        if text:
            click.echo(text)
            printed = True
    if not printed:
        raise OptionError("\n".join(errors) or f"no cluster has a node {node!r}")


def _explain(info: ClusterInfo, node: str | None) -> str:
    if info.state == ALIVE and info.connection:
        return str(send_request(info.connection, "explain", node or "")["text"])
    return _explain_without_manager(info, node)


def _explain_without_manager(info: ClusterInfo, node: str | None) -> str:
    """Describe what is left of a cluster; "" if nothing is left of that node."""
    lines = []
    for job in info.jobs:
        if node is None or re.split("[._]", node)[0] == job.id:
            states = format_counts(job.states) or "no node in the grid's list"
            lines.append(f"job {job.id}, submitted {job.submitted}: {states}")
    if logs := _log_files(info, node):
        lines.append(f"logs of its nodes: {logs[0].parent}")
    if node is not None and not lines:
        return ""
    return "\n".join([f"its manager is {info.state}: {remark(info)}", *lines])


def print_logs(shared: Path, cluster: str | None, node: str | None, lines: int) -> None:
    """Print the last lines of each log of each cluster, or of one node."""
    clusters = discover_selected(shared, cluster)
    printed, errors = False, []
    for info in clusters:
        try:
            for source, text in _logs(info, node):
                prefix = f"{info.label}: " if len(clusters) > 1 else ""
                click.secho(f"==> {prefix}{source} <==", bold=True)
                last = text.rstrip("\n").splitlines()[-lines:] if lines else []
                click.echo("\n".join(last) or "(empty)")
                printed = True
        except GridEngineError as exc:
            errors.append(str(exc))
    if not printed:
        raise OptionError("\n".join(errors) or "no logs found")


def _logs(info: ClusterInfo, node: str | None) -> Iterator[tuple[str, str]]:
    if info.state == ALIVE and info.connection:
        reply = send_request(info.connection, "logs", node or "", timeout=LOGS_SECONDS)
        yield from reply["logs"].items()
        if reply["logs"] or node is None:
            return
    # A node without a worker, or a cluster that does not answer.
    for path in _log_files(info, node):
        yield str(path), path.read_text(errors="replace")


def _log_files(info: ClusterInfo, node: str | None) -> list[Path]:
    """List the logs in a cluster's directories, the newest last."""
    found = [
        path
        for directory in info.directories
        for path in (directory / "logs").glob("*.log")
        if node is None or _is_of(path.stem, node)
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime)[-MAX_LOGS:]


def _is_of(log: str, node: str) -> bool:
    """Whether a log is that of a node, or of a node of a job: "7.1", "7_1" or "7"."""
    name, wanted = (text.replace("_", ".") for text in (log, node))
    return wanted in (name, name.partition(".")[0])
