"""How soon the grid has n nodes, and how soon it is rid of them; dask-jobqueue beside.

Run it on the master host of a cell, with dask-jobqueue installed::

    ci/grid up 2 20
    ci/grid run gridmaster .venv/bin/python benchmarks/submission.py
    ci/grid down

The queues are shut: nothing starts. Submission is the time from ``scale(jobs=n)`` until
the grid has accepted all of them. dask-jobqueue has a ``qsub`` a job, so few are enough
to know what one costs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paper import say
from startup import QUIET, jobqueue, wait_for_empty_queue

from dask_gridengine import GridEngineCluster

COUNTS = (1, 100, 1_000, 5_000, 20_000)
GOALS = {1_000: 0.1, 20_000: 1.0}  # seconds
WORKING, QUEUED, CLOSED = 32, 1_000, 3.0  # nodes, nodes, seconds
SLOW = 20  # jobs of dask-jobqueue


def ours(jobs: int = 0) -> GridEngineCluster:
    return GridEngineCluster(
        jobs=jobs,
        launcher="drmaa",
        memory="1 GiB",
        scheduler_options=QUIET,
        quiet=True,
    )


@contextmanager
def nothing_starts() -> Iterator[None]:
    """All queues are shut for as long as this lasts."""
    subprocess.run(["qmod", "-d", "*"], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["qmod", "-e", "*"], check=True, capture_output=True)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def accepted(cluster: GridEngineCluster, count: int) -> None:
    """Request nodes, and wait until the grid has them, in one or several arrays."""
    cluster.scale(jobs=count)
    while cluster.counts.get("queued", 0) < count:
        time.sleep(0.001)


def submit(count: int) -> tuple[float, float]:
    """Measure the seconds until the grid has the nodes, and until they are deleted."""
    with ours() as cluster:
        cluster.scale(jobs=1)  # what is done once is done
        asked = seconds(lambda: accepted(cluster, 1 + count))
        closed = seconds(cluster.close)
    wait_for_empty_queue()
    return asked, closed


def submit_one_by_one() -> float:
    """Seconds that a job costs dask-jobqueue."""
    with jobqueue() as cluster:
        cluster.scale(1)
        began = time.perf_counter()
        cluster.scale(1 + SLOW)
        while count_jobs() < 1 + SLOW:
            time.sleep(0.01)
        took = time.perf_counter() - began
    wait_for_empty_queue()
    return took / SLOW


def count_jobs() -> int:
    listing = subprocess.run(["qstat"], capture_output=True, text=True, check=True)
    return max(0, len(listing.stdout.splitlines()) - 2)


def close_at_work() -> tuple[float, int]:
    """Seconds of a close amid work, and how many jobs the grid has then."""
    with ours(WORKING) as cluster:
        cluster.wait_for_workers(WORKING, timeout=180)
        cluster.scale(jobs=WORKING + QUEUED)
        took = seconds(cluster.close)
        left = count_jobs()
    wait_for_empty_queue()
    return took, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    options = parser.parse_args()
    with nothing_starts():
        for count in options.counts:
            runs = [submit(count) for _ in range(options.repeats)]
            asked, closed = (
                statistics.median(times) for times in zip(*runs, strict=True)
            )
            goal = GOALS.get(count)
            say(
                f"{count} nodes accepted",
                f"{asked * 1e3:.0f} ms",
                None if goal is None else asked < goal,
            )
            say(f"{count} queued nodes gone", f"{closed * 1e3:.0f} ms")
        say("dask-jobqueue, a job accepted", f"{submit_one_by_one() * 1e3:.0f} ms")
    runs = [close_at_work() for _ in range(options.repeats)]
    took = statistics.median(seconds for seconds, _ in runs)
    say(f"{WORKING} working, {QUEUED} queued gone", f"{took:.2f} s", took < CLOSED)
    say("jobs the grid had then", f"{max(left for _, left in runs)}")


if __name__ == "__main__":
    main()
