"""Values of options as users write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dask_gridengine import option_parsing as parse
from dask_gridengine.errors import OptionError


def at_least_1(value: Any, name: str) -> int:
    return parse.whole(value, name, least=1)


@pytest.mark.parametrize(
    ("read", "given", "found"),
    [
        (parse.text, None, None),
        (parse.text, 1234, "1234"),
        (parse.text, Path("a"), "a"),
        (parse.mapping, None, {}),
        (parse.flag, False, False),
        (parse.lines, None, ()),
        (parse.lines, ["a", "b"], ("a", "b")),
        (parse.text, np.int64(1234), "1234"),
        (at_least_1, 3, 3),
        (at_least_1, np.int64(3), 3),
        (parse.size, np.int64(1000), 1000),
        (parse.seconds, np.float32(0.5), 0.5),
        (parse.size, "1 kB", 1000),
        (parse.size, 0, 0),
        (parse.seconds, 7200, 7200.0),
        (parse.seconds, "7200", 7200.0),
        (parse.seconds, "02:00:00", 7200.0),
        (parse.seconds, " 100:00:01 ", 360_001.0),
        (parse.seconds, "2h", 7200.0),
        (parse.seconds, "90 min", 5400.0),
        (parse.seconds, "1 hr", 3600.0),
        (parse.seconds, "1d", 86_400.0),
        (parse.seconds, "100ms", 0.1),
        (parse.seconds, timedelta(minutes=3), 180.0),
    ],
)
def test_each_comes_in_one_type_and_unit(
    read: Callable[[Any, str], Any], given: object, found: object
) -> None:
    """Bytes and seconds, tuples and dicts."""
    value = read(given, "option")
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (parse.text, True),
        (parse.text, ["a"]),
        (parse.flag, "yes"),
        (parse.lines, "one line"),
        (parse.lines, [1]),
        (at_least_1, 0),
        (at_least_1, True),
        (at_least_1, 1.5),
        (at_least_1, np.True_),
        (parse.size, "much"),
        (parse.size, -1),
        (parse.size, float("inf")),
        (parse.mapping, ["A=1"]),
        (parse.text, 1.5),
        (at_least_1, "2"),
        (parse.size, True),
        *(
            (parse.seconds, value)
            # 1:30 is hours to some and minutes to others.
            for value in (0, -1, "0s", "-2h", "1:30", "00:90:00", "soon", "", True, [])
        ),
        (parse.seconds, float("inf")),
        (parse.seconds, None),
    ],
)
def test_an_invalid_value_is_refused_by_the_name_of_its_option(
    read: Callable[[Any, str], Any], given: object
) -> None:
    """A user may have given forty."""
    with pytest.raises(OptionError, match="option"):
        read(given, "option")
