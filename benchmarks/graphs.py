"""Dask's own work through our cluster, beside LocalCluster: nothing may be added to it.

    python benchmarks/graphs.py [--repeats N]

Both have two workers of one thread, in processes with a Nanny, and TLS. Both are there
all the time and take turns, so that a machine that grows slower slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import dask
import dask.array as da
from dask.delayed import delayed
from dask.distributed import Client, LocalCluster
from paper import say

from dask_gridengine import GridEngineCluster

WORKERS = 2
GOAL = 1.05  # times what LocalCluster takes
DASHBOARD = ":0"
LONG = 2  # repeats of what takes very long


def array() -> None:
    """Many small blocks, all of which meet in a reduction, and a transpose."""
    x = da.random.default_rng(1).random((4000, 4000), chunks=(500, 500))
    (x @ x.T).mean(axis=0).sum().compute()


def frame() -> None:
    """A shuffle of 40 partitions by peer to peer, and a group by."""
    days = dask.datasets.timeseries(
        "2000-01-01", "2000-02-10", freq="60s", partition_freq="1d", seed=1
    )
    days.shuffle("id").groupby("name").x.mean().compute()


def graph() -> None:
    """10,000 tasks that do nothing, and a tree that adds them up."""
    level = [delayed(int, pure=False)(i % 7) for i in range(9000)]
    while len(level) > 1:
        level = [delayed(sum)(level[i : i + 10]) for i in range(0, len(level), 10)]
    level[0].compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    works: list[Callable[[], None]] = [array, frame, graph]
    with (
        GridEngineCluster(
            jobs=WORKERS,
            cores=1,
            memory="2 GiB",
            launcher="process",
            slots=WORKERS,
            scheduler_options={"dashboard_address": DASHBOARD},
            quiet=True,
        ) as ours,
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            memory_limit="2 GiB",
            security=True,
            dashboard_address=DASHBOARD,
        ) as local,
        Client(ours, set_as_default=False) as mine,
        Client(local, set_as_default=False) as theirs,
    ):
        for client in (mine, theirs):
            client.wait_for_workers(WORKERS)
        for work in works:
            times: dict[Client, list[float]] = {mine: [], theirs: []}
            turns = repeats if work is not graph else min(repeats, LONG)
            for turn in range(turns + 1):
                for client in (mine, theirs) if turn % 2 else (theirs, mine):
                    with client.as_current():
                        began = time.perf_counter()
                        work()
                        times[client].append(time.perf_counter() - began)
            # The first of each imports, and finds nothing in its caches.
            medians = [statistics.median(seen[1:]) for seen in times.values()]
            ratio = medians[0] / medians[1]
            took = f"{medians[0]:.2f} / {medians[1]:.2f} s"
            say(f"{work.__name__}: ours / LocalCluster", took)
            say(f"{work.__name__}: ratio", f"{ratio:.2f}", ratio < GOAL)


if __name__ == "__main__":
    main()
