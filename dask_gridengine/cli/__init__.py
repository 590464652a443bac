"""``dask gridengine ...``: joins the ``dask`` command through ``dask_cli``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dask_gridengine._version import __version__


@click.group()
@click.version_option(__version__, prog_name="dask-gridengine")
def gridengine() -> None:
    """Dask on Grid Engine, or on local processes where there is none."""


@gridengine.command()
@click.option("--jobs", default=4, show_default=True, help="Nodes to ask for.")
@click.option(
    "--launcher",
    type=click.Choice(["drmaa", "process"]),
    help="How nodes are started.  [default: the best there is]",
)
@click.option(
    "--timeline",
    type=click.Path(dir_okay=False, path_type=Path),
    default="gridengine-demo.html",
    show_default=True,
    help="Where to save a picture of the run, .html or .png.",
)
@click.option("--no-timeline", is_flag=True, help="Save none.")
def demo(jobs: int, launcher: str | None, timeline: Path, no_timeline: bool) -> None:
    """Analyse the flights of 2013 from New York on the nodes of a cluster.

    A dask.dataframe group-by, a dask.array computation and futures; then what ran
    where. On a grid the nodes are jobs, on a laptop they are processes.

    \b
    Example:
      dask gridengine demo --jobs 8
    """
    from dask_gridengine.cli.demo import run
    from dask_gridengine.errors import GridEngineError

    try:
        run(
            jobs=jobs,
            launcher=launcher,
            timeline=None if no_timeline else timeline,
        )
    except GridEngineError as exc:
        click.echo(f"dask gridengine demo: {exc}", err=True)
        sys.exit(1)


@gridengine.command()
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
def doctor(
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
    from dask_gridengine.errors import GridEngineError

    if profile is not None and profile.exists():
        raise click.UsageError(
            f"{profile} is there already; name another file, or move it away"
        )
    if nodes < 1 or timeout <= 0:
        raise click.UsageError("--nodes is at least 1, and --timeout above 0")
    try:
        from dask_gridengine.cli.doctor import run

        status = run(
            given, count=nodes, timeout=timeout, profile=profile, as_json=as_json
        )
    except (GridEngineError, OSError) as exc:
        click.echo(f"dask gridengine doctor: {exc}", err=True)
        status = 2
    sys.exit(status)
