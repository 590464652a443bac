"""Values of options as users give them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dask_gridengine import option_parsing as readings
from dask_gridengine.errors import OptionError


def at_least_1(raw: dict[str, Any], name: str) -> int:
    return readings.whole(raw, name, least=1)


@pytest.mark.parametrize(
    ("read", "given", "found"),
    [
        (readings.text, None, None),
        (readings.text, 1234, "1234"),
        (readings.text, Path("a"), "a"),
        (readings.mapping, None, {}),
        (readings.mapping, {"a": 1}, {"a": 1}),
        (readings.flag, False, False),
        (readings.lines, None, ()),
        (readings.lines, ["a", "b"], ("a", "b")),
        (readings.text, np.int64(1234), "1234"),
        (at_least_1, 3, 3),
        (at_least_1, np.int64(3), 3),
        (readings.size, np.int64(1000), 1000),
        (readings.seconds, np.int64(3600), 3600.0),
        (readings.seconds, np.float32(0.5), 0.5),
        (readings.size, "1 kB", 1000),
        (readings.size, 0, 0),
        (readings.seconds, "1:00:00", 3600.0),
        (readings.seconds, 0.5, 0.5),
    ],
)
def test_each_comes_in_one_type_and_unit(
    read: Callable[[dict[str, Any], str], Any], given: object, found: object
) -> None:
    """Bytes and seconds, tuples and dicts, whatever way they were written."""
    value = read({"option": given}, "option")
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (readings.text, True),
        (readings.text, ["a"]),
        (readings.mapping, [1]),
        (readings.flag, "yes"),
        (readings.lines, "one line"),
        (readings.lines, [1]),
        (at_least_1, 0),
        (at_least_1, True),
        (at_least_1, 1.5),
        (at_least_1, np.True_),
        (at_least_1, np.float64(1)),
        (readings.size, "much"),
        (readings.size, -1),
        (readings.size, True),
        (readings.seconds, 0),
        (readings.seconds, "soon"),
    ],
)
def test_what_makes_no_sense_names_option_and_value(
    read: Callable[[dict[str, Any], str], Any], given: object
) -> None:
    """So that one sees which of forty it was."""
    with pytest.raises(OptionError, match="option"):
        read({"option": given}, "option")


def test_one_of_several_is_one_of_these() -> None:
    """The message lists them."""
    readings.one_of({"option": "slot"}, "option", ("slot", "job"))
    with pytest.raises(OptionError, match="slot, job"):
        readings.one_of({"option": "node"}, "option", ("slot", "job"))
