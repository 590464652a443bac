"""What importing costs: on a node's way to its hello, and on top of distributed.

python benchmarks/imports.py

Contenders take turns, each in a Python of its own; medians of their CPU time.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from paper import say

TURNS = 11
#: What a node imports until it says hello, and that Dask is not among it.
NODE = """
import sys
import dask_gridengine.bootstrap.client
import dask_gridengine.node, dask_gridengine.worker.job_resources
assert not {'dask', 'distributed', 'tornado', 'numpy'} & set(sys.modules)
"""
PROGRAMS = {
    "python": "pass",
    "node": NODE,
    "distributed": "import distributed",
    "ours": "import distributed, dask_gridengine",
    "cluster": "import distributed; from dask_gridengine import GridEngineCluster",
}
GOALS = {"node": 0.060, "ours": 0.030}  # seconds


def cpu_seconds(program: str) -> float:
    """CPU seconds of a Python that runs this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(TURNS):
        for name, program in PROGRAMS.items():
            times[name].append(cpu_seconds(program))
    took = {name: statistics.median(seen) for name, seen in times.items()}

    def added(what: str, name: str, to: str) -> None:
        more = took[name] - took[to]
        goal = GOALS.get(name)
        say(what, f"{more * 1e3:.0f} ms", None if goal is None else more < goal)

    added("a node until its hello, on top of Python", "node", "python")
    added("import distributed, on top of Python", "distributed", "python")
    added("import dask_gridengine, on top of that", "ours", "distributed")
    added("GridEngineCluster itself, on top of that", "cluster", "distributed")


if __name__ == "__main__":
    main()
