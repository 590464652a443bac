"""Items that sleep, equally long or not, on eight workers that need no CPU for it."""

from __future__ import annotations

import contextlib
import heapq
import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from map_report import clock, goal, rows, same, say, take_turns, title
from map_work import nap

import gridengine

SLOTS, ITEMS = 8, 200
SECONDS, LONGER, EVERY = 0.05, 20, 50  # one in EVERY takes LONGER times as long
OURS, CLIENT = "gridengine.map", "client.map + gather"


def schedule(durations: Iterable[float]) -> float:
    """Seconds of a list schedule: each item, in its turn, to the slot free first."""
    free = [0.0] * SLOTS
    for seconds in durations:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def bound(durations: list[float]) -> float:
    """Seconds that no schedule can be faster than, whatever it knows."""
    return max(sum(durations) / SLOTS, max(durations))


def layouts(count: int) -> dict[str, list[float]]:
    """Durations, by where the long ones are."""
    starts = {
        "every 50th, from the first": range(0, count, EVERY),
        "every 50th, to the last": range(EVERY - 1, count, EVERY),
    }
    for seed in (0, 1):
        found = random.Random(seed).sample(range(count), count // EVERY)
        starts[f"at random, seed {seed}"] = found
    return {
        name: [SECONDS * (LONGER if i in set(where) else 1) for i in range(count)]
        for name, where in starts.items()
    }


@contextlib.contextmanager
def warm_scheduler() -> Iterator[Any]:
    with gridengine.ProcessScheduler(SLOTS) as scheduler:
        gridengine.map(nap, [0.0] * SLOTS, scheduler=scheduler)
        scheduler.client.wait_for_workers(SLOTS, timeout=120)
        yield scheduler


def compare(scheduler: Any, durations: list[float], repeats: int) -> float:
    """Print ours and Dask's own; returns our median."""
    client = scheduler.client

    def dask() -> Any:
        return client.gather(client.map(nap, durations, pure=False))

    calls = {
        OURS: partial(gridengine.map, nap, durations, scheduler=scheduler),
        CLIENT: dask,
    }
    for name, call in calls.items():
        same(name, call(), durations)
    turns = {name: partial(clock, call) for name, call in calls.items()}
    return rows(take_turns(turns, repeats))[OURS]


def even(repeats: int, quick: bool) -> None:
    durations = [SECONDS] * ITEMS
    what = f"{len(durations)} items of {SECONDS * 1000:.0f} ms, {SLOTS} slots"
    with warm_scheduler() as scheduler:
        title(what, repeats)
        ours = compare(scheduler, durations, repeats)
    ideal = bound(durations)
    say(f"  {'ideal':<30} {ideal:9.3f} s")
    goal("even: ideal / ours", ideal / ours, least=0.9)


def uneven(repeats: int, quick: bool) -> None:
    """The goal is the best schedule for known durations.

    Without that knowledge it cannot always be reached: not with a long item at the very
    end. So the list schedule without any overhead, one item at a
    time in the order given, is printed beside it.
    """
    repeats = min(repeats, 3)
    with warm_scheduler() as scheduler:
        for name, durations in layouts(ITEMS).items():
            title(
                f"{len(durations)} items, 1 in {EVERY} takes {LONGER} times"
                f" {SECONDS * 1000:.0f} ms: {name}",
                repeats,
            )
            ours = compare(scheduler, durations, repeats)
            best, listed = bound(durations), schedule(durations)
            longest_first = schedule(sorted(durations, reverse=True))
            say(f"  {'no schedule is faster than':<30} {best:9.3f} s")
            say(f"  {'longest first, all known':<30} {longest_first:9.3f} s")
            say(f"  {'one by one, in order':<30} {listed:9.3f} s   (none known)")
            say(f"  ours / one by one, in order: {ours / listed:.3f}")
            could = f"one by one: {listed / best:.2f}"
            goal(f"{name}: ours / best possible ({could})", ours / best, most=1.2)
