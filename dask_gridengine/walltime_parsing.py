"""A time as users write it, in seconds. Pure."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from numbers import Real

from dask_gridengine.errors import OptionError

_WORDS = {"min": "minutes", "sec": "seconds", "hr": "hours"}  # unknown to Dask
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d)")


def parse_walltime(
    value: str | float | timedelta | None, name: str = "walltime"
) -> float | None:
    """A time in any form users write it, in seconds.

    Parameters
    ----------
    value
        Seconds, a `timedelta`, ``"HH:MM:SS"``, or words as Dask takes: ``"90 min"``.
    name
        The option, for the message.

    Raises
    ------
    OptionError
        If it is none of these, or not above 0.

    Examples
    --------
    >>> parse_walltime("02:00:00"), parse_walltime("90 min"), parse_walltime(7200)
    (7200.0, 5400.0, 7200.0)
    """
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds < math.inf:
        raise OptionError(
            f"{name}={value!r} is no time above 0; write seconds, '02:00:00' (hours,"
            " minutes, seconds), '2h', '90 min' or a timedelta"
        )
    return seconds


def _seconds(value: str | float | timedelta) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, str | Real):
        return None
    if not isinstance(value, str):
        return float(value)
    if clock := _CLOCK.fullmatch(value.strip()):
        hours, minutes, seconds = map(int, clock.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    if ":" in value:
        return None  # "1:30" is a minute and a half to some and an hour more to others
    from dask.utils import parse_timedelta

    words = re.sub(r"(?<![a-z])(min|sec|hr)s?\b", lambda m: _WORDS[m[1]], value.lower())
    try:
        return float(parse_timedelta(words, default="seconds"))
    except (ValueError, LookupError, TypeError):
        return None
