"""A million squares on two processes, with this package and with others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from map_report import clock, goal, row, same, skipped, take_turns, title
from map_work import square

PROCESSES = 2
OURS, POOL, CLIENT = "gridengine.map", "Pool.map", "client.map + gather"
MOST, LEAST = 1.2, 1000  # times as long as Pool.map, times as fast as client.map

Items = Sequence[int]


@dataclass(frozen=True)
class Contender:
    """Some way to square numbers."""

    run: Callable[[Items], Sequence[int]]
    share: float = 1.0  # of the items; where a million would take minutes
    once: bool = False  # it iterates any items, so a list will do


@contextlib.contextmanager
def pool() -> Iterator[Contender]:
    with multiprocessing.Pool(PROCESSES) as workers:
        yield Contender(lambda items: workers.map(square, items))


@contextlib.contextmanager
def executor() -> Iterator[Contender]:
    with concurrent.futures.ProcessPoolExecutor(PROCESSES) as workers:

        def run(items: Items) -> list[int]:
            return list(workers.map(square, items, chunksize=-(-len(items) // 8)))

        yield Contender(run)


@contextlib.contextmanager
def joblib() -> Iterator[Contender]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    def run(items: Items) -> list[int]:
        with Parallel(n_jobs=PROCESSES) as parallel:
            found: list[int] = parallel(delayed(square)(item) for item in items)
        return found

    try:
        yield Contender(run, share=0.1, once=True)
    finally:
        get_reusable_executor().shutdown(wait=True)


@contextlib.contextmanager
def ipyparallel() -> Iterator[Contender]:
    with tempfile.TemporaryDirectory(prefix="map-ipython-") as profiles:
        os.environ["IPYTHONDIR"] = profiles
        import ipyparallel as ipp
        from ipyparallel.cluster.launcher import LocalEngineSetLauncher

        cluster = ipp.Cluster(
            n=PROCESSES, engines=LocalEngineSetLauncher, log_level=logging.ERROR
        )
        try:
            client = cluster.start_and_connect_sync(n=PROCESSES)
            view = client[:]
            yield Contender(lambda items: view.map_sync(square, items))
            client.close()
        finally:
            cluster.stop_cluster_sync()


@contextlib.contextmanager
def dask_and_ours() -> Iterator[dict[str, Contender]]:
    """Both on the same workers."""
    import gridengine

    with gridengine.ProcessScheduler(PROCESSES) as scheduler:
        client = scheduler.client

        def dask(items: Items) -> Any:
            return client.gather(client.map(square, items, pure=False))

        ours = partial(gridengine.map, square, scheduler=scheduler)
        ours([1, 2])
        client.wait_for_workers(PROCESSES)
        yield {OURS: Contender(ours), CLIENT: Contender(dask, share=0.002, once=True)}


@contextlib.contextmanager
def everybody() -> Iterator[dict[str, Contender]]:
    """All contenders, warm. Those that fork come first, while there is one thread."""
    with contextlib.ExitStack() as stack:
        found = {
            POOL: stack.enter_context(pool()),
            "ProcessPoolExecutor, 8 chunks": stack.enter_context(executor()),
        }
        for contender in found.values():
            contender.run(range(1000))
        for name, make in {
            "joblib": joblib,
            "ipyparallel, direct view": ipyparallel,
        }.items():
            if find_spec(make.__name__) is None:
                skipped(name, "it is not installed")
                continue
            try:
                found[name] = stack.enter_context(make())
            except Exception as exc:  # noqa: BLE001 - whatever it is, it does not start
                skipped(name, f"it does not start: {exc!r}")
        found.update(stack.enter_context(dask_and_ours()))
        yield found


def compare(contenders: dict[str, Contender], items: Items, repeats: int) -> None:
    calls, shares = {}, {}
    for name, contender in contenders.items():
        part = items[: max(PROCESSES, int(len(items) * contender.share))]
        same(name, list(contender.run(part)), [x * x for x in part])
        calls[name] = partial(clock, partial(contender.run, part))
        shares[name] = len(items) / len(part)
    times = take_turns(calls, repeats)
    medians = {}
    for name, found in times.items():
        note = ""
        if shares[name] > 1:
            part = int(len(items) / shares[name])
            note = f"{part:,} items, times {shares[name]:g}"
        scaled = [seconds * shares[name] for seconds in found]
        medians[name] = row(name, scaled, note)
    kind = type(items).__name__
    ours = medians[OURS]
    goal(f"{kind}: ours / {POOL}", ours / medians[POOL], most=MOST)
    if CLIENT in medians:
        goal(f"{kind}: {CLIENT} / ours", medians[CLIENT] / ours, least=LEAST)


def squares(repeats: int, quick: bool) -> None:
    count = 200_000 if quick else 1_000_000
    with everybody() as contenders:
        title(f"{count:,} squares of a list, {PROCESSES} warm processes", repeats)
        compare(contenders, list(range(count)), repeats)
        title(f"{count:,} squares of a range, {PROCESSES} warm processes", repeats)
        some = {name: c for name, c in contenders.items() if not c.once}
        compare(some, range(count), repeats)
