"""Options and shell completion that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
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


shared_directory_option = click.option(
    "--shared-directory",
    "shared",
    type=click.Path(file_okay=False, path_type=Path),
    callback=lambda context, parameter, value: shared_directory(value),
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
launcher_option = click.option(
    "--launcher",
    type=click.Choice(["drmaa", "process"]),
    help="Start nodes as jobs or as local processes."
    "  [default: jobs if a grid is set up]",
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
    except (OptionError, TypeError) as exc:
        raise click.UsageError(str(exc)) from exc
    return settings


def _entries(context: click.Context) -> list[ClusterEntry]:
    return read_entries(context.params.get("shared") or shared_directory())
