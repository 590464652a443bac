"""Periodic callbacks, and what they may cost."""

from __future__ import annotations

import asyncio
import itertools

from dask_gridengine.scheduler.throttled_callback import EVERY, SHARE, ThrottledCallback
from tests.waiting import until


def test_calls_that_take_long_are_made_less_often() -> None:
    """A call follows when the last one was a small part of the time."""
    now, calls, takes = 0.0, [], 1.0

    def check() -> None:
        nonlocal now
        calls.append(now)
        now += takes

    callback = ThrottledCallback(check, clock=lambda: now)
    for _ in range(200):
        callback.run_throttled()
        now += EVERY
    pauses = [b - a for a, b in itertools.pairwise(calls)]
    assert len(calls) >= 4
    assert all(takes / pause <= SHARE for pause in pauses)
    assert all(pause <= takes / SHARE + takes + EVERY for pause in pauses)


async def test_it_runs_until_it_is_stopped() -> None:
    """From `start` on in the running loop; `stop` may be called twice."""
    calls: list[int] = []
    callback = ThrottledCallback(lambda: calls.append(1))
    callback.start()
    await until(lambda: len(calls) >= 2, "two calls")
    callback.stop()
    callback.stop()
    seen = len(calls)
    await asyncio.sleep(2 * EVERY)
    assert len(calls) == seen
