"""Times as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.walltime_parsing import parse_walltime


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (7200, 7200),
        (0.5, 0.5),
        ("7200", 7200),
        ("02:00:00", 7200),
        (" 100:00:01 ", 360_001),
        ("2h", 7200),
        ("2 hours", 7200),
        ("90 min", 5400),
        ("90mins", 5400),
        ("1 hr", 3600),
        ("30 sec", 30),
        ("1d", 86_400),
        ("100ms", 0.1),
        (timedelta(minutes=3), 180),
    ],
)
def test_a_time_is_read_as_people_write_it(given: Any, seconds: float | None) -> None:
    """Grid Engine's own form, Dask's words, and Python's types."""
    assert parse_walltime(given) == seconds


@pytest.mark.parametrize(
    "given",
    [0, -1, "0s", "-2h", "1:30", "00:90:00", "soon", "", True, [], float("inf")],
)
def test_no_time_is_refused_by_name(given: Any) -> None:
    """Also 1:30, which is hours to some and minutes to others."""
    with pytest.raises(OptionError, match=r"timeout=.*'02:00:00'"):
        parse_walltime(given, "timeout")
