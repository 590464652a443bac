"""``dask gridengine up``: a cluster for the life of the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dask_gridengine.cli.common import parse_pairs, sentences, set_option


@click.command("up", short_help="Have a cluster, and look at it; Ctrl-C ends it.")
@click.option("--jobs", type=click.IntRange(min=0), help="Nodes to ask for.")
@click.option(
    "--adapt",
    nargs=2,
    type=click.IntRange(min=0),
    metavar="MIN MAX",
    help="Let the number of nodes follow the work, between these.",
)
@click.option(
    "--scheduler-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Write F for Client(scheduler_file=F), and F.pem, its TLS identity.",
)
@click.option("--name", help="Of the cluster and its jobs.  [default: one made up]")
@click.option(
    "--launcher",
    type=click.Choice(["drmaa", "process"]),
    help="How nodes are started.  [default: the best there is]",
)
@set_option
@sentences
def command(
    jobs: int | None,
    adapt: tuple[int, int] | None,
    scheduler_file: Path | None,
    name: str | None,
    launcher: str | None,
    pairs: tuple[str, ...],
) -> None:
    """Have a cluster for as long as this command runs, and look at it.

    Ctrl-C ends it: tasks that run may finish; a second Ctrl-C ends it at once. So do
    SIGTERM and SIGHUP. Exit status: 0 when it was ended gently, 1 when it could not
    start or lost tasks, 128 + the signal's number when it was ended at once.

    \b
    Examples:
      dask gridengine up --jobs 20 --name mine
      dask gridengine up --adapt 0 50 --scheduler-file ~/scheduler.json
    """
    if jobs is not None and adapt is not None:
        raise click.UsageError("--jobs and --adapt: give one")
    if adapt is not None and adapt[0] > adapt[1]:
        raise click.UsageError(f"--adapt {adapt[0]} {adapt[1]}: MIN is above MAX")
    options: dict[str, Any] = parse_pairs(pairs)
    told = {"jobs": jobs, "name": name, "launcher": launcher}
    options.update({key: value for key, value in told.items() if value is not None})

    from dask_gridengine.cli.up_session import run
    from dask_gridengine.options import Options

    if adapt is None and jobs is None and not _asked(Options.resolve(options)):
        raise click.UsageError("no nodes are asked for: --jobs N or --adapt MIN MAX")
    sys.exit(run(options, adapt=adapt, scheduler_file=scheduler_file))


def _asked(options: Any) -> int:
    """How many nodes the configuration asks for by itself, of all pools."""
    pools = options.pools.values()
    return sum(pool.jobs for pool in pools) if pools else int(options.jobs)
