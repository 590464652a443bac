"""The regular checks of a pool, on a launcher that does what a test sets."""

from __future__ import annotations

import asyncio

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.reconcile.monitor import (
    HOSTS_AGAIN,
    SILENCE,
    SUSPEND_THRESHOLD,
    TICK,
)
from tests.pools import World, working
from tests.samples import hello
from tests.waiting import until

MISSED = 15.0  # Dask's lost-worker-timeout


@pytest.mark.parametrize("host", ["node1", "node2"])
async def test_the_grid_is_asked_about_a_silent_node_before_it_is_declared_lost(
    host: str,
) -> None:
    """The grid may know better; if not, its node is cancelled and replaced.

    Its host is to blame only if no other node there is heard.
    """
    world = World(2)
    await world.turn()
    lost, other = world.registry
    world.work(lost, "node1")
    world.work(other, host)
    assert lost.worker
    world.pool.missing(lost.worker, expected=False)
    await world.turn(MISSED / 2)
    assert world.launcher.asked == [lost.id]
    assert not lost.over
    await world.turn(MISSED / 2 + 1)
    assert lost.over
    assert lost.diagnosis is not None
    alone = host != "node1"
    assert lost.diagnosis.cause is (Cause.HOST_LOST if alone else Cause.UNKNOWN)
    assert world.pool.blocklist.suspects() == (["node1"] if alone else [])
    assert world.launcher.cancelled == [lost.id]
    assert world.launcher.submissions == [2, 1]
    assert world.active == 2


async def test_a_worker_that_is_restarted_has_more_time() -> None:
    """Its Nanny has reported the restart; and may hang as well, so not for ever."""
    world = await working(1)
    (record,) = world.registry
    assert record.worker
    world.pool.missing(record.worker, expected=False)
    record.restarting.add(record.worker or "")
    await world.turn(2 * SILENCE[NodeState.IMPORTING] - 1)
    assert not record.over
    await world.turn(1)
    assert record.over
    assert world.active == 1, "it has been replaced"


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
async def test_a_node_that_does_not_start_is_declared_lost(state: NodeState) -> None:
    """Late, as file servers are slow; and not while it sends hellos."""
    world = World(1)
    await world.turn()
    (record,) = world.registry
    world.registry.arrive(record, hello(job="1", host="node1"))
    if state is NodeState.IMPORTING:
        world.registry.bind(record)
    await world.turn(2 * SILENCE[state] - 2)
    assert not record.over
    assert world.launcher.asked == [record.id], "once"
    record.heard = world.now
    await world.turn(10)
    assert not record.over
    await world.turn(2 * SILENCE[state])
    assert record.over
    assert world.launcher.cancelled == [record.id]
    assert world.active == 1, "it has been replaced"


async def test_a_node_may_queue_for_ever() -> None:
    """A full grid is no fault: no place in the queue is given up."""
    world = World(2)
    await world.turn()
    for _ in range(100):
        await world.turn(SUSPEND_THRESHOLD - 1)
    assert (world.launcher.asked, world.launcher.cancelled) == ([], [])
    assert world.launcher.submissions == [2]


async def test_a_suspension_of_this_process_is_not_silence_of_nodes() -> None:
    """As with a notebook whose lid was closed."""
    world = await working(2)
    one, other = world.in_state(NodeState.WORKING)
    assert one.worker
    world.pool.missing(one.worker, expected=False)
    world.now += 3600
    await world.turn()
    assert world.cluster.resumed == [3600]
    assert not one.over
    for host in ("node1", "node2", "node3"):
        world.registry.submitted([NodeId("88", int(host[-1]))])
        tired = world.registry.records[NodeId("88", int(host[-1]))]
        await world.die(tired, Cause.UNREACHABLE, host=host)
    await world.die(other, Cause.LOST_CONTACT)
    await world.turn(1)
    assert world.reconciler.persistent_failure is None, (
        "they could not reach this process"
    )
    assert not world.pool.blocklist.suspects()
    assert not one.over, "its silence is counted from the waking"
    await world.turn(SUSPEND_THRESHOLD)
    assert world.active == 2


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
async def test_a_node_that_was_starting_meanwhile_has_the_time_it_had(
    state: NodeState,
) -> None:
    """Neither its next hello nor its worker could be received."""
    world = World(1)
    await world.turn()
    (record,) = world.registry
    world.registry.arrive(record, hello(job="1"))
    if state is NodeState.IMPORTING:
        world.registry.bind(record)
    limit = 2 * SILENCE[state]
    await world.turn(limit / 2)
    if state is NodeState.ARRIVED:
        record.heard, limit = world.now, 1.5 * limit
    world.now += 3600
    await world.turn()
    await world.turn(limit / 2 - 2)
    assert not record.over
    await world.turn(limit / 2)
    assert record.over


async def test_an_excluded_host_is_reported_once() -> None:
    """The grid is asked for its hosts before one is taken for the only one."""
    world = World(4)
    await world.turn()
    for record in world.in_state(NodeState.QUEUED)[:FAILURE_LIMIT]:
        await world.die(record, Cause.NO_PYTHON, host="node1")
    await world.turn()
    await world.turn(4)
    assert world.pool.blocklist.possible == frozenset({"node1", "node2"})
    reported = world.decided("Excluding host node1")
    assert len(reported) == 1
    world.work(world.in_state(NodeState.QUEUED)[0], "node1")
    await world.turn()
    assert world.pool.blocklist.blocked(world.now) == []
    for _ in range(FAILURE_LIMIT):
        world.pool.blocklist.failed("node1", Diagnosis(cause=Cause.KILLED), world.now)
    await world.turn()
    reported = world.decided("Excluding host node1")
    assert len(reported) == 2, "a node had worked in between"


async def test_the_grid_is_asked_for_its_hosts_sparingly() -> None:
    """A failure may be remembered for days; each request costs the master."""
    world = await working(1)
    world.launcher.places = None
    world.pool.blocklist.failed("node2", Diagnosis(cause=Cause.KILLED), world.now)
    await world.turn(2 * (HOSTS_AGAIN + TICK))
    assert world.launcher.searched == 3
    assert world.pool.blocklist.possible is None


async def test_the_monitor_stops_even_when_it_is_woken_at_that_moment() -> None:
    """`asyncio.wait_for` may swallow a cancellation then."""
    for moment in range(8):
        world = World(2)
        monitor = world.pool.monitor
        monitor.start()
        monitor.wake()
        await until(lambda w=world: w.cluster.passes, "a pass", 5)
        monitor.wake()
        for _ in range(moment):
            await asyncio.sleep(0)
        await asyncio.wait_for(monitor.stop(), 5)
        await monitor.stop()
        assert world.pool.monitor.stopped


async def test_events_request_a_pass_at_once() -> None:
    """A loss need not wait for the next tick."""
    world = await working(2)
    world.pool.monitor.start()
    await world.die(world.in_state(NodeState.WORKING)[0])
    await until(lambda: world.cluster.passes, "a pass", TICK / 2)
    await world.pool.monitor.stop()


async def test_a_check_that_fails_is_not_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and the pass is run all the same."""
    world = World(2)
    world.launcher.places = None
    del world.cluster.scheduler.silent_workers
    world.pool.monitor.start()
    world.pool.wake()
    await until(lambda: "Checking the nodes failed" in caplog.text, "it fails", 5)
    await until(lambda: world.cluster.passes, "a pass", 5)
    await world.pool.monitor.stop()


async def test_a_missing_worker_beside_others_has_the_time_of_a_start() -> None:
    """Its node is alive: the others are there."""
    world = await working(1)
    (record,) = world.registry
    world.pool.registered(f"{record.worker}-1")
    record.present.discard(f"{record.worker}")
    world.pool.missing(f"{record.worker}-0", expected=False)
    await world.turn(2 * SILENCE[NodeState.IMPORTING] - 1)
    assert not record.over
    await world.turn(1)
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.NO_START
    assert f"{record.worker}-0 has been missing" in record.diagnosis.detail


async def test_places_that_were_not_needed_for_long_are_given_back() -> None:
    """The newest first, and only as many as were idle for the whole time."""
    world = World(5, idle_grace=100.0 / 60)
    await world.turn()
    for desired in (2, 4, 1):
        world.pool.scale(desired, by_user=False)
        await world.turn(40.0)
    assert [str(node) for node in world.launcher.cancelled] == ["1.5"]
    await world.turn(70.0)
    assert len(world.launcher.cancelled) == 1, "the time of the others begins again"
    await world.turn(20.0)
    assert [node.index for node in world.launcher.cancelled[1:]] == [2, 3, 4]
    assert world.decided("not needed for 1.7 min")


async def test_a_place_that_is_needed_for_a_moment_is_kept() -> None:
    """The next rise may come as soon. A node that has arrived is not deleted."""
    world = World(3, idle_grace=100.0 / 60)
    await world.turn()
    world.greet(world.in_state(NodeState.QUEUED)[0], "node1")
    for desired in (1, 3, 1):
        world.pool.scale(desired, by_user=False)
        await world.turn(60.0)
    assert world.launcher.cancelled == []
    await world.turn(50.0)
    assert len(world.launcher.cancelled) == 2
