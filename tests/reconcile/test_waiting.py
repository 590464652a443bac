"""Whether workers may still come."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.core import Status

from dask_gridengine.errors import NodesFailed
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.failures import ALIKE
from dask_gridengine.nodes.fleet import Callbacks, Fleet
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.reconcile.reconciler import Hands, Reconciler
from dask_gridengine.reconcile.waiting import (
    missing_workers_error,
    running_workers,
    wait_for_workers,
)
from tests.samples import allocation


async def nothing(*_: object) -> None:
    """A hand that does not move."""


def upkeep_of(count: int) -> Reconciler:
    """Of a fleet that was never opened, with so many nodes in the queue."""
    fleet = Fleet(
        Options.resolve({"jobs": count}),
        versions={},
        callbacks=Callbacks(
            make_allocation=lambda name, hello: allocation(), on_over=print
        ),
    )
    fleet.registry.submitted(NodeId("7", i + 1) for i in range(count))
    hands = Hands(
        planned=lambda: count,
        add=nothing,
        cancel=nothing,
        on_resume=print,
        on_persistent_failure=lambda: None,
        note=print,
    )
    reconciler = Reconciler(fleet, hands, missed=15)
    reconciler.want(count)
    return reconciler


def scheduler_with(*states: Status) -> Any:
    """All that is asked of a scheduler: its workers."""
    workers = {
        str(i): SimpleNamespace(status=state, name=str(i))
        for i, state in enumerate(states)
    }
    return SimpleNamespace(workers=workers)


def fail(reconciler: Reconciler, *records: NodeRecord) -> None:
    """As if these had failed alike, on a host each."""
    for record in records:
        record.host = f"node{record.id.index}"
        reconciler.fleet.registry.move(record, NodeState.GONE)
        told = Diagnosis(cause=Cause.NO_PYTHON)
        reconciler.fleet.failures.add(record, told, Path("/logs"))
    reconciler.fleet.changed.set()


def test_only_workers_that_run_count() -> None:
    """One that is paused or on its way out computes nothing."""
    states = (Status.running, Status.paused, Status.closing_gracefully)
    assert running_workers(scheduler_with(*states)) == 1


def test_nodes_that_fail_alike_everywhere_end_the_hope() -> None:
    """With the reasons; a queue full of the like is no reason to wait."""
    reconciler = upkeep_of(ALIKE + 5)
    first, *others = reconciler.fleet.registry
    fail(reconciler, first)
    assert missing_workers_error([reconciler], scheduler_with(), 1) is None, (
        "one is no pattern"
    )
    fail(reconciler, *others[: ALIKE - 1])
    error = missing_workers_error([reconciler], scheduler_with(), 1)
    assert isinstance(error, NodesFailed)
    assert "could not find Python" in str(error)


def test_a_node_that_is_just_starting_is_hope() -> None:
    """It may be the first that does not fail."""
    reconciler = upkeep_of(ALIKE + 1)
    *failed, left = reconciler.fleet.registry
    fail(reconciler, *failed)
    reconciler.fleet.registry.move(left, NodeState.ARRIVED)
    assert missing_workers_error([reconciler], scheduler_with(), 1) is None


def test_whoever_asks_anew_has_hope() -> None:
    """scale() forgives what has failed."""
    reconciler = upkeep_of(ALIKE)
    fail(reconciler, *reconciler.fleet.registry)
    assert missing_workers_error([reconciler], scheduler_with(), 1) is not None
    reconciler.want(ALIKE)
    assert missing_workers_error([reconciler], scheduler_with(), 1) is None


def test_the_node_that_probes_is_no_hope_yet() -> None:
    """While one is submitted to see whether it goes now, the verdict stands."""
    reconciler = upkeep_of(ALIKE)
    fail(reconciler, *reconciler.fleet.registry)
    reconciler.fleet.admission.submitting = 1
    assert reconciler.persistent_failure is not None
    assert missing_workers_error([reconciler], scheduler_with(), 1) is not None


def test_workers_that_run_are_enough() -> None:
    """A worker whose node is leaving, or that is no node of ours, is a worker."""
    reconciler = upkeep_of(ALIKE)
    fail(reconciler, *reconciler.fleet.registry)
    assert (
        missing_workers_error([reconciler], scheduler_with(Status.running), 1) is None
    )


def test_what_was_deleted_on_purpose_will_not_come() -> None:
    """Who waits for it is told by whom it was taken away."""
    reconciler = upkeep_of(2)
    one, _ = reconciler.fleet.registry
    one.diagnosis = Diagnosis(cause=Cause.DELETED, detail="with qdel")
    reconciler.over(one, wanted=True)
    assert missing_workers_error([reconciler], scheduler_with(), 1) is None, (
        "one is still wanted"
    )
    error = missing_workers_error([reconciler], scheduler_with(), 2)
    assert "node 7.1 was deleted: with qdel; wanted now: 1" in str(error)


def test_the_wait_ends_with_the_last_hope() -> None:
    """At once when it is gone, with its reasons."""
    reconciler = upkeep_of(ALIKE)

    async def main() -> None:
        waiting = asyncio.create_task(
            wait_for_workers([reconciler], scheduler_with(), 1, None)
        )
        asyncio.get_running_loop().call_soon(
            fail, reconciler, *reconciler.fleet.registry
        )
        with pytest.raises(NodesFailed, match="could not find Python"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_the_wait_notices_a_worker_that_turns_to_running() -> None:
    """Dask sends no message for that, so it is looked at."""
    reconciler = upkeep_of(1)
    scheduler = scheduler_with(Status.init)
    (worker,) = scheduler.workers.values()

    async def main() -> None:
        waiting = asyncio.create_task(
            wait_for_workers([reconciler], scheduler, 1, "5s")
        )
        asyncio.get_running_loop().call_soon(setattr, worker, "status", Status.running)
        await waiting

    asyncio.run(main())


def test_a_timeout_says_what_the_nodes_are_at() -> None:
    """How many there are, of how many, and the states of the rest."""
    with pytest.raises(asyncio.TimeoutError, match=r"0 of 3 workers.*2 queued"):
        asyncio.run(wait_for_workers([upkeep_of(2)], scheduler_with(), 3, 0.01))
