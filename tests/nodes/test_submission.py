"""Which arrays are submitted, on a launcher that does what a test sets."""

from __future__ import annotations

import asyncio

import pytest

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.errors import SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.nodes.submission import LARGE_ARRAY
from tests.pools import FakeLauncher, World, make_pool


def test_missing_nodes_are_one_array_with_an_id() -> None:
    """A node proves by this id which submission it belongs to."""

    async def scenario() -> None:
        world = World(3)
        await world.pool.reconcile()
        await world.scale(5)
        assert world.launcher.submissions == [3, 2]
        ids = [r.environment[SUBMISSION] for r in world.launcher.requests]
        assert len(set(ids)) == 2
        assert [r.submission_id for r in world.registry] == [
            *[ids[0]] * 3,
            *[ids[1]] * 2,
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize("option", ["max_jobs", "max_queued_jobs"])
def test_nodes_without_room_are_submitted_later(option: str) -> None:
    """Their names are kept; ``max_jobs`` limits the names as well."""

    async def scenario() -> None:
        world = World(6, **{option: 4})
        await world.pool.reconcile()
        assert world.launcher.submissions == [4]
        assert len(world.names) == (4 if option == "max_jobs" else 6)
        assert world.pool.arrays.room == 0
        first = next(iter(world.registry))
        world.registry.move(first, NodeState.GONE)
        assert world.pool.arrays.room == 1

    asyncio.run(scenario())


def test_the_limit_of_an_array_is_learnt() -> None:
    """The rest comes as further arrays, and none is too large any more."""

    async def scenario() -> None:
        world = World(12)
        world.launcher.largest = 5
        for _ in range(3):
            await world.pool.reconcile()
        assert world.launcher.submissions == [5, 5, 2]
        assert world.launcher.attempts == 4

    asyncio.run(scenario())


def test_a_large_array_waits_for_the_limit_of_running_nodes() -> None:
    """A small one does not; nodes of it that could never run are resubmitted."""

    async def scenario() -> None:
        world = World(LARGE_ARRAY)
        world.launcher.running = 10
        world.launcher.answers = asyncio.Event()
        world.pool.arrays.start(world.pool.resubmit_blocked)
        await world.pool.reconcile()
        assert world.launcher.submissions == [LARGE_ARRAY]
        more = asyncio.create_task(world.scale(2 * LARGE_ARRAY + 1))
        await asyncio.wait([more], timeout=0.05)
        assert not more.done()
        world.launcher.answers.set()
        await more
        assert world.launcher.submissions == [LARGE_ARRAY, 10]
        assert len(world.launcher.cancelled) == LARGE_ARRAY - 10
        assert [node.index for node in world.launcher.cancelled[:2]] == [11, 12]
        assert world.reconciler.missing == 2 * LARGE_ARRAY + 1 - 20
        assert world.reconciler.free == world.reconciler.missing
        world.pool.arrays.close()

    asyncio.run(scenario())


def test_a_rejected_submission_changes_nothing() -> None:
    """No node is expected, and the names still wait."""

    async def scenario() -> None:
        world = World(3)
        world.launcher.error = SubmitError("no such queue", 1, "")
        assert await world.pool.reconcile() is world.launcher.error
        assert len(world.registry.unbound) == world.reconciler.missing == 3
        assert (world.pool.arrays.in_flight, world.pool.admission.submitting) == (0, 0)

    asyncio.run(scenario())


def test_nodes_queued_while_the_cluster_closes_are_deleted() -> None:
    """close() has not seen these nodes."""

    async def scenario() -> None:
        world = World(3)
        world.launcher.hold = asyncio.Event()
        late = asyncio.create_task(world.pool.reconcile())
        await asyncio.sleep(0)
        assert world.pool.admission.submitting == 1
        world.pool.admission.closed = True
        world.launcher.hold.set()
        await late
        assert len(world.launcher.cancelled) == 3

    asyncio.run(scenario())


def test_excluded_hosts_are_left_out() -> None:
    """In the submit options, beside those of the user."""

    async def scenario() -> None:
        launcher = FakeLauncher(batch_system=GridEngine())
        pool = make_pool(launcher=launcher, native="-q long.q")
        pool.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            why = Diagnosis(cause=Cause.NO_PYTHON)
            pool.blocklist.failed("node1", why, pool.registry.clock())
        pool.scale(1, by_user=True)
        await pool.reconcile()
        (request,) = launcher.requests
        assert "long.q" in request.native
        assert "node1" in request.native

    asyncio.run(scenario())


def test_a_node_held_on_an_excluded_host_is_missing() -> None:
    """Another node is submitted in its place; a queue place does count."""

    async def scenario() -> None:
        world = World(2)
        await world.pool.reconcile()
        assert world.reconciler.missing == 0
        world.pool.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            why = Diagnosis(cause=Cause.NO_PYTHON)
            world.pool.blocklist.failed("node1", why, world.now)
        world.greet(next(iter(world.registry)), "node1")
        assert world.reconciler.missing == 1

    asyncio.run(scenario())
