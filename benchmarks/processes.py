"""Nodes of eight workers beside nodes of one: time to start, and memory.

Run it on the master host of a cell::

    ci/grid up 2 20
    ci/grid run gridmaster .venv/bin/python benchmarks/processes.py
    ci/grid down

Both get 32 workers of one thread, with TLS, CURVE and a Nanny each. They take turns, so
that a machine that grows slower meanwhile slows both. Memory is the proportional set
size (what is shared counts once) of all processes of the nodes when all workers have
registered.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from startup import QUIET, show, wait_for_empty_queue

from dask_gridengine import GridEngineCluster

WORKERS = 32


def make(processes: int) -> GridEngineCluster:
    """Make a cluster whose nodes have `processes` workers, each with its own slot."""
    environment = {"parallel_environment": "smp"} if processes > 1 else {}
    return GridEngineCluster(
        launcher="drmaa",
        cores=processes,
        processes=processes,
        memory=f"{processes} GiB",
        scheduler_options=QUIET,
        quiet=True,
        **environment,
    )


def start(processes: int) -> tuple[float, float]:
    """Wall seconds from scale() to the last worker, and megabytes of memory then."""
    with make(processes) as cluster:
        began = time.perf_counter()
        cluster.scale(n=WORKERS)
        cluster.wait_for_workers(WORKERS, timeout=180)
        took = time.perf_counter() - began
        memory = nodes_memory()
    wait_for_empty_queue()
    return took, memory / 1e6


def nodes_memory() -> int:
    """Bytes of all nodes and what they have forked, which bears their command line."""
    total = 0
    for process in psutil.process_iter(["cmdline"]):
        if "dask_gridengine.node" not in (process.info["cmdline"] or []):
            continue
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += sum(
                int(line.split()[1]) * 1024
                for line in rollup.splitlines()
                if line.startswith("Pss:")
            )
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    contenders: dict[str, Callable[[], tuple[float, float]]] = {
        f"{WORKERS} x 1": lambda: start(1),
        f"{WORKERS // 8} x 8": lambda: start(8),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            found[name].append(run())
    print(f"{WORKERS} workers, median of {repeats} (spread)")
    for name, runs in found.items():
        show(name, [seconds for seconds, _ in runs])
        print(f"  {'':<16} {statistics.median(size for _, size in runs):7.0f} MB")
    one, many = found.values()
    for what, goal, i in (("time", 3, 0), ("memory", 2, 1)):
        ratios = sorted(a[i] / b[i] for a, b in zip(one, many, strict=True))
        middle = statistics.median(ratios)
        verdict = "holds" if middle >= goal else "falls short"
        print(
            f"  {what}: {middle:.1f} times less ({ratios[0]:.1f} to {ratios[-1]:.1f});"
            f" the goal is {goal}: {verdict}"
        )


if __name__ == "__main__":
    main()
