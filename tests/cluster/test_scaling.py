"""How many workers, and which to give up first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.cluster.scaling import bounds, requested_nodes, to_close
from dask_gridengine.errors import OptionError
from dask_gridengine.nodes.registry import NodeRegistry
from dask_gridengine.options import Options

NONE: dict[str, Any] = dict.fromkeys(("n", "jobs", "cores", "memory"))


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"n": 3}, 3),
        ({"jobs": 3}, 3),
        ({"cores": 5}, 3),
        ({"memory": "4 GB"}, 4),
        ({"n": 1, "cores": 8}, 4),
    ],
)
def test_the_largest_of_what_is_asked_counts(asked: dict[str, Any], count: int) -> None:
    """Workers of two cores and 1 GB: each way of asking becomes workers."""
    options = Options.resolve({"cores": 2, "memory": "1 GB"})
    assert requested_nodes(options, {**NONE, **asked}) == count


def test_memory_cannot_be_counted_without_a_workers_memory() -> None:
    """The error names the missing option."""
    options = Options.resolve({})
    with pytest.raises(OptionError, match="memory="):
        requested_nodes(options, {**NONE, "memory": "1 GB"})


def test_workers_and_nodes_must_agree() -> None:
    """Two numbers of the same thing are a mistake of the caller."""
    options = Options.resolve({"cores": 2, "processes": 2})
    assert requested_nodes(options, {**NONE, "n": 4, "jobs": 2}) == 2
    with pytest.raises(OptionError, match="n=4 and jobs=1"):
        requested_nodes(options, {**NONE, "n": 4, "jobs": 1})


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
    with pytest.raises(OptionError, match=f"^{name}=.*"):
        requested_nodes(options, {**NONE, name: value})


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
def test_queued_nodes_go_first_then_starting_then_idle_ones(
    count: int, closed: list[str]
) -> None:
    """c starts, d queues, a and b work and a is idler."""

    def workers_to_close(n: int, key: Any, attribute: str) -> list[str]:
        return ["a"][:n]

    workers = {name: SimpleNamespace(name=name) for name in "ab"}
    scheduler: Any = SimpleNamespace(workers=workers, workers_to_close=workers_to_close)
    pool: Any = SimpleNamespace(
        cluster=SimpleNamespace(scheduler=scheduler),
        names=["a", "b", "c", "d"],
        waiting=["d"],
        registry=NodeRegistry(),
        options=SimpleNamespace(processes=1),
    )
    assert to_close(pool, count) == closed
