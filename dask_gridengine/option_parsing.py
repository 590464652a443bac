"""Parsers of option values: each returns one type in one unit.

Each takes a value and the name of its option, and raises `OptionError` with the name,
the value and what was expected.
"""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from numbers import Real
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes, parse_timedelta

from dask_gridengine.errors import OptionError
from dask_gridengine.naming import POOL

_UNITS = {"min": "minutes", "sec": "seconds", "hr": "hours"}  # unknown to Dask
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d)")


def text(value: Any, name: str) -> str | None:
    """A string; None if it is not given."""
    if value is None or isinstance(value, str | os.PathLike):
        return None if value is None else os.fspath(value)
    if integer(value) is not None:
        return str(value)  # YAML and the environment turn project 1234 into a number
    raise OptionError(f"{name}={value!r}: expected a string")


def mapping(value: Any, name: str) -> dict[str, Any]:
    """A dict; an empty one if it is not given."""
    if not isinstance(value or {}, Mapping):
        raise OptionError(f"{name}={value!r}: expected a dict")
    return dict(value or {})


def strings(value: Any, name: str) -> dict[str, str]:
    """A dict of strings."""
    return {str(key): str(item) for key, item in mapping(value, name).items()}


def resources(value: Any, name: str) -> dict[str, float]:
    """A dict of positive numbers."""
    found = mapping(value, name)
    for key, amount in found.items():
        number = isinstance(amount, Real) and not isinstance(amount, bool)
        if not number or not amount > 0:
            raise OptionError(
                f"{name}: {key}={amount!r}: expected the amount that each worker has,"
                " e.g. {'GPU': 1}"
            )
    return {str(key): float(amount) for key, amount in found.items()}


def pools(value: Any, name: str) -> dict[str, dict[str, Any]]:
    """A dict of dicts of options."""
    found = mapping(value, name)
    for pool, options in found.items():
        if not isinstance(pool, str) or not re.fullmatch(POOL, pool, re.ASCII):
            raise OptionError(
                f"{name}: {pool!r} cannot be the name of a pool: expected a letter,"
                " then letters, digits or '_', at most 32 in all"
            )
        if options is not None and not isinstance(options, Mapping):
            raise OptionError(
                f"{name}: {pool}={options!r}: expected a dict of options, e.g."
                " {'cores': 4, 'resources': {'GPU': 1}}"
            )
    return {pool: dict(options or {}) for pool, options in found.items()}


def flag(value: Any, name: str) -> bool:
    """True or False."""
    if value not in (True, False):
        raise OptionError(f"{name}={value!r}: expected True or False")
    return bool(value)


def lines(value: Any, name: str) -> tuple[str, ...]:
    """A list of strings; an empty one if it is not given."""
    found = value or []
    if not isinstance(found, list | tuple) or not all(
        isinstance(item, str) for item in found
    ):
        raise OptionError(f"{name}={value!r}: expected a list of strings")
    return tuple(found)


def whole(value: Any, name: str, *, least: int, of: str = "") -> int:
    """A whole number, at least `least`; also a float without a fraction."""
    exact = isinstance(value, float) and value.is_integer()
    number = integer(int(value) if exact else value)
    if number is None or number < least:
        noun = f"whole number of {of}" if of else "whole number"
        raise OptionError(f"{name}={value!r}: expected a {noun}, at least {least}")
    return number


def integer(value: Any) -> int | None:
    """Convert any integer type, such as numpy's, to int; return None for the rest."""
    # Not `operator.index`: older numpy takes its booleans for integers.
    integral = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if integral else None


def size(value: Any, name: str) -> int:
    """Bytes, from a number or "8 GB"."""
    number = integer(value)
    try:
        found = int(parse_bytes(value)) if number is None else number
    except (ValueError, TypeError, AttributeError, OverflowError):
        found = -1
    if found < 0 or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: expected bytes, or a size as '8 GB'")
    return found


def directory(value: Any, name: str) -> Path | None:
    """An absolute path; ``~`` and ``$NAME`` are expanded in this process."""
    path = text(value, name)
    if path is None:
        return None
    return Path(os.path.expandvars(path)).expanduser().absolute()


def seconds(value: Any, name: str) -> float:
    """A time above 0 in seconds.

    It may be a number, a `timedelta`, "HH:MM:SS", or words as Dask takes them.
    """
    found = _seconds(value)
    if found is None or not 0 < found < math.inf:
        raise OptionError(
            f"{name}={value!r}: expected a time above 0: seconds, '02:00:00' (hours,"
            " minutes, seconds), '2h', '90 min' or a timedelta"
        )
    return found


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, str | Real):
        return None
    if not isinstance(value, str):
        return float(value)
    if clock := _CLOCK.fullmatch(value.strip()):
        hours, minutes, rest = map(int, clock.groups())
        return float(hours * 3600 + minutes * 60 + rest)
    if ":" in value:
        return None  # "1:30" may be minutes and seconds, or hours and minutes
    words = re.sub(r"(?<![a-z])(min|sec|hr)s?\b", lambda m: _UNITS[m[1]], value.lower())
    try:
        return float(parse_timedelta(words, default="seconds"))
    except (ValueError, LookupError, TypeError):
        return None
