"""Which deaths of workers count against a task; real workers in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client, Future, Worker
from distributed.scheduler import KilledWorker

from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.errors import NodesFailed
from dask_gridengine.scheduler import failure_attribution as module
from dask_gridengine.scheduler.failure_attribution import Evidence
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.scheduler.scene import info_of, lose, nap, working
from tests.waiting import until


async def hold(scheduler: ClusterScheduler, client: Client, worker: Worker) -> Future:
    """A task whose worker has died, for a cause that is not known yet."""
    info_of(scheduler).found = Evidence(pending=True)
    task = client.submit(nap, workers=[worker.name], allow_other_workers=True)
    await until(lambda: worker.state.executing_count, "it runs")
    await lose(scheduler, worker)
    return task


async def test_removals_and_exits_are_reported(tmp_path: Path) -> None:
    """Every removal, whether it was expected, and the exits that Nannies report."""
    async with working(tmp_path, 2) as (scheduler, _, workers):
        info = info_of(scheduler)
        await lose(scheduler, workers[0])
        await scheduler.retire_workers(names=["w1"], close_workers=True)
        assert info.lost == [("w0", False), ("w1", True)]
        scheduler.log_event(WORKER_EXIT, {"name": "w1", "signal": "SIGKILL"})
        scheduler.log_event("another topic", {"name": "w0"})
        assert info.exits == ["w1"]


async def test_a_task_that_kills_its_workers_fails_with_the_cause(
    tmp_path: Path,
) -> None:
    """Once the cause is known; until then it endangers no other worker."""
    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
        task = await hold(scheduler, client, ws[0])
        info_of(scheduler).found = Evidence()
        with pytest.raises(KilledWorker) as caught:
            await task
        assert caught.value.last_worker.name == "w0"
        assert caught.value.allowed_failures == 0
        assert scheduler.suspects_of(task.key) == ["w0"]
        assert info_of(scheduler).explained == [["w0"]]
        (note,) = caught.value.__notes__
        assert "they died: w0" in note
        assert not ws[1].state.tasks, "it was tried on another"


async def test_a_retired_worker_does_not_count(tmp_path: Path) -> None:
    """A task that ran on it goes on elsewhere."""
    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, _):
        task = client.submit(nap, workers=["w0"], allow_other_workers=True)
        (ws,) = (ws for ws in scheduler.workers.values() if ws.name == "w0")
        await until(lambda: ws.processing, "it is sent")
        await scheduler.retire_workers(names=["w0"], close_workers=True)
        assert scheduler.suspects_of(task.key) == []
        await task


async def test_suspects_are_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cluster that loses workers for weeks stays small."""
    monkeypatch.setattr(module, "MAX_SUSPECTS", 2)

    async with working(tmp_path, allowed_failures=99) as (scheduler, client, (w,)):
        # More than it has threads: all that it was sent counts as running there.
        tasks = client.map(lambda i: nap(), range(3), workers=["w0"], pure=False)
        (ws,) = scheduler.workers.values()
        await until(lambda: len(ws.processing) == 3, "all are sent to it")
        await lose(scheduler, w)
        known = [task for task in tasks if scheduler.suspects_of(task.key)]
        assert len(known) == 2
        await client.cancel(tasks)


async def test_a_task_is_held_until_the_cause_is_known(tmp_path: Path) -> None:
    """If it was not the task's fault, the task runs where it may, as before."""
    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
        task = await hold(scheduler, client, ws[0])
        assert await client.submit(abs, -1) == 1  # a worker has time
        (ts,) = scheduler.unrunnable
        assert ts.key == task.key
        info_of(scheduler).found = Evidence(excluded=["w0"])
        await task
        assert ts.suspicious == 0
        assert ts.worker_restrictions == {ws[0].address}
        assert ts.loose_restrictions


async def test_a_new_worker_does_not_get_a_held_task(tmp_path: Path) -> None:
    """It might be the next to die."""
    async with working(tmp_path, allowed_failures=0) as (scheduler, client, (w,)):
        task = await hold(scheduler, client, w)
        async with Worker(scheduler.address, local_directory=tmp_path):
            assert await client.submit(abs, -1) == 1
            assert scheduler.tasks[task.key].state == "no-worker"
            info_of(scheduler).found = Evidence(excluded=["w0"])
            await task


async def test_only_deaths_that_count_are_counted(tmp_path: Path) -> None:
    """Of two, one of which the task did not cause, one is left, and one is allowed."""
    async with working(tmp_path, 2, allowed_failures=1) as (scheduler, client, ws):
        task = client.submit(nap)
        for count in (1, 2):
            await until(
                lambda: any(w.state.executing_count for w in ws), f"run {count}"
            )
            (busy,) = [w for w in ws if w.state.executing_count]
            info_of(scheduler).found = Evidence(pending=True)
            await lose(scheduler, busy)
            await busy.close()
            ws.remove(busy)
        assert [ts.key for ts in scheduler.unrunnable] == [task.key]
        info_of(scheduler).found = Evidence(excluded=["w0"])
        async with Worker(scheduler.address, local_directory=tmp_path):
            await until(lambda: scheduler.suspects_of(task.key) == ["w1"], "one")
            info_of(scheduler).found = Evidence()
            await task
        assert scheduler.suspects_of(task.key) == ["w1"]
        assert scheduler.tasks[task.key].suspicious == 1


def nap_after(before: int) -> int:
    nap()
    return before


@pytest.mark.parametrize("excluded", [["w0"], []])
async def test_a_dependency_that_was_lost_too_is_computed_again(
    tmp_path: Path, excluded: list[str]
) -> None:
    """Whether the task fails or not."""
    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
        where = {"workers": ["w0"], "allow_other_workers": True}
        before = client.submit(nap_after, 3, **where)
        await before
        task = client.submit(nap_after, before, **where)
        await until(lambda: ws[0].state.executing_count, "it runs")
        info_of(scheduler).found = Evidence(pending=True)
        await lose(scheduler, ws[0])
        info_of(scheduler).found = Evidence(excluded=excluded)
        if excluded:
            assert await task == 3
        else:
            with pytest.raises(KilledWorker):
                await task
        assert await before == 3


async def test_a_cause_that_stays_unknown_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a timeout; no task waits for ever."""
    monkeypatch.setattr(module, "CAUSE_TIMEOUT", 0.2)

    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
        task = await hold(scheduler, client, ws[0])
        with pytest.raises(KilledWorker):
            await task


async def test_a_held_task_can_be_cancelled_and_submitted_again(tmp_path: Path) -> None:
    """The new one is not held."""
    async with working(tmp_path, 2, allowed_failures=0) as (scheduler, client, ws):
        task = await hold(scheduler, client, ws[0])
        await client.cancel([task])
        await until(lambda: task.key not in scheduler.tasks, "it is forgotten")
        # Another client: the first one may hear of its cancelled key only now.
        async with Client(
            scheduler.address, asynchronous=True, set_as_default=False
        ) as other:
            await other.submit(nap, key=task.key, workers=["w1"])
            assert ws[1].state.tasks


async def test_a_key_that_is_used_again_has_no_old_deaths(tmp_path: Path) -> None:
    """The deaths of an earlier task of this key do not count against the new one."""
    async with working(tmp_path, 3, allowed_failures=1) as (scheduler, client, ws):
        where = {"key": "k", "allow_other_workers": True}
        first = client.submit(nap, workers=["w0"], **where)
        await until(lambda: ws[0].state.executing_count, "it runs")
        await lose(scheduler, ws[0])
        assert scheduler.suspects_of("k") == ["w0"]
        await client.cancel([first])
        await until(lambda: "k" not in scheduler.tasks, "it is forgotten")
        async with Client(
            scheduler.address, asynchronous=True, set_as_default=False
        ) as other:
            second = other.submit(nap, workers=["w1"], **where)
            # Not its worker's word: that may still run the first, which was cancelled.
            await until(
                lambda: (ts := scheduler.tasks.get("k")) and ts.processing_on,
                "the new one is processing",
            )
            await lose(scheduler, ws[1])
            assert scheduler.suspects_of("k") == ["w1"]
            await second


async def test_a_held_task_fails_if_no_worker_may_come(tmp_path: Path) -> None:
    """With that reason: it says more than a `KilledWorker`."""
    error = NodesFailed(1, 0, ["node 1.1 was deleted"])

    async with working(tmp_path, allowed_failures=0) as (scheduler, client, (w,)):
        task = await hold(scheduler, client, w)
        assert scheduler.fail_waiting(error) == 1
        with pytest.raises(NodesFailed, match="was deleted"):
            await task
