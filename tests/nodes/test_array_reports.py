"""What the grid says of arrays, asked sparingly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dask_gridengine.grid_types import ArrayReport
from dask_gridengine.nodes.array_reports import AGAIN, QUEUES_LONG, ArrayReports
from tests.simulated import Nodes

HOLD = ArrayReport(walltime=20.0, added="-l h_rt=20", reasons=("on hold: qrls 7",))


class Grid:
    """A launcher that answers this, and remembers the questions."""

    def __init__(self, answer: ArrayReport | Exception | None = HOLD) -> None:
        self.answer, self.asked = answer, list[str]()

    async def report(self, job: str, native: str) -> ArrayReport | None:
        self.asked.append(job)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scene(grid: Grid) -> tuple[Nodes, ArrayReports]:
    launcher: Any = grid
    nodes = Nodes()
    return nodes, ArrayReports(nodes.registry, launcher, "-l gpu=1")


async def answered(ask: Callable[[], Any]) -> Any:
    """Ask, have the answer come, and ask again."""
    ask()
    for _ in range(3):
        await asyncio.sleep(0)
    return ask()


def test_the_walltime_in_force_is_asked_once_an_array() -> None:
    """And what the site has added is known from then on."""

    async def main() -> None:
        grid = Grid()
        nodes, reports = scene(grid)
        nodes.submit(2, job="7")
        nodes.submit(1, job="8")
        assert await answered(lambda: reports.walltime("7")) == 20.0
        assert await answered(lambda: reports.walltime("8")) == 20.0
        nodes.clock.now += 10 * AGAIN
        assert await answered(lambda: reports.walltime("7")) == 20.0
        assert grid.asked == ["7", "8"]
        assert reports.added == "-l h_rt=20"

    asyncio.run(main())


def test_a_grid_that_does_not_tell_is_asked_again_later() -> None:
    """Once a minute, and nothing waits for it."""

    async def main() -> None:
        for answer in (None, RuntimeError("broken")):
            grid = Grid(answer)
            nodes, reports = scene(grid)
            nodes.submit(1, job="7")
            for _ in range(2):
                assert await answered(lambda ask=reports.walltime: ask("7")) is None
            assert grid.asked == ["7"]
            nodes.clock.now += AGAIN
            grid.answer = HOLD
            assert await answered(lambda ask=reports.walltime: ask("7")) == 20.0

    asyncio.run(main())


def test_why_the_oldest_queues_is_asked_once_a_minute() -> None:
    """Not of one that queues for a moment; and it is forgotten when none queues."""

    async def main() -> None:
        grid = Grid()
        nodes, reports = scene(grid)
        first, second = nodes.submit(2)
        await answered(reports.update)
        assert grid.asked == []
        nodes.clock.now += QUEUES_LONG
        await answered(reports.update)
        assert grid.asked == ["7"]
        assert reports.reasons == HOLD.reasons
        nodes.clock.now += AGAIN
        await answered(reports.update)
        assert grid.asked == ["7", "7"]
        nodes.end(first)
        nodes.end(second)
        assert reports.reasons == ()

    asyncio.run(main())


def test_nothing_is_asked_of_a_closed_one() -> None:
    """An answer that is on its way is not waited for."""

    async def main() -> None:
        grid = Grid()
        nodes, reports = scene(grid)
        nodes.submit(1)
        reports.walltime("7")
        reports.close()
        reports.close()
        await asyncio.sleep(0)
        assert reports.walltime("7") is None
        assert grid.asked == []

    asyncio.run(main())
