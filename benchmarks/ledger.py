"""What a cluster object costs that keeps many nodes, on a launcher without a grid.

    python benchmarks/ledger.py [NODES]

The launcher returns ids and reports ends in place of Grid Engine; all else is the real
cluster, with its scheduler, reconciler and admission control. Nodes
arrive, become workers and end through the calls that sockets would make; no socket and
no worker is there, so none of these figures holds the scheduler's own costs.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from distributed.diagnostics.plugin import SchedulerPlugin
from paper import Paper, paper, say

sys.path.insert(0, str(Path(__file__).parents[1]))

from dask_gridengine import GridEngineCluster
from tests.samples import exit_report, hello

LIMIT = 0.5  # seconds that each may take
RATE = 1000  # changes of state a second that are to be kept up with
IDLE = 10.0  # seconds for which the cluster is left alone
HOSTS = 500


class Crowd:
    """The nodes of a cluster, and what they do."""

    def __init__(self, fleet: Any) -> None:
        self._fleet = fleet
        self._hello = hello()

    def greet(self, record: Any) -> None:
        """It comes to the door, and is a worker as soon as it is let in."""
        fields = {**vars(self._hello), **self._fields(record)}
        self._fleet.admission.answer(type(self._hello)(**fields))

    def work(self) -> int:
        """Register the workers of all importing nodes; return how many."""
        importing = [r for r in self._fleet.registry.live.values() if _imports(r)]
        for record in importing:
            self._fleet.registered(record.worker)
        return len(importing)

    def leave(self, record: Any) -> None:
        """Send its exit report, then its end notice."""
        fields = self._fields(record)
        self._fleet._on_exit_report(
            exit_report(**fields, cause="killed", signal="SIGKILL")
        )
        self._fleet.launcher.end(record.id)

    def all_leave(self) -> None:
        """End all nodes that have arrived."""
        for record in list(self._fleet.registry.live.values()):
            if record.process_token is not None:
                self.leave(record)

    @staticmethod
    def _fields(record: Any) -> dict[str, Any]:
        job, index = record.id
        return {
            "job": job,
            "index": index,
            "submission_id": record.submission_id,
            "process_token": f"{int(job):08x}{index:08x}",
            "host": f"node{index % HOSTS}",
        }


class Leaving(SchedulerPlugin):  # type: ignore[misc]
    """What workers do when their scheduler closes: they leave."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    async def before_close(self) -> None:
        self._crowd.all_leave()


def _imports(record: Any) -> bool:
    return str(record.state.value) == "importing"


async def timed(what: str, work: Callable[[], Any], limit: float = LIMIT) -> Any:
    """Do it, and say how long that took."""
    gc.collect()
    began = time.perf_counter()
    result = work()
    if hasattr(result, "__await__"):
        result = await result
    took = time.perf_counter() - began
    say(what, f"{took * 1e3:8.1f} ms", took <= limit)
    return result


async def idle(what: str, launcher: Paper, limit: float | None = None) -> None:
    """What the cluster costs when nothing happens."""
    await asyncio.sleep(2)  # what was begun is done
    process, calls = psutil.Process(), launcher.calls
    before = process.cpu_times()
    await asyncio.sleep(IDLE)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    share = spent / IDLE
    say(f"{what}: of a core", f"{share:8.2%}", None if limit is None else share < limit)
    say(f"{what}: calls to the grid", f"{launcher.calls - calls}")


async def changes(crowd: Crowd, records: Sequence[Any]) -> None:
    """All arrive and become workers, and the first half ends."""
    began = time.perf_counter()
    number = 0
    for record in records:
        crowd.greet(record)
        number += 1
        if number % 100 == 0:
            number += crowd.work()
            await asyncio.sleep(0)
    while worked := crowd.work():
        number += worked
        await asyncio.sleep(0)
    for i, record in enumerate(records[: len(records) // 2]):
        crowd.leave(record)
        if i % 100 == 0:
            await asyncio.sleep(0)
    number += 3 * len(records) // 2  # each is allocated, and half leave
    while any(r.state.value != "gone" for r in records[: len(records) // 2]):  # noqa: ASYNC110
        await asyncio.sleep(0)
    rate = number / (time.perf_counter() - began)
    say("changes of state, a second", f"{rate:8.0f}", rate > RATE)


async def main(count: int) -> None:
    logging.getLogger("dask_gridengine").setLevel(logging.ERROR)
    make = functools.partial(
        GridEngineCluster,
        launcher="drmaa",
        asynchronous=True,
        quiet=True,
        max_importing=100,
        scheduler_options={"dashboard_address": ":0"},
    )
    print(f"{count} nodes (each may take {LIMIT} s)")
    with paper():
        async with make() as cluster:
            await idle("idle, no nodes", cluster.pool().launcher)
            cluster.scale(jobs=1000)
            await asyncio.sleep(1)
            await idle("idle, 1,000 queued", cluster.pool().launcher, 0.01)
        async with make() as cluster:
            fleet = cluster.pool()
            process = psutil.Process()
            gc.collect()
            before = process.memory_info().rss
            await timed(f"scale({count})", lambda: cluster.scale(jobs=count))
            gc.collect()
            each = (process.memory_info().rss - before) / count
            say("memory a node", f"{each / 1e3:8.1f} kB", each < 10e3)
            await look(cluster)
            records, crowd = list(fleet.registry), Crowd(fleet)
            await changes(crowd, records)
            each = (process.memory_info().rss - before) / count
            say("memory a node, after that", f"{each / 1e3:8.1f} kB", each < 10e3)
            await look(cluster)
            await idle("idle, half of them working", fleet.launcher)
            await timed(f"scale({count // 4})", lambda: cluster.scale(jobs=count // 4))
            cluster.scheduler.add_plugin(Leaving(crowd))
            await timed("close()", cluster.close)


async def look(cluster: Any) -> None:
    """As people do."""
    await timed("jobs(), as text", lambda: str(cluster.jobs()))
    await timed("explain()", cluster.explain)
    node = str(next(iter(cluster.pool().registry.live)))  # ended ones are dropped
    await timed("explain(node)", lambda: cluster.explain(node))
    await timed("repr", lambda: repr(cluster))
    await timed("the notebook's table", cluster._repr_html_)
    await timed("get_logs()", lambda: cluster.get_logs(scheduler=False, workers=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nodes", type=int, nargs="?", default=10_000)
    asyncio.run(main(parser.parse_args().nodes))
