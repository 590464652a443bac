"""The Nannies of a node that has several workers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from dask_gridengine.exit_causes import Cause
from tests.stage import client_of, stage
from tests.waiting import until

WORKERS = ["ge-1-0", "ge-1-1", "ge-1-2"]


def names(scheduler: object) -> list[str]:
    return sorted(ws.name for ws in scheduler.workers.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_one_node_becomes_several_workers(
    start_method: str, tmp_path: Path
) -> None:
    """Each in a process of its own, named after the node; forked they share imports.

    Their semaphores are unlinked when all have opened theirs: none fails to open one,
    and none is left, also when they are started again together.
    """
    async with stage(tmp_path, processes=3, start_method=start_method) as on:
        node = on.start_node()
        for name in WORKERS:
            await on.worker(name)
        async with client_of(on) as client:
            pids = await client.run(os.getpid)
            parents = await client.run(os.getppid)
            assert len({*pids.values()}) == 3
            assert len({*parents.values()}) == 1
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not on.scheduler.workers, "all are lost", 20)
            await until(lambda: names(on.scheduler) == WORKERS, "all again", 30)
            assert not {*pids.values()} & {*(await client.run(os.getpid)).values()}
        await on.scheduler.retire_workers(names=WORKERS, close_workers=True)
        assert await node.ended() == 0
        assert (await on.exit_report()).cause == Cause.FINISHED.value


async def test_common_imports_are_done_before_the_fork(
    tmp_path: Path,
) -> None:
    """Versions are read, and the modules imported that Dask imports by name."""

    def look() -> tuple[int, bool]:
        from distributed.versions import _version_cached

        read = _version_cached.cache_info().misses
        return read, "distributed.http.worker.prometheus" in sys.modules

    async with stage(tmp_path, processes=3) as on:
        node = on.start_node()
        for name in WORKERS:
            await on.worker(name)
        async with client_of(on) as client:
            (before,) = {*(await client.run(look, nanny=True)).values()}
            assert before[0] > 0
            assert before[1]
            assert {*(await client.run(look)).values()} == {before}
        await on.scheduler.retire_workers(names=WORKERS, close_workers=True)
        assert await node.ended() == 0


async def test_a_node_that_drains_moves_the_data_of_all_its_workers(
    tmp_path: Path,
) -> None:
    """To other nodes, not to each other."""
    async with stage(tmp_path, processes=2) as on:
        node = on.start_node()
        for name in WORKERS[:2]:
            await on.worker(name)
        async with client_of(on) as client:
            held = client.map(abs, range(-20, 0), pure=False)
            await client.gather(held)
            staying = on.start_node(index=2)
            for name in ("ge-2-0", "ge-2-1"):
                await on.worker(name)
            node.process.terminate()
            assert await node.ended() == 0
            assert {ws.name for ws in on.scheduler.workers.values()} == {
                "ge-2-0",
                "ge-2-1",
            }
            assert await client.gather(held) == list(range(20, 0, -1))
            staying.process.terminate()
