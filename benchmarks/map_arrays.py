"""Big arrays to workers and back, past the scheduler; beside scatter + map + gather.

The Dask cluster is plain `LocalCluster`, whose scheduler is in another process, without
TLS; all contenders use one client of it. Memory is that scheduler's.

On the host the arrays are windows of one buffer, each beginning one number after the
last: each is sent whole and no two are equal, but the host holds little more than one.
What comes back is a quarter of each, so that all of it, with the copies that Dask holds
on its workers, stays under 12 GB.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client
from map_report import clock, goal, megabytes, rows, same, say, take_turns, title
from map_work import thinned, total

import gridengine

ARRAYS, NUMBERS = 64, 8_000_000  # of 8 bytes: 64 MB
OURS, SCATTER = "gridengine.map", "scatter + map + gather"
TUNED = "scatter direct, no hash + ..."

Call = Callable[[], Any]


def windows(count: int) -> list[Any]:
    """Arrays of whole numbers, so that sums are exact."""
    buffer = (np.arange(NUMBERS + count) % 1000).astype(np.float64)
    return [buffer[first : first + NUMBERS] for first in range(count)]


@contextlib.contextmanager
def cluster_apart() -> Iterator[tuple[Client, int]]:
    """A client of a cluster in another process, and that process's id."""
    command = [sys.executable, str(Path(__file__).with_name("map_cluster.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit("the cluster of the other process did not start")
        with process.stdin, Client(address, set_as_default=False) as client:
            yield client, process.pid  # it ends with its standard input


def ways(client: Client, f: Callable[[Any], Any], arrays: list[Any]) -> dict[str, Call]:
    """Call by contender."""

    def scattered(**how: Any) -> Any:
        there = client.scatter(arrays, **how)
        return client.gather(client.map(f, there, pure=False))

    def tuned() -> Any:
        there = client.scatter(arrays, direct=True, hash=False)
        return client.gather(client.map(f, there, pure=False), direct=True)

    return {
        OURS: partial(gridengine.map, f, arrays, client=client),
        SCATTER: scattered,
        TUNED: tuned,
    }


def settle(client: Client) -> None:
    """Wait until the workers hold nothing of the last turn."""
    deadline = time.monotonic() + 60
    while client.who_has():
        if time.monotonic() > deadline:
            raise SystemExit("the workers still hold data a minute later")
        time.sleep(0.01)


def turn(client: Client, call: Call) -> float:
    took = clock(call)
    settle(client)
    return took


def check(name: str, found: Any, f: Callable[[Any], Any], arrays: list[Any]) -> None:
    equal = [bool(np.array_equal(x, f(a))) for x, a in zip(found, arrays, strict=True)]
    same(name, equal, [True] * len(arrays))


def scheduler_memory(client: Client, pid: int, arrays: list[Any]) -> None:
    """Most that the scheduler ever held, after each contender's first run."""
    gridengine.map(total, [array[:1000] for array in arrays], client=client)
    client.gather(client.map(total, client.scatter([arrays[0][:1000]])))
    settle(client)
    amount = sum(array.nbytes for array in arrays) / 1e6
    peaks = {"before": megabytes("VmHWM", pid)}
    for f in (total, thinned):
        check(OURS, ways(client, f, arrays)[OURS](), f, arrays)
        settle(client)
    peaks[OURS] = megabytes("VmHWM", pid)
    for name in (TUNED, SCATTER):
        for f in (total, thinned):
            check(name, ways(client, f, arrays)[name](), f, arrays)
            settle(client)
        peaks[name] = megabytes("VmHWM", pid)
    say(
        f"\nPeak memory of Dask's scheduler after {amount:.0f} MB there, a quarter back"
    )
    for name, peak in peaks.items():
        say(f"  {name:<30} {peak:9.0f} MB")
    grown = peaks[OURS] - peaks["before"]
    goal("growth of the scheduler's memory in MB", grown, most=arrays[0].nbytes / 1e6)


def arrays(repeats: int, quick: bool) -> None:
    repeats = min(repeats, 3)
    given = windows(8 if quick else ARRAYS)
    with cluster_apart() as (client, pid):
        scheduler_memory(client, pid, given)
        for f, back in ((total, "a sum back"), (thinned, "a quarter of it back")):
            title(f"{len(given)} arrays of 64 MB, {back}", repeats)
            calls = ways(client, f, given)
            turns = {name: partial(turn, client, call) for name, call in calls.items()}
            medians = rows(take_turns(turns, repeats))
            for name in (SCATTER, TUNED):
                ratio = medians[OURS] / medians[name]
                goal(f"{back}: ours / {name}", ratio, most=1.0)
