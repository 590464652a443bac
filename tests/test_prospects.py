"""Whether workers may still come."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.core import Status

from dask_gridengine.causes import Cause, Diagnosis
from dask_gridengine.config import Options
from dask_gridengine.errors import NodesFailed
from dask_gridengine.fleet import Callbacks, Fleet
from dask_gridengine.launchers.base import NodeId
from dask_gridengine.nodes import NodeRecord, NodeState
from dask_gridengine.prospects import running_workers, shortfall, wait_for_workers
from tests.samples import allocation


def fleet_of(count: int) -> Fleet:
    """A fleet that was never opened, with so many nodes in the queue."""
    fleet = Fleet(
        Options.resolve({"jobs": count}),
        versions={},
        callbacks=Callbacks(
            make_allocation=lambda name, hello: allocation(), on_gone=print
        ),
    )
    fleet.roster.submitted(NodeId("7", i + 1) for i in range(count))
    return fleet


def scheduler_with(*states: Status) -> Any:
    """All that is asked of a scheduler: its workers."""
    workers = {str(i): SimpleNamespace(status=state) for i, state in enumerate(states)}
    return SimpleNamespace(workers=workers)


def fail(fleet: Fleet, record: NodeRecord) -> None:
    fleet.roster.move(record, NodeState.GONE)
    fleet.failures.note(record, Diagnosis(cause=Cause.NO_PYTHON), Path("/logs"))
    fleet.changed.set()


def test_only_workers_that_run_count() -> None:
    """One that is paused or on its way out computes nothing."""
    states = (Status.running, Status.paused, Status.closing_gracefully)
    assert running_workers(scheduler_with(*states)) == 1


@pytest.mark.parametrize("state", list(NodeState)[:4])
def test_a_node_that_may_become_a_worker_is_hope(state: NodeState) -> None:
    """Queued, at the door, importing or with a worker that is starting again."""
    fleet = fleet_of(2)
    failed, left = fleet.roster
    fail(fleet, failed)
    fleet.roster.move(left, state)
    assert shortfall(fleet, scheduler_with(), 1) is None
    assert isinstance(shortfall(fleet, scheduler_with(), 2), NodesFailed)


def test_there_is_no_shortfall_without_a_failure() -> None:
    """Nodes that left because nobody needed them, or were cancelled, did not fail."""
    fleet = fleet_of(1)
    fleet.roster.move(*fleet.roster, NodeState.GONE)
    assert shortfall(fleet, scheduler_with(), 1) is None


def test_a_shortfall_says_why_and_ends_with_a_new_submission() -> None:
    """The reasons are those that were collected; whoever asks for nodes has hope."""
    fleet = fleet_of(1)
    fail(fleet, *fleet.roster)
    error = shortfall(fleet, scheduler_with(), 1)
    assert error is not None
    assert "could not find Python" in str(error)
    fleet.door.submitting = 1
    assert shortfall(fleet, scheduler_with(), 1) is None


def test_workers_that_run_are_enough() -> None:
    """A worker whose node is leaving, or that is no node of ours, is a worker."""
    fleet = fleet_of(1)
    fail(fleet, *fleet.roster)
    assert shortfall(fleet, scheduler_with(Status.running), 1) is None


def test_the_wait_ends_with_the_last_hope() -> None:
    """At once when it is gone, with its reasons."""
    fleet = fleet_of(1)

    async def main() -> None:
        waiting = asyncio.create_task(
            wait_for_workers(fleet, scheduler_with(), 1, None)
        )
        asyncio.get_running_loop().call_soon(fail, fleet, *fleet.roster)
        with pytest.raises(NodesFailed, match="could not find Python"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_the_wait_notices_a_worker_that_turns_to_running() -> None:
    """Dask sends no message for that, so it is looked at."""
    fleet = fleet_of(1)
    scheduler = scheduler_with(Status.init)
    (worker,) = scheduler.workers.values()

    async def main() -> None:
        waiting = asyncio.create_task(wait_for_workers(fleet, scheduler, 1, "5s"))
        asyncio.get_running_loop().call_soon(setattr, worker, "status", Status.running)
        await waiting

    asyncio.run(main())


def test_a_timeout_says_what_the_nodes_are_at() -> None:
    """How many there are, of how many, and the states of the rest."""
    with pytest.raises(asyncio.TimeoutError, match=r"0 of 3 workers.*2 queued"):
        asyncio.run(wait_for_workers(fleet_of(2), scheduler_with(), 3, 0.01))
