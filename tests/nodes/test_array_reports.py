"""What the grid says of arrays, asked sparingly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dask_gridengine.grid_types import ArrayReport
from dask_gridengine.nodes.array_reports import AGAIN, QUEUES_LONG, ArrayReports
from tests.pools import FakeLauncher, make_pool
from tests.simulated import Clock, Nodes

HOLD = ArrayReport(walltime=20.0, added="-l h_rt=20", reasons=("on hold: qrls 7",))


class Grid(FakeLauncher):
    """A launcher that gives this answer, and records the requests."""

    def __init__(self, answer: ArrayReport | Exception | None = HOLD) -> None:
        super().__init__()
        self.answer, self.reported = answer, list[str]()

    async def report(  # type: ignore[override]
        self, job: str, native: str
    ) -> ArrayReport | None:
        self.reported.append(job)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scene(grid: Grid) -> tuple[Nodes, ArrayReports]:
    clock = Clock()
    pool = make_pool(launcher=grid, clock=clock)
    nodes = Nodes(clock)
    nodes.registry = pool.registry
    return nodes, pool.reports


async def answered(ask: Callable[[], Any]) -> Any:
    """Ask, have the answer come, and ask again."""
    ask()
    for _ in range(3):
        await asyncio.sleep(0)
    return ask()


async def test_the_walltime_in_force_is_asked_once_an_array() -> None:
    """And what the site has added is known from then on."""
    nodes, reports = scene(grid := Grid())
    nodes.submit(2, job="7")
    nodes.submit(1, job="8")
    assert await answered(lambda: reports.of("7").walltime) == 20.0
    assert await answered(lambda: reports.of("8").walltime) == 20.0
    nodes.clock.now += 10 * AGAIN
    assert await answered(lambda: reports.of("7").walltime) == 20.0
    assert grid.reported == ["7", "8"]
    assert reports.added == "-l h_rt=20"


@pytest.mark.parametrize("answer", [None, RuntimeError("broken")])
async def test_a_grid_that_does_not_answer_is_asked_again_later(
    answer: Exception | None,
) -> None:
    """Once a minute, and nothing waits for it."""
    nodes, reports = scene(grid := Grid(answer))
    nodes.submit(1, job="7")
    for _ in range(2):
        assert await answered(lambda: reports.of("7").walltime) is None
    assert grid.reported == ["7"]
    nodes.clock.now += AGAIN
    grid.answer = HOLD
    assert await answered(lambda: reports.of("7").walltime) == 20.0


async def test_why_the_oldest_queues_is_asked_once_a_minute() -> None:
    """Not of one that queues for a moment; and it is forgotten when none queues."""
    nodes, reports = scene(grid := Grid())
    first, second = nodes.submit(2)
    await answered(reports.update)
    assert grid.reported == []
    nodes.clock.now += QUEUES_LONG
    await answered(reports.update)
    assert grid.reported == ["7"]
    assert reports.reasons == HOLD.reasons
    nodes.clock.now += AGAIN
    await answered(reports.update)
    assert grid.reported == ["7", "7"]
    nodes.end(first)
    nodes.end(second)
    assert reports.reasons == ()


async def test_nothing_is_asked_after_the_close() -> None:
    """An answer that is on its way is not waited for."""
    nodes, reports = scene(grid := Grid())
    nodes.submit(1)
    reports.of("7")
    reports.close()
    reports.close()
    await asyncio.sleep(0)
    assert reports.of("7").walltime is None
    assert grid.reported == []
