"""``dask gridengine config``: each setting, and where it came from."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from dask_gridengine.cli.common import (
    parse_pairs,
    sentences,
    set_option,
    setting_keys,
)
from dask_gridengine.errors import OptionError


def _keys(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    found = setting_keys(context, parameter, incomplete)
    return [CompletionItem(item.value.rstrip("=")) for item in found]


@click.command("config", short_help="Show each setting, and where it came from.")
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=_keys)
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@set_option
@sentences
def command(
    keys: tuple[str, ...], changed: bool, as_json: bool, pairs: tuple[str, ...]
) -> None:
    """Show each setting, its value, and where that came from.

    From a file of Dask's configuration, a variable of the environment, -o, or the
    default. Secrets are hidden. Keys that are no settings are named, and so are values
    that make no sense; the exit status is 1 then.

    \b
    Examples:
      dask gridengine config
      dask gridengine config queue walltime
    """
    from dask_gridengine.cli.provenance import DEFAULT, settings, unknown
    from dask_gridengine.options import Options

    given = parse_pairs(pairs)
    found = settings({key.replace("_", "-"): value for key, value in given.items()})
    wanted = [key.replace("_", "-") for key in keys]
    if lost := sorted({*wanted} - {setting.key for setting in found}):
        raise click.UsageError(f"there is no setting {lost[0]!r}")
    found = [s for s in found if not wanted or s.key in wanted]
    found = [s for s in found if not changed or s.source != DEFAULT]
    if as_json:
        rows = [vars(setting) for setting in found]
        click.echo(json.dumps(rows, indent=2, default=str))
    else:
        _table(found)
    mistakes = [str(key) for key in unknown()]
    try:
        Options.resolve(given)
    except OptionError as exc:
        mistakes.append(str(exc))
    for mistake in mistakes:
        click.echo(f"dask gridengine config: {mistake}", err=True)
    if mistakes:
        sys.exit(1)


def _table(found: list[Any]) -> None:
    from dask_gridengine.cli.tables import print_table

    if not found:
        click.echo("nothing is changed: all settings have their defaults")
        return
    rows = [(setting.key, _written(setting.value), setting.source) for setting in found]
    print_table(("key", "value", "from"), rows)


def _written(value: Any) -> str:
    """As in YAML, in one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
