"""Looks that are repeated, and what they may cost."""

from __future__ import annotations

import asyncio
import itertools

from dask_gridengine.scheduler.throttled_callback import EVERY, SHARE, ThrottledCallback
from tests.waiting import until


def test_looks_that_take_long_are_made_less_often() -> None:
    """After a look nothing is looked at until that was a small part of the time."""
    now, looked, takes = 0.0, [], 1.0

    def look() -> None:
        nonlocal now
        looked.append(now)
        now += takes

    glances = ThrottledCallback(look, clock=lambda: now)
    for _ in range(200):
        glances.run_throttled()
        now += EVERY
    pauses = [b - a for a, b in itertools.pairwise(looked)]
    assert len(looked) >= 4
    assert all(takes / pause <= SHARE for pause in pauses)
    assert all(pause <= takes / SHARE + takes + EVERY for pause in pauses)


def test_looks_that_take_no_time_are_made_each_time() -> None:
    """Whoever has little to look at is not late."""
    looked: list[int] = []
    glances = ThrottledCallback(lambda: looked.append(1), clock=lambda: 5.0)
    for _ in range(3):
        glances.run_throttled()
    assert len(looked) == 3


def test_they_run_by_themselves_until_they_are_stopped() -> None:
    """From `start` on in the running loop; `stop` may be called twice."""

    async def main() -> None:
        looked: list[int] = []
        glances = ThrottledCallback(lambda: looked.append(1))
        glances.start()
        await until(lambda: len(looked) >= 2, "two looks")
        glances.stop()
        glances.stop()
        seen = len(looked)
        await asyncio.sleep(2 * EVERY)
        assert len(looked) == seen

    asyncio.run(main())
