"""Values of options as users give them, read into one type and one unit each. Pure.

Each takes all raw values and the option's name, and raises `OptionError`, which names
it, the value, and what would do.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from dask.utils import parse_bytes

from dask_gridengine.errors import OptionError
from dask_gridengine.naming import POOL
from dask_gridengine.walltime_parsing import parse_walltime


def text(raw: Mapping[str, Any], name: str) -> str | None:
    """One word or line; None where it is not given."""
    value = raw[name]
    if value is None or isinstance(value, str | os.PathLike):
        return None if value is None else os.fspath(value)
    if integer(value) is not None:
        return str(value)  # YAML and the environment turn project 1234 into a number
    raise OptionError(f"{name}={value!r}; it is a text")


def mapping(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A dict; an empty one where it is not given."""
    value = raw[name] or {}
    if not isinstance(value, Mapping):
        raise OptionError(f"{name}={value!r}; it is a dict")
    return dict(value)


def resources(raw: Mapping[str, Any]) -> dict[str, float]:
    """Dask's resources: a dict of names and positive numbers."""
    found = mapping(raw, "resources")
    for name, amount in found.items():
        number = isinstance(amount, Real) and not isinstance(amount, bool)
        if not number or not amount > 0:
            raise OptionError(
                f"resources: {name}={amount!r}; it is how much of it each worker has,"
                " e.g. {'GPU': 1}"
            )
    return {str(name): float(amount) for name, amount in found.items()}


def pools(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Named kinds of nodes: a dict of dicts of options."""
    found = mapping(raw, "pools")
    for name, own in found.items():
        if not isinstance(name, str) or not re.fullmatch(POOL, name, re.ASCII):
            raise OptionError(
                f"pools: {name!r} cannot be a pool's name: begin with a letter, go on"
                " with letters, digits or '_', 32 at most"
            )
        if own is not None and not isinstance(own, Mapping):
            raise OptionError(
                f"pools: {name}={own!r}; it is a dict of options, e.g."
                " {'cores': 4, 'resources': {'GPU': 1}}"
            )
    return {name: dict(own or {}) for name, own in found.items()}


def flag(raw: Mapping[str, Any], name: str) -> bool:
    """True or False."""
    if raw[name] not in (True, False):
        raise OptionError(f"{name}={raw[name]!r}; it is True or False")
    return bool(raw[name])


def one_of(raw: Mapping[str, Any], name: str, choices: Sequence[str | None]) -> None:
    """Refuse what is none of these."""
    if raw[name] not in choices:
        raise OptionError(
            f"{name}={raw[name]!r}; it is one of {', '.join(map(str, choices))}"
        )


def lines(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; an empty one where it is not given."""
    value = raw[name] or []
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, str) for item in value
    ):
        raise OptionError(f"{name}={value!r}; it is a list of strings")
    return tuple(value)


def whole(raw: Mapping[str, Any], name: str, *, least: int) -> int:
    """A whole number, `least` at the least."""
    value = integer(raw[name])
    if value is None or value < least:
        raise OptionError(
            f"{name}={raw[name]!r}; it is a whole number, at least {least}"
        )
    return value


def integer(value: Any) -> int | None:
    """An int of any type, such as numpy's, as Python's own; None for all else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def size(raw: Mapping[str, Any], name: str) -> int:
    """Bytes, given as such or as "8 GB"."""
    try:
        given = integer(raw[name])
        found = int(parse_bytes(raw[name])) if given is None else given
    except (ValueError, TypeError, AttributeError, OverflowError):
        found = -1
    if found < 0 or isinstance(raw[name], bool):
        raise OptionError(f"{name}={raw[name]!r} is no size; write bytes or '8 GB'")
    return found


def seconds(raw: Mapping[str, Any], name: str) -> float:
    """A time above 0, in seconds."""
    found = parse_walltime(raw[name], name)
    if not found or found <= 0:
        raise OptionError(f"{name}={raw[name]!r}; it is a time above 0, e.g. '60s'")
    return found
