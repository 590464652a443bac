"""What the dashboard page costs with many nodes: time of this process, bytes sent.

python benchmarks/dashboard.py [NODES]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dask_gridengine.views.json_api import document
from tests.simulated import Nodes, many
from tests.views.sent import Shown

HOSTS = 60
TIMES = 21


def main(count: int) -> None:
    """Print a line for each kind of update."""
    nodes = many(count, HOSTS)
    started = time.perf_counter()
    shown = Shown(nodes.history, nodes.clock)
    made = time.perf_counter() - started
    whole = len(str(shown.document.to_json()))
    print(f"{count} nodes on {HOSTS} hosts")
    print(f"  the page for a visitor   {made * 1e3:8.1f} ms {whole / 1e3:10.1f} kB")
    _say("nothing changes", shown, nodes, lambda: None)
    for some in (1, 20):
        _say(f"{some} more come and work", shown, nodes, lambda n=some: _come(nodes, n))
    fresh = Nodes()
    records = fresh.submit(count)
    shown = Shown(fresh.history, fresh.clock)

    def all_come() -> None:
        for i, record in enumerate(records):
            fresh.arrive(record, f"node{i % HOSTS:03d}")
            fresh.work(record)

    def all_end() -> None:
        for record in records:
            fresh.end(record)

    _say(f"{count} come at once", shown, fresh, all_come, times=1)
    _say(f"{count} end at once", shown, fresh, all_end, times=1)
    started = time.perf_counter()
    size = len(str(document(nodes.history)))
    taken = time.perf_counter() - started
    print(f"  json/gridengine.json     {taken * 1e3:8.1f} ms {size / 1e3:10.1f} kB")


def _come(nodes: Nodes, count: int) -> None:
    job = str(100 + len(nodes.registry.records))
    for record in nodes.submit(count, job):
        nodes.arrive(record, "node001")
        nodes.work(record)


def _say(
    what: str,
    shown: Shown,
    nodes: Nodes,
    deed: Callable[[], object],
    times: int = TIMES,
) -> None:
    took, sizes = [], []
    for _ in range(times):
        nodes.clock.now += 0.5
        deed()
        started = time.perf_counter()
        shown.page.update()
        took.append(time.perf_counter() - started)
        sizes.append(shown.sent())
    ms, kb = statistics.median(took) * 1e3, statistics.median(sizes) / 1e3
    print(f"  {what:24} {ms:8.1f} ms {kb:10.1f} kB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
