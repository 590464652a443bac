"""What `SpecCluster` gets wrong, S1 to S14, and that ours does not.

Every test is run on the plain base class first, where it must fail: a defect that is
mended upstream shows here, and what we do about it can go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, ClassVar

import dask
import psutil
import pytest
from distributed import Client, Scheduler, SpecCluster, Worker
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface
from distributed.deploy.subprocess import SubprocessWorker

from dask_gridengine import GridEngineCluster
from tests.dask_versions import SPEC_CLUSTER_IS_CURRENT
from tests.waiting import until

both = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            "plain",
            marks=[
                pytest.mark.skipif(
                    not SPEC_CLUSTER_IS_CURRENT,
                    reason="SpecCluster's defects are looked for in current Dask only",
                ),
                pytest.mark.xfail(strict=True, raises=AssertionError),
            ],
        ),
        "ours",
    ],
)
#: Seconds for what shall happen; in-process workers need milliseconds for it.
TIMEOUT = {"plain": 1.5, "ours": 20.0}


class Job(ProcessInterface):  # type: ignore[misc]
    """A worker by way of a queue, which it never leaves, as other packages have it.

    It is *running* as soon as the queue has it; to wait longer would block the cluster.
    """

    submitted: ClassVar[list[Job]] = []

    async def start(self) -> None:
        self.submitted.append(self)
        await super().start()


class Gated(Worker):  # type: ignore[misc]
    """A worker; the first of a cluster starts when a file is there."""

    gate: ClassVar[Path]

    async def start_unsafe(self) -> Gated:
        if self.name == 0:
            await until(self.gate.exists, "the gate is open", 60)
        return await super().start_unsafe()


class Unlucky(Worker):  # type: ignore[misc]
    """A worker that does not start while there is a fault."""

    fault: ClassVar[bool]
    tries: ClassVar[int] = 0

    async def start_unsafe(self) -> Unlucky:
        type(self).tries += 1
        if self.fault:
            raise OSError("no space left on device")
        return await super().start_unsafe()


class Stubborn(Worker):  # type: ignore[misc]
    """A worker whose first close() fails."""

    refusals: ClassVar[int]

    async def close(self, **how: Any) -> Any:
        if type(self).refusals:
            type(self).refusals -= 1
            raise OSError("the batch system does not answer")
        return await super().close(**how)


@contextlib.asynccontextmanager
async def running(
    kind: str, shared: Path, jobs: int = 0, *, plain: Any = Worker, **options: Any
) -> AsyncIterator[SpecCluster]:
    """A cluster of `jobs` nodes; ours takes `options`, and the other this worker."""
    cluster = plain_cluster(plain) if kind == "plain" else our_cluster(shared, options)
    try:
        await cluster
        if jobs:
            cluster.scale(jobs)
        yield cluster
    finally:
        await (cluster.close() if kind == "ours" else end(cluster))


def our_cluster(shared: Path, options: dict[str, Any]) -> GridEngineCluster:
    return GridEngineCluster(
        launcher="process",
        shared_directory=shared,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
        security=False,
        quiet=True,
        asynchronous=True,
        **{"slots": 2, **options},
    )


def plain_cluster(worker: Any, **changes: Any) -> SpecCluster:
    options = {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"}
    given = {"nthreads": 1} if issubclass(worker, Worker) else {}
    return SpecCluster(
        worker={"cls": worker, "options": given, **changes},
        scheduler={"cls": Scheduler, "options": options},
        asynchronous=True,
    )


async def end(cluster: SpecCluster) -> None:
    """Close it, or, where it hangs, what it is made of."""
    closing = asyncio.ensure_future(cluster.close())
    await asyncio.wait({closing}, timeout=1)
    if closing.done() and closing.exception() is None:
        return
    closing.cancel()
    for worker in list(cluster._created):
        await worker.close()
    await cluster.scheduler_comm.close_rpc()
    await cluster.scheduler.close()
    cluster.status = Status.closed


async def workers(kind: str, cluster: SpecCluster, count: int) -> list[str]:
    """Wait for exactly this number of workers at the scheduler; their names."""

    def names() -> list[str]:
        return [ws.name for ws in cluster.scheduler.workers.values()]

    def there() -> bool:
        return len(names()) == count

    await until(there, f"{count} workers", TIMEOUT[kind], names)
    return names()


async def done(kind: str, work: Awaitable[Any], what: str) -> asyncio.Future[Any]:
    """Wait, within bounds, for the end of something, whichever end that is."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=TIMEOUT[kind])
    finished = task.done()
    task.cancel()
    assert finished, f"not in {TIMEOUT[kind]} s: {what}"
    return task


@both
async def test_s1_scale_down_keeps_what_was_computed(kind: str, shared: Path) -> None:
    """A result on a worker that goes is moved, not lost and computed again."""
    async with (
        running(kind, shared, 2) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await workers(kind, cluster, 2)
        ran = client.map(lambda i: (i, os.urandom(8)), range(8), pure=False)
        before = await client.gather(ran)
        cluster.scale(1)
        await workers(kind, cluster, 1)
        assert await client.gather(ran) == before


@both
async def test_s2_a_fixed_number_of_workers_is_kept(kind: str, shared: Path) -> None:
    """A worker that is killed is replaced without another call of scale()."""
    program = {"worker_class": "distributed.Worker", "worker_kwargs": {"nthreads": 1}}
    soon = dask.config.set({"distributed.deploy.lost-worker-timeout": "100 ms"})
    with soon:
        async with (
            running(kind, shared, plain=SubprocessWorker, nanny=False) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            if kind == "plain":
                cluster.new_spec["options"] = program
            cluster.scale(1)
            pid = await client.submit(os.getpid, pure=False)
            os.kill(pid, signal.SIGKILL)
            another = client.submit(os.getpid, pure=False)
            await done(kind, another, "a new worker")


@both
async def test_s3_nodes_that_die_early_are_noticed(kind: str, shared: Path) -> None:
    """Waiting for workers that died before they came raises an error."""
    broken = {"python": "/nowhere/python"}
    async with running(kind, shared, 2, plain=Job, **broken) as cluster:
        for job in Job.submitted:
            await job.close()  # its process has died in the queue
        waiting = cluster.wait_for_workers(2)
        assert (await done(kind, waiting, "an error")).exception() is not None


@both
async def test_s4_busy_nodes_stay(kind: str, shared: Path, tmp_path: Path) -> None:
    """Scaling down takes the idle worker, though the busy one is the newest."""
    go = tmp_path / "go"

    def work() -> None:
        while not go.exists():
            time.sleep(0.02)

    async with (
        running(kind, shared, 2) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        await workers(kind, cluster, 2)
        newest = [*cluster.worker_spec][-1]
        working = client.submit(work, workers=[newest])
        try:
            await until(lambda: busy(cluster) == [newest], "it works")
            cluster.scale(1)
            assert await workers(kind, cluster, 1) == [newest]
        finally:
            go.touch()
            working.release()


def busy(cluster: SpecCluster) -> list[str]:
    return [ws.name for ws in cluster.scheduler.workers.values() if ws.processing]


@both
async def test_s5_a_lull_costs_no_place_in_the_queue(
    kind: str, shared: Path, tmp_path: Path
) -> None:
    """What adaptive scaling has queued serves the next work, if this one is over."""
    Job.submitted.clear()
    gate = [f"while ! test -e {tmp_path}/go; do sleep 0.05; done"]
    async with (
        running(kind, shared, plain=Job, job_script_prologue=gate) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        adapt(cluster, maximum=1, interval="20 ms", wait_count=1)
        for _ in range(2):
            work = client.submit(os.getpid, pure=False)
            await until(lambda: cluster.workers, "a node is requested")
            work.release()
            await until(lambda: not cluster.workers, "nothing is wanted")
        nodes = Job.submitted if kind == "plain" else cluster.jobs()
        assert len(nodes) == 1


def adapt(cluster: SpecCluster, **options: Any) -> Any:
    """`cluster.adapt`; a reference to what it returns keeps it from being collected.

    No test of this module does.
    """
    return cluster.adapt(**{"minimum": 0, **options})


@both
async def test_s6_adaptive_scaling_counts_workers_not_threads(
    kind: str, shared: Path
) -> None:
    """Eight tasks are worth two workers of four threads, also without a worker."""
    async with (
        running(kind, shared, plain=Job, cores=4, slots=4) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        cluster.new_spec["options"] = {"nthreads": 4} if kind == "ours" else {}
        work = client.map(os.path.abspath, [str(i) for i in range(8)])
        scheduler = cluster.scheduler
        await until(
            lambda: len(scheduler.unrunnable) + len(scheduler.queued) == 8,
            "they wait",
        )
        adapt(cluster, interval="20 ms", target_duration="1 ms")
        await until(lambda: cluster.worker_spec, "workers are requested")
        assert len(cluster.worker_spec) == 2
        del work


@both
async def test_s7_what_could_not_start_is_tried_again(kind: str, shared: Path) -> None:
    """A worker that failed to start does not count as one for ever."""
    Unlucky.fault, Unlucky.tries = True, 0
    async with running(kind, shared, plain=Unlucky) as cluster:
        if kind == "ours":  # the launcher refuses more slots than it has
            object.__setattr__(cluster.pool().request, "slots", 3)
        with contextlib.suppress(Exception):
            await cluster.scale(1)
        if kind == "plain":
            await until(
                lambda: Unlucky.tries and not cluster._lock.locked(),
                "it has failed",
            )
        Unlucky.fault = False
        if kind == "ours":
            object.__setattr__(cluster.pool().request, "slots", 1)
        cluster.scale(1)
        await workers(kind, cluster, 1)


@both
async def test_s8_close_closes_whatever_fails(kind: str, shared: Path) -> None:
    """After a close() in which something went wrong the cluster is closed."""
    Stubborn.refusals = 1
    before = set(psutil.Process().children())
    async with running(kind, shared, 1, plain=Stubborn) as cluster:
        await workers(kind, cluster, 1)
        if kind == "ours":  # no process is left that could stop its node
            (session,) = set(psutil.Process().children()) - before
            session.kill()
        for _ in range(2):
            await done(kind, cluster.close(), "the end of close()")
        assert cluster.status is Status.closed


@both
async def test_s9_a_slow_start_stalls_no_other(
    kind: str, shared: Path, tmp_path: Path
) -> None:
    """While one worker starts another can be requested, and comes first."""
    Gated.gate = gate = tmp_path / "go"
    first = f'test "$JOB_ID" != 1 || while ! test -e {gate}; do sleep 0.05; done'
    async with running(
        kind, shared, 1, plain=Gated, job_script_prologue=[first]
    ) as cluster:
        try:
            await until(lambda: requested(cluster), "the first is requested")
            cluster.scale(2)
            await workers(kind, cluster, 1)
        finally:
            gate.touch()


def requested(cluster: SpecCluster) -> bool:
    return bool(cluster._created or cluster.requested)


@both
async def test_s10_a_name_is_used_once(kind: str, shared: Path) -> None:
    """A worker of a later scale() is another one, and names are text."""
    async with running(kind, shared, 1) as cluster:
        (before,) = await workers(kind, cluster, 1)
        cluster.scale(0)
        await workers(kind, cluster, 0)
        cluster.scale(1)
        (after,) = await workers(kind, cluster, 1)
        assert before != after
        assert isinstance(after, str)


@both
async def test_s12_polling_while_workers_leave(kind: str, shared: Path) -> None:
    """Waiting for workers does not keep the cluster from seeing others go."""
    count = {"plain": 12, "ours": 2}[kind]
    async with running(kind, shared, count, slots=99) as cluster:
        await workers(kind, cluster, count)
        await until(lambda: len(cluster.observed) == count, "all are observed")
        polls = []
        for name in [*cluster.worker_spec]:
            await leave(kind, cluster, name)
            polls.append(asyncio.ensure_future(poll(cluster)))
            await asyncio.sleep(0.001)  # within which the next one leaves
        await asyncio.gather(*polls)
        await workers(kind, cluster, 0)
        assert not cluster._watch_worker_status_task.done(), "it watches no more"
        await until(lambda: not cluster.observed, "none is observed", 2)


async def leave(kind: str, cluster: SpecCluster, name: Any) -> None:
    if kind == "ours":
        await cluster.scale_down([name])
        return
    (address,) = [w for w, ws in cluster.scheduler.workers.items() if ws.name == name]
    await cluster.scheduler.remove_worker(address, stimulus_id="test")


async def poll(cluster: SpecCluster) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await cluster.wait_for_workers(99, timeout=0.2)


@both
async def test_s14_options_of_adapt_are_those_of_one_call(
    kind: str, shared: Path
) -> None:
    """Options of an earlier adapt() do not count."""
    async with running(kind, shared, plain=Job) as cluster:
        usual = adapt(cluster).wait_count
        adapt(cluster, wait_count=usual + 5)
        assert adapt(cluster).wait_count == usual


@both
async def test_s14_scale_ends_adaptive_scaling(kind: str, shared: Path) -> None:
    """The user's number is not changed a second later."""
    async with running(kind, shared, plain=Job) as cluster:
        adaptive = adapt(cluster, interval="20 ms")
        await until(adaptive.periodic_callback.is_running, "it adapts")
        await cluster.scale(1)
        assert adaptive.periodic_callback is None
        assert len(cluster.worker_spec) == 1
