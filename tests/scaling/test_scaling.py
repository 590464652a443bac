"""How many workers, and which to give up first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.scaling.scaling import target, to_close
from dask_gridengine.settings.config import Options


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
