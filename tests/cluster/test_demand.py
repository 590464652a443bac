"""How many workers waiting tasks are worth, if their duration is unknown."""

from __future__ import annotations

import time
from pathlib import Path

from distributed import Client, Event, Scheduler, Worker

from dask_gridengine import GridEngineCluster
from dask_gridengine.cluster.demand import SAMPLE, long_tasks, workers_of_pool
from dask_gridengine.cluster.pool import NodePool
from tests.waiting import until


def held(number: int) -> int:
    """Run until the event is set."""
    Event("go").wait(timeout=30)
    return number


async def test_a_task_that_runs_for_long_stands_for_all_of_its_kind() -> None:
    """Running and waiting ones; none after they have ended."""
    async with (
        Scheduler(dashboard=False, dashboard_address=":0", port=0) as scheduler,
        Worker(scheduler.address, nthreads=1),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        short = client.map(abs, range(5))
        await client.gather(short)
        assert long_tasks(scheduler, 0.2) == 0
        long = client.map(held, range(7))
        assert long_tasks(scheduler, 60) == 0
        await until(lambda: long_tasks(scheduler, 0.2) == 7, "heard of", 20)
        await Event("go", client=client).set()
        await client.gather(long)
        assert long_tasks(scheduler, 0.2) == 0


async def test_a_kind_that_is_known_to_take_long_counts_before_it_runs() -> None:
    """Dask remembers the average of those it has seen."""
    async with (
        Scheduler(dashboard=False, dashboard_address=":0", port=0) as scheduler,
        Client(scheduler.address, asynchronous=True) as client,
    ):
        async with Worker(scheduler.address, nthreads=1):
            await client.submit(time.sleep, 0.3)
        waiting = client.map(time.sleep, [0.4, 0.5, 0.6])
        await until(lambda: long_tasks(scheduler, 0.2) == 3, "they wait", 10)
        assert long_tasks(scheduler, 30) == 0
        await client.cancel(waiting)


async def test_each_pool_is_worth_what_is_for_it(shared: Path) -> None:
    """A long task all of its share of a worker, a short one less; what requires nothing
    is for the pool that has the least to offer, and many are counted by a sample."""
    pools = {
        "gpu": {"cores": 4, "parallel_environment": "smp", "resources": {"GPU": 2}},
        "cpu": {"cores": 2, "parallel_environment": "smp"},
    }
    quiet = {"dashboard_address": ":0", "dashboard": False}
    async with (
        GridEngineCluster(
            asynchronous=True,
            launcher="process",
            pools=pools,
            shared_directory=shared,
            scheduler_options=quiet,
            quiet=True,
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        gpu, cpu = cluster.pool("gpu"), cluster.pool("cpu")

        def demand(pool: NodePool, seconds: float) -> int:
            return workers_of_pool(cluster.scheduler, cluster.pools, pool, seconds)

        many = 10 * SAMPLE
        plain = client.map(held, range(many), pure=False)
        needy = client.map(held, range(6), resources={"GPU": 1}, pure=False)
        tasks = cluster.scheduler.tasks
        await until(lambda: len(tasks) == many + 6, "all there", 10)
        # Half a second is Dask's guess for what it has never seen.
        assert demand(gpu, 0.5) == 3
        assert demand(cpu, 0.5) == many / 2
        assert demand(cpu, 5.0) == many / 20
        assert demand(gpu, 5.0) == 1
        await client.cancel([*plain, *needy])
        await until(lambda: not tasks, "none", 10)
        assert demand(gpu, 0.5) == demand(cpu, 0.5) == 0
