"""Options and shell completion that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dask_gridengine.cli.connection_files import (
    ClusterEntry,
    read_entries,
    shared_directory,
    unique_labels,
)
from dask_gridengine.errors import OptionError


def complete_cluster(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a cluster that has a connection file."""
    entries = _entries(context)
    return [
        CompletionItem(label, help=f"on {entry.connection.host}")
        for label, entry in zip(unique_labels(entries), entries, strict=True)
        if label.startswith(incomplete)
    ]


def complete_job(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the job id of a node that has a log."""
    return [
        CompletionItem(log.stem, help=entry.name)
        for entry in _entries(context)
        for directory in entry.directories
        for log in sorted((directory / "logs").glob("*.log"))
        if log.stem.startswith(incomplete)
    ]


def complete_setting(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the key of a setting; with ``=`` behind it for an option."""
    from dask_gridengine.dask_config import DEFAULTS, SECTION

    end = "=" if isinstance(parameter, click.Option) else ""
    keys = DEFAULTS[SECTION]
    return [CompletionItem(f"{key}{end}") for key in keys if key.startswith(incomplete)]


def _shared_directory(
    context: click.Context, parameter: click.Parameter, value: Path | None
) -> Path:
    """Return the directory; a misspelt setting must not silently lead elsewhere."""
    if not context.resilient_parsing:  # shell completion shows no errors
        from dask_gridengine.unknown_options import refuse_unknown_keys

        refuse_unknown_keys()
    return shared_directory(value)


shared_directory_option = click.option(
    "--shared-directory",
    "shared",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_shared_directory,
    help="Directory of the clusters' connection files.  [default: the setting]",
)
cluster_option = click.option(
    "--cluster",
    shell_complete=complete_cluster,
    help="Name of one cluster.  [default: all clusters]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)
settings_option = click.option(
    "-o",
    "--option",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="Any setting that `dask gridengine config` shows, e.g. -o queue=long.q",
)


#: Options of a cluster that are flags of their own; -o has all others.
_CLUSTER_FLAGS: dict[str, dict[str, Any]] = {
    "launcher": {
        "type": click.Choice(["drmaa", "process"]),
        "help": "Start nodes as jobs or as local processes."
        "  [default: jobs if a grid is set up]",
    },
    "queue": {"help": "As after qsub -q."},
    "project": {"help": "As after qsub -P."},
    "resource_spec": {"help": "As after qsub -l."},
    "parallel_environment": {"help": "For --cores above 1, e.g. smp."},
    "cores": {"type": int, "help": "Slots of a node."},
    "memory": {"help": "Of a node, e.g. '4 GB'."},
    "memory_resource": {"help": "Complex that reserves the memory, e.g. h_vmem."},
    "walltime": {"help": "Of a node, e.g. '02:00:00'."},
    "python": {"help": "Python on the nodes."},
    "shared_directory": {"help": "On a file system that the nodes see."},
    "interface": {"help": "Network that the nodes reach, e.g. ib0."},
}


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a cluster; the command gets them as a dict, `options`.

    They are those that were given, and are valid.
    """

    @functools.wraps(command)
    def with_options(*, settings: tuple[str, ...], **arguments: Any) -> None:
        flags = {name: arguments.pop(name) for name in _CLUSTER_FLAGS}
        given = {name: value for name, value in flags.items() if value is not None}
        options = {**parse_settings(settings), **given}
        from dask_gridengine.options import Options

        try:
            Options.resolve(options)
        except OptionError as exc:
            raise click.UsageError(str(exc)) from exc
        command(options=options, **arguments)

    found = settings_option(with_options)
    for name, flag in reversed(_CLUSTER_FLAGS.items()):
        found = click.option(f"--{name.replace('_', '-')}", **flag)(found)
    return found


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` into keyword arguments of `GridEngineCluster`."""
    import dask.config

    from dask_gridengine.options import Options
    from dask_gridengine.unknown_options import refuse_unknown

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"-o {pair}: expected KEY=VALUE")
        settings[key.strip().replace("-", "_")] = dask.config.interpret_value(value)
    try:
        refuse_unknown(settings, Options.names(), "dask gridengine")
    except OptionError as exc:
        raise click.UsageError(str(exc)) from exc
    return settings


def _entries(context: click.Context) -> list[ClusterEntry]:
    return read_entries(context.params.get("shared") or shared_directory())
