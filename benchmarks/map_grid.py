"""`math.sqrt` on eight jobs of a real Grid Engine, from nothing and warm.

From nothing is from before the scheduler's constructor, with no job in the queue. The
first round, in which Python still imports this and that, is printed but not counted.
Warm is when all eight jobs are there. The figures of clustermq (50 items 1.5 s and a
million 14 s, cold) are of another run, on such a cell.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from functools import partial
from typing import Any

from map_report import clock, goal, rows, same, say, skipped, take_turns, title

import gridengine

JOBS, FEW, MANY = 8, 50, 1_000_000
COLD, WARM = {FEW: 1.5, MANY: 2.0}, {FEW: 0.05, MANY: 0.3}  # seconds wanted
AIM = 1.2  # seconds for a few items cold


def new_scheduler() -> Any:
    # Without the launcher's name it would fall back to local processes.
    return gridengine.GridEngineScheduler(max_jobs=JOBS, options={"launcher": "drmaa"})


def wait_for_empty_queue() -> None:
    """One run's leftovers must not slow the next one's start."""
    deadline = time.monotonic() + 60
    while subprocess.run(["qstat"], capture_output=True, check=True).stdout:
        if time.monotonic() > deadline:
            raise SystemExit("jobs are left in the queue")
        time.sleep(0.1)


def roots(scheduler: Any, count: int) -> Any:
    return gridengine.map(math.sqrt, range(count), scheduler=scheduler)


def from_nothing(count: int) -> float:
    wait_for_empty_queue()
    started = time.perf_counter()
    with new_scheduler() as scheduler:
        found = roots(scheduler, count)
        took = time.perf_counter() - started
    same("gridengine.map", found, [math.sqrt(x) for x in range(count)])
    return took


def label(count: int) -> str:
    return f"{count:,} items"


def show_cold(repeats: int) -> None:
    first = from_nothing(FEW)
    title(f"math.sqrt on {JOBS} jobs of Grid Engine, from nothing", repeats)
    say(f"  {label(FEW):<30} {first:9.3f} s   (not counted: the first here)")
    contenders = {label(n): partial(from_nothing, n) for n in (FEW, MANY)}
    medians = rows(take_turns(contenders, repeats))
    for count, seconds in COLD.items():
        goal(f"cold, {label(count)}, in s", medians[label(count)], most=seconds)
    goal(f"cold, {label(FEW)}, aimed at, in s", medians[label(FEW)], most=AIM)


def show_warm(repeats: int) -> None:
    title(f"math.sqrt on {JOBS} jobs of Grid Engine, warm", repeats)
    wait_for_empty_queue()
    with new_scheduler() as scheduler:
        roots(scheduler, FEW)
        scheduler.client.wait_for_workers(JOBS, timeout=120)
        contenders = {
            label(n): partial(clock, partial(roots, scheduler, n)) for n in (FEW, MANY)
        }
        take_turns(contenders, 1)
        medians = rows(take_turns(contenders, repeats))
    wait_for_empty_queue()
    for count, seconds in WARM.items():
        goal(f"warm, {label(count)}, in s", medians[label(count)], most=seconds)


def grid(repeats: int, quick: bool) -> None:
    if not (shutil.which("qstat") and os.environ.get("SGE_ROOT")):
        skipped("the grid", "no qstat and SGE_ROOT; run it by ci/grid run gridmaster")
        return
    show_cold(repeats)
    show_warm(repeats)
