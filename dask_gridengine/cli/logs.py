"""``dask gridengine logs``: of the cluster, its workers, and nodes that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_gridengine.cli.common import (
    cluster_option,
    job_ids,
    sentences,
    shared_option,
)
from dask_gridengine.cli.connection_files import shared_directory
from dask_gridengine.errors import GridEngineError, OptionError

if TYPE_CHECKING:
    from dask_gridengine.cli.discovery import ClusterInfo

PATIENCE = 30.0  # seconds: each worker is asked for its log


@click.command("logs", short_help="Print logs of a cluster and its nodes.")
@click.argument("node", metavar="[ID]", required=False, shell_complete=job_ids)
@click.option(
    "--lines", default=20, show_default=True, help="The last so many of each."
)
@cluster_option
@shared_option
@sentences
def command(
    node: str | None, lines: int, cluster: str | None, shared: Path | None
) -> None:
    """Print logs: of the cluster, its scheduler, its workers, nodes that are gone.

    ID is a job (123.7) or a worker (ge-3), for the log of that one alone. Of a cluster
    whose manager is gone, what its nodes have written is printed.

    \b
    Examples:
      dask gridengine logs
      dask gridengine logs 123.7 --lines 100
    """
    from dask_gridengine.cli.selection import chosen

    found = chosen(shared_directory(shared), cluster)
    printed, refusals = 0, []
    for seen in found:
        try:
            for who, text in _logs(seen, node):
                of = f"{seen.label}: {who}" if len(found) > 1 else who
                click.echo(click.style(f"==> {of} <==", bold=True))
                last = text.rstrip("\n").splitlines()[-lines:] if lines else []
                click.echo("\n".join(last) or "(nothing)")
                printed += 1
        except GridEngineError as exc:
            refusals.append(str(exc))
    if not printed:
        raise OptionError("\n".join(refusals) or "there are no logs")


def _logs(seen: ClusterInfo, node: str | None) -> Iterator[tuple[str, str]]:
    from dask_gridengine.cli.client import ask_cluster
    from dask_gridengine.cli.discovery import ALIVE
    from dask_gridengine.cli.selection import log_files

    if seen.state == ALIVE and seen.entry is not None:
        about, connection = node or "", seen.entry.connection
        told = ask_cluster(connection, "logs", about, seconds=PATIENCE)["logs"]
        yield from told.items()
        if told or node is None:
            return
    # Of a node that has no worker, or whose cluster cannot be asked, its own words.
    for path in log_files(seen, node):
        yield str(path), path.read_text(errors="replace")
