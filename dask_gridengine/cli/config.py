"""``dask gridengine config``: show each setting and where it was set.

Dask merges its files and the environment when it is imported and does not record which
of them has set a key. So this module reads them again, in the same order.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
import dask.config

from dask_gridengine.cli.formatting import print_table
from dask_gridengine.dask_config import DEFAULTS, SECTION, configured
from dask_gridengine.errors import OptionError, with_hint
from dask_gridengine.options import Options
from dask_gridengine.unknown_options import advice_for_key, unknown_keys

DEFAULT, ARGUMENT = "default", "argument"
HIDDEN = "(hidden)"

#: Keys whose values may be passwords or the like.
_SECRET = re.compile(r"pass|secret|token|credential|private|api.?key", re.IGNORECASE)
#: User and password in a URL.
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key under ``gridengine:``."""

    key: str  # as in YAML, e.g. "max-jobs"
    value: Any  # secrets are hidden
    source: str  # `DEFAULT`, `ARGUMENT`, a file, or a variable as "$NAME"


def print_settings(
    keys: Collection[str], given: Mapping[str, Any], *, changed: bool, as_json: bool
) -> int:
    """Print the settings and what is wrong with them; returns the exit status."""
    selected = [key.replace("_", "-") for key in keys] or list(DEFAULTS[SECTION])
    for key in selected:
        if key not in DEFAULTS[SECTION]:
            advice = advice_for_key(key)
            raise click.UsageError(with_hint(f"there is no option {key!r}", advice))
    known = {setting.key: setting for setting in _settings(given)}
    settings = [known[key] for key in dict.fromkeys(selected)]
    if changed:
        settings = [s for s in settings if s.source != DEFAULT]
    if as_json:
        click.echo(json.dumps([vars(s) for s in settings], indent=2, default=str))
    elif settings:
        rows = [(s.key, _one_line(s.value), s.source) for s in settings]
        print_table(("key", "value", "from"), rows)
    else:
        click.echo("all settings have their defaults")
    mistakes = list(_mistakes(given))
    for mistake in mistakes:
        click.echo(f"Error: {mistake}", err=True)
    return 1 if mistakes else 0


def _settings(given: Mapping[str, Any]) -> Iterator[Setting]:
    """List each setting with its effective value and the last source that set it."""
    arguments = {k.replace("_", "-"): v for k, v in given.items() if v is not None}
    sections = [*_configured_sections(), (ARGUMENT, arguments)]
    for key in DEFAULTS[SECTION]:
        sources = [source for source, section in sections if key in section]
        value = _hide(key, configured(key, arguments.get(key)))
        yield Setting(key=key, value=value, source=[DEFAULT, *sources][-1])


def _mistakes(given: Mapping[str, Any]) -> Iterator[str]:
    wrong = [
        with_hint(f"{source}: {SECTION}.{key} is not an option", advice_for_key(key))
        for source, section in _configured_sections()
        for key in unknown_keys(section)
    ]
    if wrong:
        yield from wrong
        return
    try:
        Options.resolve(given)
    except OptionError as exc:
        yield str(exc)


def _configured_sections() -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the section of each file and variable; a later one has precedence."""
    paths = dask.config.paths
    for file, config in dask.config.collect_yaml(paths, return_paths=True):
        yield str(file), _section(config)
    for name, value in os.environ.items():
        if name.startswith("DASK_"):
            yield f"${name}", _section(dask.config.collect_env({name: value}))


def _section(config: Any) -> dict[str, Any]:
    section = config.get(SECTION) if isinstance(config, Mapping) else None
    if not isinstance(section, Mapping):
        return {}
    return {str(key).replace("_", "-"): value for key, value in section.items()}


def _hide(key: str, value: Any) -> Any:
    """Replace secrets in a setting's value."""
    if isinstance(value, Mapping):
        return {
            name: HIDDEN
            if key == "environment" or _SECRET.search(str(name))
            else _hide(str(name), part)  # a pool has settings of its own
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hide(key, part) for part in value]
    return _USERINFO.sub(HIDDEN, value) if isinstance(value, str) else value


def _one_line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
