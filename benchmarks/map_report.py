"""Turns, medians and goals; what all cases of ``map.py`` have in common."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

GOAL, SKIPPED = "goal", "SKIPPED"

Times = dict[str, list[float]]


def say(line: str = "") -> None:
    print(line, flush=True)


def title(what: str, repeats: int) -> None:
    cpus = len(os.sched_getaffinity(0))
    say(f"\n{what}\n  median of {repeats} (fastest to slowest), {cpus} CPUs")


def skipped(what: str, why: str) -> None:
    say(f"  {SKIPPED} {what}: {why}")


def clock(call: Callable[[], Any]) -> float:
    """Wall seconds of a call. Its result is let go after the clock has stopped."""
    started = time.perf_counter()
    result = call()
    took = time.perf_counter() - started
    del result
    return took


def take_turns(contenders: Mapping[str, Callable[[], float]], repeats: int) -> Times:
    """Seconds that each contender says it took, one after the other, repeatedly."""
    times: Times = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(run())
    return times


def row(name: str, times: list[float], note: str = "") -> float:
    """Print one contender; returns its median."""
    low, middle, high = min(times), statistics.median(times), max(times)
    say(f"  {name:<30} {middle:9.3f} s   ({low:.3f} to {high:.3f}) {note}".rstrip())
    return middle


def rows(times: Times) -> dict[str, float]:
    """Print all contenders; returns their medians."""
    return {name: row(name, found) for name, found in times.items()}


def goal(
    what: str, value: float, *, most: float | None = None, least: float | None = None
) -> bool:
    """Print whether a number is what was promised, and return it."""
    if most is not None:
        met, wanted = value <= most, f"at most {most:g}"
    else:
        assert least is not None
        met, wanted = value >= least, f"at least {least:g}"
    say(f"  {GOAL}: {what} = {value:.4g}, {wanted}: {'met' if met else 'NOT MET'}")
    return met


def same(name: str, found: Any, expected: Any) -> None:
    """End the benchmark if a contender does not compute what it shall."""
    if found != expected:
        raise SystemExit(f"{name}: its results are not those of the others")


def megabytes(field: str, pid: int | str = "self") -> float:
    """VmRSS, what a process occupies now, or VmHWM, the most it ever did; in 10^6."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"/proc/{pid}/status has no {field}")
