"""What a task is blamed for, and what not; real workers in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from distributed import Client, Future, Worker
from distributed.scheduler import KilledWorker

from dask_gridengine.errors import NodesFailed
from dask_gridengine.scheduler import failure_attribution as module
from dask_gridengine.scheduler.failure_attribution import Evidence
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.scheduler.scene import lose, nap, working
from tests.waiting import until


def test_a_killed_worker_carries_its_suspects(tmp_path: Path) -> None:
    """The exception says who died with the task, whoever gets it."""

    async def main() -> None:
        async with working(tmp_path, allowed_failures=0) as (scheduler, client, (w,)):
            task = client.submit(nap)
            await until(lambda: w.state.executing_count, "it runs")
            await lose(scheduler, w)
            with pytest.raises(KilledWorker) as caught:
                await task
            assert scheduler.suspects_of(task.key) == ["w0"]
            assert scheduler.failure_info.asked == [["w0"]]
            (note,) = caught.value.__notes__
            assert "they died: w0" in note

    asyncio.run(main())


def test_who_is_let_go_is_no_suspect(tmp_path: Path) -> None:
    """A task that ran on a retired worker was not killed by it."""

    async def main() -> None:
        async with working(tmp_path, 2) as (scheduler, client, (w, _)):
            task = client.submit(nap, workers=["w0"], allow_other_workers=True)
            await until(lambda: w.state.executing_count, "it runs")
            await scheduler.retire_workers(names=["w0"], close_workers=True)
            assert scheduler.suspects_of(task.key) == []
            await task

    asyncio.run(main())


def test_suspects_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The oldest are forgotten: a cluster that loses workers for weeks stays small."""
    monkeypatch.setattr(module, "MOST_SUSPECTS", 2)

    async def main() -> None:
        async with working(tmp_path, allowed_failures=99) as (scheduler, client, (w,)):
            # More than it has threads: all that it was sent counts as running there.
            tasks = client.map(lambda i: nap(), range(3), workers=["w0"], pure=False)
            await until(
                lambda: (
                    [len(ws.processing) for ws in scheduler.workers.values()] == [3]
                ),
                "all are sent to it",
            )
            await lose(scheduler, w)
            known = [task for task in tasks if scheduler.suspects_of(task.key)]
            assert len(known) == 2
            await client.cancel(tasks)

    asyncio.run(main())


async def hold(scheduler: ClusterScheduler, client: Client, worker: Worker) -> Future:
    """A task whose worker has died, of a cause that nobody knows yet."""
    scheduler.failure_info.found = Evidence(pending=True)
    task = client.submit(nap, workers=[worker.name], allow_other_workers=True)
    await until(lambda: worker.state.executing_count, "it runs")
    await lose(scheduler, worker)
    return task


def test_a_task_is_held_until_it_is_known_why_its_workers_died(tmp_path: Path) -> None:
    """Meanwhile it endangers no other worker; acquitted, it runs on one."""

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
            task = await hold(scheduler, client, ws[0])
            assert await client.submit(abs, -1) == 1  # there is a worker with time
            assert [ts.key for ts in scheduler.unrunnable] == [task.key]
            scheduler.failure_info.found = Evidence(blameless=["w0"])
            await task
            assert scheduler.tasks[task.key].suspicious == 0
            assert not scheduler._held

    asyncio.run(main())


def test_a_new_worker_does_not_get_what_is_held(tmp_path: Path) -> None:
    """It would be the next to die, for all one knows."""

    async def main() -> None:
        async with working(tmp_path, allowed_failures=0) as (scheduler, client, (w,)):
            task = await hold(scheduler, client, w)
            async with Worker(scheduler.address, local_directory=tmp_path):
                assert await client.submit(abs, -1) == 1
                assert scheduler.tasks[task.key].state == "no-worker"
                scheduler.failure_info.found = Evidence(blameless=["w0"])
                await task

    asyncio.run(main())


def test_a_task_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    """As Dask does, once the cause is known; the error says it."""

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
            task = await hold(scheduler, client, ws[0])
            scheduler.failure_info.found = Evidence()
            with pytest.raises(KilledWorker) as caught:
                await task
            assert caught.value.last_worker.name == "w0"
            assert "they died: w0" in "".join(caught.value.__notes__)
            assert not ws[1].state.tasks, "it was tried on another"

    asyncio.run(main())


def test_only_deaths_that_count_are_counted(tmp_path: Path) -> None:
    """Of two, one of which somebody wanted, one is left, and one is allowed."""

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=1) as (scheduler, client, ws):
            task = client.submit(nap)
            for count in (1, 2):
                await until(
                    lambda: any(w.state.executing_count for w in ws), f"run {count}"
                )
                (busy,) = [w for w in ws if w.state.executing_count]
                scheduler.failure_info.found = Evidence(pending=True)
                await lose(scheduler, busy)
                await busy.close()
                ws.remove(busy)
            assert task.key in scheduler._held
            scheduler.failure_info.found = Evidence(blameless=["w0"])
            await until(lambda: not scheduler._held, "the verdict")
            async with Worker(scheduler.address, local_directory=tmp_path):
                await task
            assert scheduler.suspects_of(task.key) == ["w1"]
            assert scheduler.tasks[task.key].suspicious == 1

    asyncio.run(main())


def nap_after(before: int) -> int:
    nap()
    return before


@pytest.mark.parametrize("blameless", [["w0"], []])
def test_what_it_depends_on_may_have_died_with_it(
    tmp_path: Path, blameless: list[str]
) -> None:
    """That is computed again elsewhere, whatever the verdict; then it holds."""

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
            where = {"workers": ["w0"], "allow_other_workers": True}
            before = client.submit(nap_after, 3, **where)
            await before
            task = client.submit(nap_after, before, **where)
            await until(lambda: ws[0].state.executing_count, "it runs")
            scheduler.failure_info.found = Evidence(pending=True)
            await lose(scheduler, ws[0])
            assert task.key in scheduler._held
            scheduler.failure_info.found = Evidence(blameless=blameless)
            if blameless:
                assert await task == 3
            else:
                with pytest.raises(KilledWorker):
                    await task
            assert await before == 3
            assert not scheduler._held

    asyncio.run(main())


def test_a_cause_that_nobody_tells_is_held_against_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a while; nothing waits for ever."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
            task = await hold(scheduler, client, ws[0])
            with pytest.raises(KilledWorker):
                await task

    asyncio.run(main())


def test_what_is_held_can_be_cancelled(tmp_path: Path) -> None:
    """Nothing is kept of it, and nobody waits for its verdict."""

    async def main() -> None:
        async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
            task = await hold(scheduler, client, ws[0])
            await client.cancel([task])
            await until(lambda: not scheduler._judging, "nobody judges")
            assert not scheduler._held

    asyncio.run(main())


def test_what_is_held_hears_that_no_worker_comes(tmp_path: Path) -> None:
    """That is worth more than a verdict."""
    error = NodesFailed(1, 0, ["node 1.1 was deleted"])

    async def main() -> None:
        async with working(tmp_path, allowed_failures=0) as (scheduler, client, (w,)):
            task = await hold(scheduler, client, w)
            scheduler.fail_waiting(error)
            with pytest.raises(NodesFailed, match="was deleted"):
                await task
            await until(lambda: not scheduler._judging, "nobody judges")

    asyncio.run(main())
