"""The first map on a new scheduler, beside what its cluster needs for a first worker.

Both clocks start before the constructor and stop before anything is closed. The first
round, in which Python still imports this and that, is printed but not counted. Neither
has a dashboard: a scheduler of ours never has, and its import would slow the cluster.
"""

from __future__ import annotations

import time

from distributed.core import Status
from map_report import goal, rows, same, say, take_turns, title
from map_work import square

import gridengine
from dask_gridengine import GridEngineCluster

NODES, ITEMS = 2, 100
OURS, CLUSTER = "first map", "first worker of the cluster"
NO_DASHBOARD = {"dashboard": False, "dashboard_address": ":0"}


def first_map() -> float:
    started = time.perf_counter()
    with gridengine.ProcessScheduler(NODES) as scheduler:
        found = gridengine.map(square, range(ITEMS), scheduler=scheduler)
        took = time.perf_counter() - started
    same(OURS, found, [x * x for x in range(ITEMS)])
    return took


def first_worker(timeout: float = 60) -> float:
    started = time.perf_counter()
    with GridEngineCluster(
        jobs=NODES,
        launcher="process",
        slots=NODES,
        quiet=True,
        scheduler_options=NO_DASHBOARD,
    ) as cluster:
        workers = cluster.scheduler.workers
        while not any(ws.status is Status.running for ws in list(workers.values())):
            if time.perf_counter() - started > timeout:
                raise SystemExit(f"no worker in {timeout} s")
            time.sleep(0.001)
        return time.perf_counter() - started


def cold(repeats: int, quick: bool) -> None:
    title(f"The first map on a new ProcessScheduler({NODES})", repeats)
    contenders = {OURS: first_map, CLUSTER: first_worker}
    for name, run in contenders.items():
        say(f"  {name:<30} {run():9.3f} s   (not counted: the first here)")
    medians = rows(take_turns(contenders, repeats))
    goal("first map - first worker in s", medians[OURS] - medians[CLUSTER], most=0.3)
