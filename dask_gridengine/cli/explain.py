"""``dask gridengine explain``: what became of the nodes, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from dask_gridengine.cli.common import (
    cluster_option,
    job_ids,
    sentences,
    shared_option,
)
from dask_gridengine.cli.connection_files import shared_directory
from dask_gridengine.errors import GridEngineError, OptionError


@click.command("explain", short_help="Say what nodes are at, and why others ended.")
@click.argument("node", metavar="[ID]", required=False, shell_complete=job_ids)
@cluster_option
@shared_option
@sentences
def command(node: str | None, cluster: str | None, shared: Path | None) -> None:
    """Say what the nodes are at, why others ended, and what to type next.

    ID is a job (123.7) or a worker (ge-3), for all that is known of that one.

    \b
    Examples:
      dask gridengine explain
      dask gridengine explain 123.7
    """
    from dask_gridengine.cli.discovery import ALIVE
    from dask_gridengine.cli.selection import chosen, told_of

    found = chosen(shared_directory(shared), cluster)
    answers, refusals = [], []
    for seen in found:
        if seen.state != ALIVE:
            if text := told_of(seen, node):
                answers.append((seen.label, text))
            continue
        try:
            answers.append((seen.label, _ask(seen, node)))
        except GridEngineError as exc:
            refusals.append(str(exc))
    for label, text in answers:
        if len(found) > 1:
            click.echo(click.style(f"{label}:", bold=True))
        click.echo(text)
    if not answers:
        raise OptionError("\n".join(refusals) or f"nobody knows of {node!r}")


def _ask(seen: object, node: str | None) -> str:
    from dask_gridengine.cli.client import ask_cluster
    from dask_gridengine.cli.discovery import ClusterInfo

    assert isinstance(seen, ClusterInfo)
    assert seen.entry is not None
    return str(ask_cluster(seen.entry.connection, "explain", node or "")["text"])
