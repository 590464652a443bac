"""From ``scale(n)`` to n registered workers, ours beside dask-jobqueue, in one run.

Run it on the master host of a cell, with dask-jobqueue installed::

    ci/grid up 2 20
    ci/grid run gridmaster .venv/bin/python benchmarks/startup.py --nodes 4 16 32
    ci/grid down

Both get one thread and 1 GiB a worker and a Nanny. Ours has TLS and CURVE on, which is
its default; dask-jobqueue has neither, which is its. The two take turns, so that a
machine that grows slower meanwhile slows both. The floor is what no way of starting a
process that imports distributed can beat on these cores.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from distributed.core import Status
from paper import say

MEMORY = "1 GiB"
RATIO, FLOOR = 4.0, 1.3  # aimed at: times faster, and times the floor
RATIO_FROM = 16  # workers
QUIET_PERCENT = 15.0  # of all cores, before the next contender's turn
QUIET = {"dashboard_address": ":0"}


def ours() -> Any:
    from dask_gridengine import GridEngineCluster

    return GridEngineCluster(
        launcher="drmaa", memory=MEMORY, scheduler_options=QUIET, quiet=True
    )


def jobqueue() -> Any:
    from dask_jobqueue import SGECluster

    return SGECluster(
        cores=1,
        processes=1,
        memory=MEMORY,
        scheduler_options=QUIET,
        log_directory=tempfile.mkdtemp(prefix="startup-logs-"),
    )


def local() -> Any:
    from dask.distributed import LocalCluster

    return LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        memory_limit=MEMORY,
        security=True,
        **QUIET,
    )


@contextlib.contextmanager
def working_in(folder: str) -> Iterator[None]:
    """`contextlib.chdir`, which Python has from 3.11 on."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def ipyparallel_seconds(n: int, timeout: float = 180) -> float:
    """Wall seconds until n engines of ipyparallel's array job have registered.

    Its controller is there already, as the scheduler is in the other cases. An engine
    imports no Dask, and has no Nanny.
    """
    import ipyparallel

    with (
        tempfile.TemporaryDirectory(prefix="startup-ipp-") as folder,
        working_in(folder),  # its launcher leaves its job script there
    ):
        cluster = ipyparallel.Cluster(
            engines="sge",
            profile_dir=f"{folder}/profile",
            controller_ip="*",
            controller_location=socket.gethostname(),
            send_engines_connection_env=False,
            log_level=logging.ERROR,
        )
        cluster.start_controller_sync()
        client = cluster.connect_client_sync()
        started = time.perf_counter()
        cluster.start_engines_sync(n)
        client.wait_for_engines(n, timeout=timeout, interactive=False)
        took = time.perf_counter() - started
        client.close()
        cluster.stop_cluster_sync()
    wait_for_empty_queue()
    return took


def seconds_to_start(make: Callable[[], Any], n: int, timeout: float = 180) -> float:
    """Wall seconds from scale(n) until the scheduler has n running workers."""
    with make() as cluster:
        workers = cluster.scheduler.workers
        started = time.perf_counter()
        cluster.scale(n)
        while sum(ws.status is Status.running for ws in list(workers.values())) < n:
            if time.perf_counter() - started > timeout:
                raise SystemExit(f"{len(workers)} of {n} workers in {timeout} s")
            time.sleep(0.01)
        took = time.perf_counter() - started
    wait_for_empty_queue()
    return took


def wait_for_empty_queue() -> None:
    """One run's leftovers must not slow the next one's start, nor its processes."""
    deadline = time.monotonic() + 60
    while subprocess.run(["qstat"], capture_output=True, check=True).stdout:
        if time.monotonic() > deadline:
            raise SystemExit("jobs are left in the queue")
        time.sleep(0.1)
    while (busy := psutil.cpu_percent(0.5)) > QUIET_PERCENT:
        if time.monotonic() > deadline:
            print(f"  something else uses {busy:.0f} % of this machine", flush=True)
            return


def import_cpu_seconds() -> float:
    """CPU seconds of ``python -c 'import distributed'``, median of five."""
    spent = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "import distributed"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
    return statistics.median(spent[1:])  # the first one warms the page cache


def show(name: str, times: list[float]) -> None:
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"  {name:<16} {middle:7.2f} s   ({low:.2f} to {high:.2f})", flush=True)


def in_turns(
    contenders: dict[str, Callable[[], float]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each contender; all of them run once before the next round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(run())
    return times


def compare(n: int, repeats: int, cpu: float, *, also: bool) -> float:
    """Print one row a contender; returns the ratio of the medians."""
    contenders: dict[str, Callable[[], float]] = {
        "dask-gridengine": lambda: seconds_to_start(ours, n),
        "dask-jobqueue": lambda: seconds_to_start(jobqueue, n),
    }
    if also:
        contenders["LocalCluster"] = lambda: seconds_to_start(local, n)
    times = in_turns(contenders, repeats)
    if also:  # last: its processes take a while to end, and slow the next one
        times |= in_turns({"ipyparallel, SGE": lambda: ipyparallel_seconds(n)}, repeats)
    print(f"{n} workers, median of {repeats} (spread)", flush=True)
    for name, found in times.items():
        show(name, found)
    ratio = statistics.median(times["dask-jobqueue"]) / statistics.median(
        times["dask-gridengine"]
    )
    floor = n * cpu / len(os.sched_getaffinity(0))
    above = statistics.median(times["dask-gridengine"]) / floor
    aimed = n >= RATIO_FROM
    say(f"{n} workers: times faster", f"{ratio:.1f}", ratio >= RATIO if aimed else None)
    of = f"{n} workers: of the floor, {floor:.2f} s"
    say(of, f"{above:.2f}", above <= FLOOR if aimed else None)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--also", action="store_true", help="LocalCluster and ipyparallel, for scale"
    )
    options = parser.parse_args()
    cpu = import_cpu_seconds()
    print(f"import distributed: {cpu:.2f} s of CPU, {os.cpu_count()} CPUs\n")
    for n in options.nodes:
        compare(n, options.repeats, cpu, also=options.also)


if __name__ == "__main__":
    main()
