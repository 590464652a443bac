"""Where each setting has its value from: Dask's configuration, taken apart again.

Dask merges its files and the environment when it is imported, and keeps no trace. So
they are read once more, one by one and in the same order, and each is asked.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dask.config

from dask_gridengine.option_defaults import DEFAULTS, SECTION, configured

DEFAULT, ARGUMENT, ELSEWHERE = "default", "argument", "set in this process"
HIDDEN = "(hidden)"
OTHERS = {"map"}  # read by `gridengine.map`, which stands on this package

#: Settings whose every value is hidden: what they are for is secrets.
_HIDES_VALUES = {"environment"}
#: Keys, within settings that hold several, whose value is hidden.
_SECRET = re.compile(r"pass|secret|token|credential|private|api.?key", re.IGNORECASE)
#: Of URLs, what is between the scheme and the host.
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key under ``gridengine:``."""

    key: str  # as in YAML, e.g. "max-jobs"
    value: Any  # secrets are hidden
    source: str  # `DEFAULT`, `ARGUMENT`, a file, a variable; several of a mapping


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A key that nobody reads."""

    key: str
    source: str
    near: str  # the key that may be meant; "" if none is like it

    def __str__(self) -> str:
        hint = f"; did you mean {self.near!r}?" if self.near else ""
        return f"gridengine.{self.key} is no setting ({self.source}){hint}"


def settings(given: Mapping[str, Any]) -> list[Setting]:
    """Each setting there is, in the order of ``gridengine.yaml``.

    Parameters
    ----------
    given
        Those given as arguments, by key.
    """
    layers = [*_layers(), (ARGUMENT, dict(given))]
    found = []
    for key, default in DEFAULTS[SECTION].items():
        value, sources = default, [DEFAULT]
        for source, layer in layers:
            if key in layer:
                value, sources = _merged(value, sources, layer[key], source)
        if key not in given:
            effective = configured(key)
            if effective != value:  # by dask.config.set, or an inherited config
                value, sources = effective, [ELSEWHERE]
        found.append(
            Setting(key=key, value=hide(key, value), source=" + ".join(sources))
        )
    return found


def unknown() -> list[Unknown]:
    """Keys under ``gridengine:`` that are no settings, each where it is written."""
    there = {*DEFAULTS[SECTION], *OTHERS}
    return [
        Unknown(key=key, source=source, near=_near(key, there))
        for source, layer in _layers()
        for key in layer
        if key not in there
    ]


def hide(key: str, value: Any) -> Any:
    """A setting's value as others may see it."""
    if isinstance(value, Mapping):
        return {
            name: HIDDEN
            if key in _HIDES_VALUES or _SECRET.search(str(name))
            else hide(str(name), part)  # a pool has settings of its own
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide(key, part) for part in value]
    return _USERINFO.sub(HIDDEN, value) if isinstance(value, str) else value


def _layers() -> Iterator[tuple[str, dict[str, Any]]]:
    """What each file and variable says under ``gridengine:``; later ones count more."""
    for path in dask.config.paths:
        for file, config in dask.config.collect_yaml([path], return_paths=True):
            yield str(file), _section(config)
    for name, value in os.environ.items():
        if name.startswith("DASK_"):
            yield f"${name}", _section(dask.config.collect_env({name: value}))


def _section(config: Any) -> dict[str, Any]:
    section = config.get(SECTION) if isinstance(config, Mapping) else None
    if not isinstance(section, Mapping):
        return {}
    return {str(key).replace("_", "-"): value for key, value in section.items()}


def _merged(
    value: Any, sources: list[str], new: Any, source: str
) -> tuple[Any, list[str]]:
    """As Dask merges: mappings key by key, all else as a whole."""
    if not (isinstance(value, Mapping) and isinstance(new, Mapping) and value):
        return new, [source]
    return dask.config.merge(value, new), [*sources, source]


def _near(key: str, there: set[str]) -> str:
    return next(iter(difflib.get_close_matches(key, there, n=1)), "")
