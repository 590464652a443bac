"""How many workers, and which to give up first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.cluster.scaling import bounds, target, to_close
from dask_gridengine.errors import OptionError
from dask_gridengine.options import Options


class Scheduler:
    """As much of a scheduler as the choice looks at."""

    def __init__(self, *working: str, idlest: tuple[str, ...] = ()) -> None:
        self.workers = {name: SimpleNamespace(name=name) for name in working}
        self.idlest = idlest

    def workers_to_close(self, n: int, key: Any, attribute: str) -> list[str]:
        return list(self.idlest[:n])


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"n": 3}, 3),
        ({"jobs": 3}, 3),
        ({"cores": 5}, 3),
        ({"memory": "4 GB"}, 4),
        ({"n": 1, "cores": 8}, 4),
        ({}, 0),
    ],
)
def test_the_largest_of_what_is_asked_counts(asked: dict[str, Any], count: int) -> None:
    """Workers of two cores and 1 GB: each way of asking becomes workers."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    given = {"n": None, "jobs": None, "cores": None, "memory": None, **asked}
    assert target(options, **given) == count


def test_memory_cannot_be_counted_without_a_workers_memory() -> None:
    """The error names the missing option."""
    options = Options.resolve({})
    with pytest.raises(OptionError, match="memory="):
        target(options, n=None, jobs=None, cores=None, memory="1 GB")


WRONG: list[tuple[str, Any]] = [
    *((name, value) for name in ("n", "jobs") for value in (-3, "lots", 2.5, True)),
    ("n", float("inf")),
    ("n", float("nan")),
    ("cores", -1),
    ("cores", "4"),
    ("cores", float("inf")),
    ("memory", "much"),
    ("memory", "-1 GB"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_no_amount_is_refused_by_name(name: str, value: Any) -> None:
    """Negative, text, a fraction of a worker: the error has the argument's name."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    given = {"n": None, "jobs": None, "cores": None, "memory": None, name: value}
    with pytest.raises(OptionError, match=f"^{name}=.*"):
        target(options, **given)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({}, 0, float("inf")),
        ({"minimum": None, "maximum": None}, 0, float("inf")),
        ({"minimum": 2.0, "maximum": float("inf")}, 2, float("inf")),
        ({"minimum_jobs": 2, "maximum_cores": 9}, 2, 4),
        ({"maximum_memory": "3 GB", "maximum": 5}, 0, 3),
        ({"maximum_memory": float("inf")}, 0, float("inf")),
    ],
)
def test_bounds_are_the_narrowest_of_what_is_said(
    given: dict[str, Any], least: int, most: float
) -> None:
    """Workers of two cores and 1 GB; None is not given."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    assert bounds(options, dict(given)) == (least, most)


@pytest.mark.parametrize("bound", ["minimum", "maximum"])
@pytest.mark.parametrize(
    ("unit", "value"),
    [
        *((unit, value) for unit in ("", "_jobs") for value in (-1, "few", 1.5)),
        ("_cores", -1),
        ("_memory", "much"),
    ],
)
def test_what_is_no_bound_is_refused_by_name(bound: str, unit: str, value: Any) -> None:
    """The error has the name that the user typed."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    with pytest.raises(OptionError, match=f"^{bound}{unit}="):
        bounds(options, {bound + unit: value})


@pytest.mark.parametrize(
    "given",
    [
        {"minimum": 5, "maximum": 2},
        {"minimum_jobs": 5, "maximum": 2},
        {"minimum_cores": 8, "maximum_memory": "2 GB"},
    ],
)
def test_a_minimum_above_the_maximum_is_refused(given: dict[str, Any]) -> None:
    """In whatever units they are; the error has both names."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    with pytest.raises(OptionError) as refused:
        bounds(options, dict(given))
    assert all(name in str(refused.value) for name in given)


@pytest.mark.parametrize(
    ("count", "closed"),
    [
        (-1, []),
        (0, []),
        (1, ["d"]),
        (2, ["d", "c"]),
        (3, ["d", "c", "a"]),
        (4, ["d", "c", "a", "b"]),
    ],
)
def test_who_queues_goes_first_then_who_starts_then_the_idlest(
    count: int, closed: list[str]
) -> None:
    """c starts, d queues, a and b work and a is idler."""
    scheduler: Any = Scheduler("a", "b", idlest=("a",))
    assert to_close(scheduler, ["a", "b", "c", "d"], ["d"], count) == closed
