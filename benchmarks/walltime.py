"""A computation that takes several walltimes of its nodes; what is lost on the way.

Run it on the master host of a cell::

    ci/grid up 2 8
    ci/grid run gridmaster .venv/bin/python benchmarks/walltime.py --minutes 5
    ci/grid down

Every leaf's result is held to the end, so it has to be handed from node to node; then
all are summed up. Each task enters its beginning and its end into a file of its own.
It exits with 1 if the result is wrong, if a finished key was computed again, or if
there were fewer than target - 1 working nodes for longer than a start takes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause

EVERY = 0.1  # seconds between looks at the number of nodes
RESULT = 50_000  # bytes of a leaf's


def leaf(number: int, seconds: float, book: Path) -> tuple[int, bytes]:
    with (book / str(number)).open("a") as file:
        file.write("b")
        file.flush()
        time.sleep(seconds)
        file.write("e")
    return number, bytes(RESULT)


def total(*leaves: tuple[int, bytes]) -> int:
    return sum(number for number, _ in leaves)


class Watch(threading.Thread):
    """Notes how many nodes work, and how many there are."""

    def __init__(self, cluster: GridEngineCluster) -> None:
        super().__init__(daemon=True)
        self._cluster, self._over = cluster, threading.Event()
        self.working: list[int] = []
        self.all: list[int] = []

    def run(self) -> None:
        while not self._over.wait(EVERY):
            counts = self._cluster.counts
            self.working.append(counts.get("working", 0))
            self.all.append(sum(counts.values()) - counts.get("gone", 0))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def longest_below(self, number: int) -> float:
        """Seconds of the longest stretch with fewer working nodes."""
        stretches = itertools.groupby(self.working, lambda seen: seen < number)
        return max((EVERY * len([*s]) for below, s in stretches if below), default=0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--walltime", type=float, default=40.0)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--launcher", default="drmaa")
    given = parser.parse_args()
    book = Path(tempfile.mkdtemp(prefix="walltime-", dir="/var/tmp"))
    began = time.monotonic()
    slots = {"slots": 2 * given.nodes} if given.launcher == "process" else {}
    with (
        GridEngineCluster(
            jobs=given.nodes,
            walltime=given.walltime,
            launcher=given.launcher,
            memory="500 MB",
            quiet=True,
            scheduler_options={"dashboard": False, "dashboard_address": ":0"},
            **slots,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(given.nodes)
        start = time.monotonic() - began
        watch = Watch(cluster)
        watch.start()
        count = int(given.minutes * 60 * given.nodes / 0.9)
        leaves = [
            client.submit(leaf, i, 0.3 + 0.12 * (i * 7 % 11), book, pure=False)
            for i in range(count)
        ]
        groups = itertools.zip_longest(*[iter(leaves)] * 50)
        sums = [client.submit(total, *filter(None, group)) for group in groups]
        result = sum(client.gather(sums))
        took = time.monotonic() - began
        watch.stop()
        ends = Counter(row.cause for row in cluster.jobs() if row.cause)
    written = [path.read_text() for path in book.iterdir()]
    again = sum(text.count("e") > 1 for text in written)
    cut = sum(text.count("b") > text.count("e") for text in written)
    below = watch.longest_below(given.nodes - 1)
    right = result == count * (count - 1) // 2 and len(written) == count
    print(f"{count} tasks in {took:.0f} s on nodes of {given.walltime:g} s")
    print(f"result {'right' if right else 'WRONG'}")
    print(f"finished keys computed again: {again}; begun and cut off: {cut}")
    print(f"longest below target: {watch.longest_below(given.nodes):.1f} s")
    print(
        f"longest below target - 1: {below:.1f} s; the first start took {start:.1f} s"
    )
    print(f"nodes at most: {max(watch.all)}, of {given.nodes} wanted")
    print(f"ends of nodes: {dict(ends)}")
    good = right and not again and below <= start
    return 0 if good and set(ends) <= {Cause.EXPIRED.value} else 1


if __name__ == "__main__":
    sys.exit(main())
