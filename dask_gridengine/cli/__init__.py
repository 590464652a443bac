"""``dask gridengine ...``: joins the ``dask`` command through ``dask_cli``.

Each command has a module, which is light to import: ``--help`` and shell completion
import them all. What they need to do their work they import when they do it.
"""

from __future__ import annotations

from pathlib import Path

import click

from dask_gridengine._version import __version__
from dask_gridengine.cli import config, explain, kill, logs, ps, up
from dask_gridengine.cli.common import sentences
from dask_gridengine.cli.doctor import command as doctor


@click.group()
@click.version_option(__version__, prog_name="dask-gridengine")
def gridengine() -> None:
    """Dask on Grid Engine, or on local processes where there is none."""


for module in (doctor, up, ps, explain, logs, kill, config):
    gridengine.add_command(module.command)


@gridengine.command(short_help="Analyse real data on the nodes of a cluster.")
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
    help="Where to save a picture of the run, as .html.",
)
@click.option("--no-timeline", is_flag=True, help="Save none.")
@sentences
def demo(jobs: int, launcher: str | None, timeline: Path, no_timeline: bool) -> None:
    """Analyse the flights of 2013 from New York on the nodes of a cluster.

    A dask.dataframe group-by, a dask.array computation and futures; then what ran
    where. On a grid the nodes are jobs, on a laptop they are processes.

    \b
    Example:
      dask gridengine demo --jobs 8
    """
    from dask_gridengine.cli.demo import run

    run(jobs=jobs, launcher=launcher, timeline=None if no_timeline else timeline)
