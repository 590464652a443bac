"""`imap` over ten million items of a generator, and the memory of this process."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque

from map_report import goal, megabytes, same, say, title
from map_work import square

import gridengine

SAMPLE = 50_000  # items between two looks at the memory


def run(
    scheduler: gridengine.ProcessScheduler, count: int
) -> tuple[float, list[float]]:
    """Take all results and drop them; seconds, and MB at each look."""
    looks: list[float] = []
    last = None
    started = time.perf_counter()
    numbers = (number for number in range(count))
    with gridengine.imap(square, numbers, scheduler=scheduler) as results:
        while some := deque(itertools.islice(results, SAMPLE), maxlen=1):
            last = some[-1]
            looks.append(megabytes("VmRSS"))
    took = time.perf_counter() - started
    same("gridengine.imap", last, (count - 1) ** 2)
    return took, looks


def endless(repeats: int, quick: bool) -> None:
    repeats = min(repeats, 3)
    count = 500_000 if quick else 10_000_000
    with gridengine.ProcessScheduler(2) as scheduler:
        few = gridengine.imap(square, iter(range(SAMPLE)), scheduler=scheduler)
        same("gridengine.imap", list(few), [x * x for x in range(SAMPLE)])
        del few
        title(f"imap over {count:,} items of a generator, 2 processes", repeats)
        start, peak = megabytes("VmRSS"), megabytes("VmHWM")
        found = [run(scheduler, count) for _ in range(repeats)]
        end, last_peak = megabytes("VmRSS"), megabytes("VmHWM")
    rates = [count / seconds for seconds, _ in found]
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    say(f"  {middle:,.0f} items a second ({low:,.0f} to {high:,.0f})")
    for _, looks in found:
        step = max(1, len(looks) // 10)
        tenths = looks[step - 1 :: step]
        say(f"  MB at each tenth: {' '.join(f'{look:.0f}' for look in tenths)}")
    most = max(max(looks) for _, looks in found)
    say(f"  memory (VmRSS): start {start:.0f}, most {most:.0f}, end {end:.0f} MB")
    say(f"  most ever (VmHWM): start {peak:.0f}, end {last_peak:.0f} MB")
    goal("growth of memory in MB", max(most, last_peak) - start, most=50)
