"""What several commands share: options, and how errors are told. Light."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from dask_gridengine.cli.connection_files import (
    Entry,
    entries,
    labels,
    shared_directory,
)
from dask_gridengine.errors import GridEngineError

Command = TypeVar("Command", bound=Callable[..., Any])


def sentences(command: Command) -> Command:
    """Errors of ours end a command with their sentence and exit status 1."""

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except GridEngineError as exc:
            context = click.get_current_context(silent=True)
            name = context.command_path if context else "dask gridengine"
            click.echo(f"{name}: {exc}", err=True)
            sys.exit(1)

    return told  # type: ignore[return-value]


def cluster_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """For the shell: clusters there are, by the names they can be called by."""
    found = _entries(context)
    called = labels({entry.directory: entry.name for entry in found})
    return [
        CompletionItem(called[entry.directory], help=f"on {entry.connection.host}")
        for entry in found
        if called[entry.directory].startswith(incomplete)
    ]


def job_ids(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """For the shell: nodes there are, which each have a log, by their job's id."""
    return [
        CompletionItem(log.stem, help=entry.name)
        for entry in _entries(context)
        for directory in entry.directories
        for log in sorted((directory / "logs").glob("*.log"))
        if log.stem.startswith(incomplete)
    ]


def shared_option(command: Command) -> Command:
    """``--shared-directory``: where to look for clusters."""
    return click.option(
        "--shared-directory",
        "shared",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where clusters put their files.  [default: as configured]",
    )(command)


def cluster_option(command: Command) -> Command:
    """``--cluster``: which one, of several."""
    return click.option(
        "--cluster",
        shell_complete=cluster_names,
        help="Of this cluster alone, by its name.  [default: all]",
    )(command)


def set_option(command: Command) -> Command:
    """``-o KEY=VALUE``: any setting, read as the environment is."""
    return click.option(
        "-o",
        "--option",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=setting_keys,
        help="Any setting that `dask gridengine config` shows, e.g. -o queue=long.q",
    )(command)


def setting_keys(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """For the shell: settings, with the ``=`` that follows."""
    import yaml

    from dask_gridengine.cli.connection_files import SETTINGS

    keys = yaml.safe_load(SETTINGS.read_text())["gridengine"]
    return [CompletionItem(f"{key}=") for key in keys if key.startswith(incomplete)]


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` as keyword arguments of `GridEngineCluster`.

    Raises
    ------
    click.UsageError
        If one is none, or there is no such setting.
    """
    import dask.config

    from dask_gridengine.errors import OptionError
    from dask_gridengine.options import Options
    from dask_gridengine.unknown_options import refuse_unknown

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"-o {pair}: write it as KEY=VALUE")
        found[key.strip().replace("-", "_")] = dask.config.interpret_value(value)
    try:
        refuse_unknown(found, Options.names())
    except (OptionError, TypeError) as exc:
        hint = str(exc).replace(
            "GridEngineCluster has no option", "there is no setting"
        )
        raise click.UsageError(hint) from exc
    return found


def _entries(context: click.Context) -> list[Entry]:
    return entries(shared_directory(context.params.get("shared")))
