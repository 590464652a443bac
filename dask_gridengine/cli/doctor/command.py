"""``dask gridengine doctor``: its options and exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dask_gridengine.errors import GridEngineError


@click.command("doctor", short_help="Find out whether a cluster will work here.")
@click.option(
    "--launcher",
    type=click.Choice(["drmaa", "process"]),
    help="How nodes are started.  [default: as for a cluster]",
)
@click.option("--queue", help="Option of a cluster, as are the next ones.")
@click.option("--project")
@click.option("--resource-spec", help="As after qsub -l.")
@click.option("--parallel-environment")
@click.option("--cores", type=int, help="Slots of a node.")
@click.option("--memory", help="Of a node, as '4 GB'.")
@click.option("--memory-resource", help="Complex that reserves memory, as h_vmem.")
@click.option("--walltime", help="As '02:00:00'.")
@click.option("--python", help="Python on the nodes.")
@click.option("--shared-directory", help="On a file system that the nodes see.")
@click.option("--interface", help="Network that the nodes reach, as ib0.")
@click.option("--nodes", default=2, show_default=True, help="Nodes to start.")
@click.option(
    "--timeout", default=300.0, show_default=True, help="Seconds these may queue."
)
@click.option(
    "--profile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the settings this site needs into a new file.",
)
@click.option("--json", "as_json", is_flag=True, help="One object for programs.")
def command(
    nodes: int,
    timeout: float,
    profile: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find out whether a cluster will work here, and how.

    Finds Grid Engine and checks its queues, parallel environments, memory and limits.
    Then starts a cluster of two nodes and checks whether they reach this host, the
    shared directory, their Python, disks and clocks. Options not given are those of
    Dask's configuration.

    Exit status: 0 if nothing failed, 1 if something did, 2 for a wrong option, 130
    after Ctrl-C.

    \b
    Examples:
      dask gridengine doctor
      dask gridengine doctor --queue long.q --profile ~/.config/dask/gridengine.yaml
    """
    if profile is not None and profile.exists():
        raise click.UsageError(
            f"{profile} already exists; name another file, or move it away"
        )
    if nodes < 1 or timeout <= 0:
        raise click.UsageError("--nodes must be at least 1, and --timeout above 0")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        from dask_gridengine.cli.doctor.examination import run

        status = run(given, count=nodes, timeout=timeout, profile=profile, json=as_json)
    except (GridEngineError, OSError) as exc:
        click.echo(f"dask gridengine doctor: {exc}", err=True)
        status = 2
    sys.exit(status)
