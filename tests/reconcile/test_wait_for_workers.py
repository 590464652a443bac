"""Whether workers may still come."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.core import Status

from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.errors import NodesFailed
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.failures import ALIKE
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.wait_for_workers import (
    missing_workers_error,
    running_workers,
    wait_for_workers,
)
from tests.pools import make_pool


def pool_of(count: int) -> NodePool:
    """A pool that was never opened, with so many nodes in the queue."""
    pool = make_pool()
    pool.scale(count, by_user=True)
    pool.registry.submitted(NodeId("7", i + 1) for i in range(count))
    return pool


def scheduler_with(*states: Status) -> Any:
    """What the wait uses of a scheduler: its workers."""
    workers = {
        str(i): SimpleNamespace(status=state, name=str(i))
        for i, state in enumerate(states)
    }
    return SimpleNamespace(workers=workers)


def fail(pool: NodePool, *records: NodeRecord) -> None:
    """As if these had failed alike, on a host each."""
    for record in records:
        record.host = f"node{record.id.index}"
        pool.registry.move(record, NodeState.GONE)
        why = Diagnosis(cause=Cause.NO_PYTHON)
        pool.failures.add(record, why, Path("/logs"))
    pool.changed.set()


def test_only_workers_that_run_count() -> None:
    """One that is paused or on its way out computes nothing."""
    states = (Status.running, Status.paused, Status.closing_gracefully)
    assert running_workers(scheduler_with(*states)) == 1


def test_nodes_that_fail_alike_everywhere_end_the_wait() -> None:
    """With the reasons, although other nodes still queue."""
    pool = pool_of(ALIKE + 5)
    first, *others = pool.registry
    fail(pool, first)
    assert missing_workers_error([pool], scheduler_with(), 1) is None, (
        "one is no pattern"
    )
    fail(pool, *others[: ALIKE - 1])
    error = missing_workers_error([pool], scheduler_with(), 1)
    assert isinstance(error, NodesFailed)
    assert "could not find Python" in str(error)


def test_scale_clears_the_failures() -> None:
    """All may come then."""
    pool = pool_of(ALIKE)
    fail(pool, *pool.registry)
    assert missing_workers_error([pool], scheduler_with(), 1) is not None
    pool.scale(ALIKE, by_user=True)
    assert missing_workers_error([pool], scheduler_with(), 1) is None


def test_workers_that_run_are_enough() -> None:
    """A worker whose node is leaving, or that is no node of ours, is a worker."""
    pool = pool_of(ALIKE)
    fail(pool, *pool.registry)
    assert missing_workers_error([pool], scheduler_with(Status.running), 1) is None


def test_deleted_nodes_will_not_come() -> None:
    """The error says that they were deleted."""
    pool = pool_of(2)
    one, _ = pool.registry
    one.diagnosis = Diagnosis(cause=Cause.DELETED, detail="with qdel")
    pool.drop_names(pool.names[:1])
    pool.reconciler.note_deleted(one)
    assert missing_workers_error([pool], scheduler_with(), 1) is None, (
        "one is still desired"
    )
    error = missing_workers_error([pool], scheduler_with(), 2)
    assert "node 7.1 was deleted: with qdel; workers requested now: 1" in str(error)


def test_the_wait_ends_when_no_worker_may_come() -> None:
    """At once, with the reasons."""
    pool = pool_of(ALIKE)

    async def main() -> None:
        waiting = asyncio.create_task(
            wait_for_workers([pool], scheduler_with(), 1, None)
        )
        asyncio.get_running_loop().call_soon(fail, pool, *pool.registry)
        with pytest.raises(NodesFailed, match="could not find Python"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_the_wait_notices_a_worker_that_resumes() -> None:
    """Dask sends no message for that, so it is checked."""
    pool = pool_of(1)
    scheduler = scheduler_with(Status.init)
    (worker,) = scheduler.workers.values()

    async def main() -> None:
        waiting = asyncio.create_task(wait_for_workers([pool], scheduler, 1, "5s"))
        asyncio.get_running_loop().call_soon(setattr, worker, "status", Status.running)
        await waiting

    asyncio.run(main())


def test_a_timeout_has_the_states_of_the_nodes() -> None:
    """How many there are, of how many, and the states of the rest."""
    with pytest.raises(asyncio.TimeoutError, match=r"0 of 3 workers.*2 queued"):
        asyncio.run(wait_for_workers([pool_of(2)], scheduler_with(), 3, 0.01))
