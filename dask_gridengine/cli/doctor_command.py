"""``dask gridengine doctor``: will a cluster work on this very site, and how?"""

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
    help="How nodes are started.  [default: the best there is]",
)
@click.option("--queue", help="As for a cluster, and so are the next ones.")
@click.option("--project")
@click.option("--resource-spec", help="As after qsub -l.")
@click.option("--parallel-environment")
@click.option("--cores", type=int, help="Slots of a node.")
@click.option("--memory", help="Of a node, as '4 GB'.")
@click.option("--memory-resource", help="Complex that books it, as h_vmem.")
@click.option("--walltime", help="As '02:00:00'.")
@click.option("--python", help="Python on the nodes.")
@click.option("--shared-directory", help="On a file system that the nodes see.")
@click.option("--interface", help="Network that the nodes reach, as ib0.")
@click.option("--nodes", default=2, show_default=True, help="Nodes of the probe.")
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
    **given: Any,
) -> None:
    """Find out whether a cluster will work here, and how.

    Looks for Grid Engine and asks it about queues, parallel environments, memory and
    limits; then has two nodes look back: at this host's addresses, the shared
    directory, their Python, their disks and clocks. Options not given are those of
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
            f"{profile} is there already; name another file, or move it away"
        )
    if nodes < 1 or timeout <= 0:
        raise click.UsageError("--nodes is at least 1, and --timeout above 0")
    try:
        from dask_gridengine.cli.doctor_session import run

        status = run(
            given, count=nodes, timeout=timeout, profile=profile, as_json=as_json
        )
    except (GridEngineError, OSError) as exc:
        click.echo(f"dask gridengine doctor: {exc}", err=True)
        status = 2
    sys.exit(status)
