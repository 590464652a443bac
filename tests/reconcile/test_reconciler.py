"""The passes and checks of a pool, on a launcher that does what a test sets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dask_gridengine.errors import (
    DrmCommunicationError,
    GridFull,
    LauncherError,
    SubmitError,
)
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.liveness import SILENCE
from dask_gridengine.reconcile.monitor import (
    HOSTS_AGAIN,
    SUSPEND_THRESHOLD,
    TICK,
    WORKING_SECONDS,
)
from dask_gridengine.reconcile.rate_limiter import REFILL_SECONDS
from dask_gridengine.reconcile.reconciler import FIRST_PROBE
from tests.pools import World
from tests.samples import hello
from tests.waiting import until

MISSED = 15.0  # Dask's lost-worker-timeout


def asleep(world: World) -> list[NodeRecord]:
    """Nodes that arrived on an excluded host."""
    hold = world.pool.blocklist.block_seconds
    arrived = world.in_state(NodeState.ARRIVED)
    return [record for record in arrived if hold(record.host, world.now)]


def active(world: World) -> int:
    """Nodes that are queued, starting or working."""
    ending = (NodeState.DRAINING, NodeState.GONE)
    return len([r for r in world.registry if r.state not in ending])


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


async def working(count: int) -> World:
    """A pool whose nodes all work."""
    world = World(count)
    await world.turn()
    for record in world.registry:
        world.work(record)
    return world


def test_what_is_missing_is_asked_for_as_one_array() -> None:
    """And only once."""

    async def story() -> None:
        world = await working(5)
        assert world.launcher.submissions == [5]
        for record in world.in_state(NodeState.WORKING)[:3]:
            await world.die(record)
        await world.turn()
        await world.turn(10)
        assert world.launcher.submissions == [5, 3]
        assert active(world) == 5

    play(story)


@pytest.mark.parametrize("cause", [Cause.DELETED, Cause.RETIRED])
def test_what_is_taken_away_on_purpose_is_not_replaced(cause: Cause) -> None:
    """The number drops, and that is one line however many they are."""

    async def story() -> None:
        world = await working(4)
        for record in world.in_state(NodeState.WORKING)[:3]:
            await world.die(record, cause)
        await world.turn(10)
        assert world.launcher.submissions == [4]
        assert world.pool.wanted == 1
        (said,) = world.decided("requested from")
        assert said.startswith("3 nodes (e.g. node 1.1 on node1) were ")
        assert said.endswith("requested from now on: 1")
        (last,) = world.in_state(NodeState.WORKING)
        await world.die(last, cause)
        await world.turn()
        assert world.cluster.persistent_failures, "who waits for a worker is told"

    play(story)


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.LEFT])
def test_what_we_gave_back_changes_no_number(cause: Cause) -> None:
    """A surplus node that leaves is not one that was wanted."""

    async def story() -> None:
        world = await working(2)
        world.registry.submitted([NodeId("99", 1)])
        await world.die(world.registry.records[NodeId("99", 1)], cause)
        await world.turn()
        assert (world.pool.wanted, world.launcher.submissions) == (2, [2])

    play(story)


def test_a_node_that_was_given_back_though_it_is_wanted_is_replaced() -> None:
    """As one that was stopped because it was taken for lost."""

    async def story() -> None:
        world = await working(2)
        await world.die(world.in_state(NodeState.WORKING)[0], Cause.CANCELLED)
        await world.turn()
        assert (world.pool.wanted, world.launcher.submissions) == (2, [2, 1])

    play(story)


def test_no_more_are_replaced_than_the_budget_grants() -> None:
    """The others follow as it fills again."""

    async def story() -> None:
        world = await working(6)
        assert world.reconciler.limiter.grant(9, world.now) == 9
        for record in world.in_state(NodeState.WORKING):
            await world.die(record)
        await world.turn(1)
        assert world.launcher.submissions == [6, 3]
        assert len(world.names) == 6, "all are still desired"
        assert world.reconciler.missing == 3
        await world.turn(REFILL_SECONDS)
        assert active(world) == 6

    play(story)


def test_no_more_queue_at_once_than_may() -> None:
    """The rest is asked for as the first start; nothing was lost for that."""

    async def story() -> None:
        world = World(7, max_queued_jobs=3)
        await world.turn()
        assert world.launcher.submissions == [3]
        assert (len(world.names), world.reconciler.missing) == (7, 4)
        await world.turn(10 * TICK)
        assert world.launcher.submissions == [3]
        for record in world.in_state(NodeState.QUEUED)[:2]:
            world.work(record)
        await world.turn()
        assert world.launcher.submissions == [3, 2]
        for _ in range(4):
            for record in world.in_state(NodeState.QUEUED):
                world.work(record)
            await world.turn()
        assert world.launcher.submissions == [3, 2, 2]
        assert (active(world), world.reconciler.missing) == (7, 0)
        assert world.reconciler.decisions == []

    play(story)


def test_what_is_too_much_for_one_array_comes_as_several() -> None:
    """The grid says how many it takes, and is asked for no more at once after that."""

    async def story() -> None:
        world = World(8)
        world.launcher.largest = 3
        for _ in range(4):
            await world.turn()
        assert world.launcher.submissions == [3, 3, 2]
        assert (len(world.names), world.reconciler.missing) == (8, 0)
        world.pool.scale(12, by_user=True)
        for _ in range(3):
            await world.turn()
        assert world.launcher.submissions == [3, 3, 2, 3, 1]

    play(story)


def test_nodes_that_were_not_submitted_are_given_up_first() -> None:
    """It costs nothing, and no place in the queue is lost for it."""

    async def story() -> None:
        world = World(7, max_queued_jobs=3)
        await world.turn()
        await world.scale(5)
        await world.pool.give_back_places()
        assert (world.reconciler.missing, world.launcher.cancelled) == (2, [])
        await world.scale(2)
        await world.pool.give_back_places()
        assert world.reconciler.missing == 0
        assert [node.index for node in world.launcher.cancelled] == [3]

    play(story)


def test_a_grid_that_is_full_of_our_jobs_is_asked_again() -> None:
    """A limit of the site is no failure of the nodes; it is said once."""

    async def story() -> None:
        world = World(2)
        full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
        world.launcher.error = GridFull(full, 2, "")
        await world.turn(120)
        assert world.reconciler.persistent_failure is None
        assert world.launcher.submissions == []
        assert full in world.reconciler.submission_error
        assert sum(full in text for text in world.reconciler.decisions) == 1
        world.launcher.error = None
        await world.turn(61)
        assert world.launcher.submissions == [2]
        assert world.reconciler.submission_error == ""

    play(story)


def test_what_stands_in_for_a_planned_end_costs_no_budget() -> None:
    """Nothing was lost; and what is lost at the same time is granted as ever."""

    async def story() -> None:
        world = await working(6)
        while world.reconciler.limiter.grant(1, world.now):
            world.reconciler.limiter.note_success()
        for record in world.in_state(NodeState.WORKING)[:2]:
            world.pool.replace(record)
        assert len(world.names) == 6, "successors are desired instead"
        await world.turn()
        assert world.launcher.submissions == [6, 2]
        await world.die(world.in_state(NodeState.WORKING)[5])
        await world.turn()
        assert world.launcher.submissions == [6, 2], "the budget is used up"

    play(story)


def test_an_outage_costs_time_only() -> None:
    """Tries come at growing intervals; what is missing is asked for once."""

    async def story() -> None:
        world = await working(1)
        await world.turn(WORKING_SECONDS + TICK)  # so that no budget has a say in this
        world.launcher.error = DrmCommunicationError("no answer")
        world.pool.scale(4, by_user=False)
        tries = []
        for _ in range(120):
            before = world.launcher.attempts
            await world.turn(1)
            if world.launcher.attempts > before:
                tries.append(world.now)
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert gaps == [2, 4, 8, 16, 32]
        assert world.reconciler.submission_error == "no answer"
        world.launcher.error = None
        await world.turn(61)
        assert world.launcher.submissions == [1, 3]
        assert world.reconciler.submission_error == ""
        said = world.decided("no answer")
        assert len(said) == 1, "once an outage"

    play(story)


def test_refusals_end_in_hopelessness() -> None:
    """The grid's words are kept, and it is not asked for ever."""

    async def story() -> None:
        world = await working(3)
        world.launcher.error = SubmitError("no such queue", 3, "-q x")
        for record in world.in_state(NodeState.WORKING):
            await world.die(record)
        await world.turn(20)
        assert world.reconciler.persistent_failure is Cause.REJECTED
        assert world.cluster.persistent_failures
        refused = len(world.decided("no such queue"))
        assert refused <= 4

    play(story)


def test_where_all_fail_alike_only_single_nodes_are_tried() -> None:
    """Now and then, at growing intervals; a worker ends that, and so does the user."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        for i, record in enumerate(world.in_state(NodeState.QUEUED)):
            await world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        assert world.reconciler.persistent_failure is Cause.NO_PYTHON
        assert not world.cluster.persistent_failures
        await world.turn()
        assert world.cluster.persistent_failures, "who waits for a worker is told"
        for _ in range(10):
            await world.turn(FIRST_PROBE)
            for record in world.in_state(NodeState.QUEUED):
                await world.die(record, Cause.NO_PYTHON, host="node1")
        assert world.launcher.submissions[0] == 6
        assert set(world.launcher.submissions[1:]) == {1}
        assert 2 <= len(world.launcher.submissions) <= 6
        await world.turn(40 * FIRST_PROBE)
        (probe,) = world.in_state(NodeState.QUEUED)
        world.work(probe)
        await world.turn(100)
        assert active(world) == 6, "one that works is a sign for all"

    play(story)


def test_the_users_word_is_a_new_try_for_all() -> None:
    """Not so that of adaptive scaling, which says the same whatever fails."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        for i, record in enumerate(world.in_state(NodeState.QUEUED)):
            await world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        await world.turn()
        world.pool.scale(5, by_user=False)
        await world.turn(10)
        assert world.launcher.submissions == [6, 1]
        world.pool.scale(5, by_user=True)
        await world.turn()
        assert world.launcher.submissions == [6, 1, 4], "one is still queued"

    play(story)


def test_while_some_still_start_there_is_hope() -> None:
    """They may become workers yet."""

    async def story() -> None:
        world = World(4)
        await world.turn()
        starting, *rest = world.in_state(NodeState.QUEUED)
        world.greet(starting, "node3")
        for i, record in enumerate(rest):
            await world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        assert world.reconciler.persistent_failure is None
        await world.die(starting, Cause.NO_PYTHON)
        assert world.reconciler.persistent_failure is Cause.NO_PYTHON

    play(story)


def test_an_outage_that_does_not_matter_any_more_is_not_told() -> None:
    """Nothing is missing, so nothing waits for the grid."""

    async def story() -> None:
        world = await working(2)
        world.launcher.error = DrmCommunicationError("no answer")
        world.pool.scale(3, by_user=True)
        await world.turn()
        assert world.reconciler.submission_error == "no answer"
        world.pool.scale(2, by_user=True)
        await world.turn()
        assert world.reconciler.submission_error == ""

    play(story)


def test_a_refusal_is_an_answer() -> None:
    """The outage is over, whatever the grid says; and that is told instead."""

    async def story() -> None:
        world = World(3)
        world.launcher.error = DrmCommunicationError("no answer")
        await world.turn()
        assert world.reconciler.submission_error
        world.launcher.error = SubmitError("no such queue", 3, "-q x")
        await world.turn(10)
        assert "no such queue" in world.reconciler.submission_error

    play(story)


def test_a_launcher_in_trouble_is_not_asked_for_ever() -> None:
    """Whatever it is, that is said, and the budget bounds the tries."""

    async def story() -> None:
        world = await working(4)
        world.launcher.error = LauncherError("its session died")
        for record in world.in_state(NodeState.WORKING):
            await world.die(record)
        await world.turn(REFILL_SECONDS)
        said = world.decided("its session died")
        assert 2 <= len(said) <= 2 * 8
        assert world.reconciler.submission_error == ""

    play(story)


@pytest.mark.parametrize("host", ["node1", "node2"])
def test_a_silent_worker_is_asked_about_and_then_given_up(host: str) -> None:
    """The grid may know better; if not, its node is cancelled and replaced.

    Its host is to blame only if no other node there is heard.
    """

    async def story() -> None:
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
        assert active(world) == 2

    play(story)


def test_a_worker_that_is_restarted_has_more_time() -> None:
    """Its Nanny has said so; and may hang as well, so it has not for ever."""

    async def story() -> None:
        world = await working(1)
        (record,) = world.registry
        assert record.worker
        world.pool.missing(record.worker, expected=False)
        record.restarting.add(record.worker or "")
        await world.turn(2 * SILENCE[NodeState.IMPORTING] - 1)
        assert not record.over
        await world.turn(1)
        assert record.over
        assert active(world) == 1, "it has been replaced"

    play(story)


def test_a_worker_that_comes_back_was_not_lost() -> None:
    """As after a restart by its Nanny."""

    async def story() -> None:
        world = await working(1)
        (record,) = world.registry
        assert record.worker
        world.pool.missing(record.worker, expected=False)
        record.restarting.add(record.worker or "")
        await world.turn(3 * MISSED)
        assert not record.over
        world.pool.registered(record.worker)
        await world.turn(3 * MISSED)
        assert (record.over, world.launcher.submissions) == (False, [1])

    play(story)


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
def test_a_node_that_never_gets_on_is_given_up(state: NodeState) -> None:
    """Late: file servers are slow; and not while it is heard of."""

    async def story() -> None:
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
        assert active(world) == 1, "it has been replaced"

    play(story)


def test_a_node_may_queue_for_ever() -> None:
    """A full grid is no fault: nobody asks, and nobody gives a place up."""

    async def story() -> None:
        world = World(2)
        await world.turn()
        for _ in range(100):
            await world.turn(SUSPEND_THRESHOLD - 1)
        assert (world.launcher.asked, world.launcher.cancelled) == ([], [])
        assert world.launcher.submissions == [2]

    play(story)


def test_nodes_in_flight_are_not_missing() -> None:
    """While a submission hangs, nothing is submitted twice and the checks go on."""

    async def story() -> None:
        world = World(2)
        world.launcher.hold = asyncio.Event()
        submission = asyncio.create_task(world.pool.reconcile())
        await asyncio.sleep(0)
        assert world.pool.arrays.in_flight == 2
        assert world.reconciler.missing == 0
        assert world.reconciler.due() == float("inf")
        await world.pool.monitor.check()
        world.launcher.hold.set()
        await submission
        await world.turn(TICK)
        assert world.launcher.submissions == [2]

    play(story)


def test_whoever_stood_still_heard_nobody() -> None:
    """A suspended notebook does not take its own silence for its nodes'."""

    async def story() -> None:
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
            "they did not find us: we were away"
        )
        assert not world.pool.blocklist.suspects()
        assert not one.over, "its silence is counted from the waking"
        await world.turn(SUSPEND_THRESHOLD)
        assert active(world) == 2

    play(story)


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
def test_whoever_was_starting_meanwhile_has_the_time_it_had(state: NodeState) -> None:
    """It could not be heard: neither its next hello nor its worker."""

    async def story() -> None:
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

    play(story)


def test_what_is_lost_while_we_wake_is_replaced_at_once() -> None:
    """However many have failed before: it was us."""

    async def story() -> None:
        world = World(4)
        await world.turn()
        for _ in range(6):
            world.reconciler.limiter.grant(1, world.now)
            world.now += TICK
        world.now += 3600
        await world.turn()
        for _ in range(3):
            await world.die(world.in_state(NodeState.QUEUED)[0], Cause.UNREACHABLE)
            await world.turn(1)
        assert world.launcher.submissions == [4, 1, 1, 1]

    play(story)


def test_a_shut_host_is_found_out_about_and_said_once() -> None:
    """It is asked which hosts there are before one is taken for the only one."""

    async def story() -> None:
        world = World(4)
        await world.turn()
        for record in world.in_state(NodeState.QUEUED)[:FAILURE_LIMIT]:
            await world.die(record, Cause.NO_PYTHON, host="node1")
        await world.turn()
        await world.turn(4)
        assert world.pool.blocklist.possible == frozenset({"node1", "node2"})
        said = world.decided("Excluding host node1")
        assert len(said) == 1
        world.work(world.in_state(NodeState.QUEUED)[0], "node1")
        await world.turn()
        assert world.pool.blocklist.blocked(world.now) == []
        for _ in range(FAILURE_LIMIT):
            world.pool.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        await world.turn()
        said = world.decided("Excluding host node1")
        assert len(said) == 2, "it had been well in between"

    play(story)


def test_a_host_that_is_shut_later_is_said_alone() -> None:
    """What is known of the others has been said."""

    async def story() -> None:
        world = await working(1)
        world.pool.blocklist.possible = frozenset({"node2", "node3", "node4"})
        for host in ("node3", "node2"):
            for _ in range(FAILURE_LIMIT):
                why = Diagnosis(cause=Cause.KILLED)
                world.pool.blocklist.failed(host, why, world.now)
            await world.turn()
        said = world.decided("Excluding host")
        assert [text.split()[2] for text in said] == ["node3", "node2"]

    play(story)


def test_a_grid_that_cannot_tell_its_hosts_is_not_asked_each_time() -> None:
    """One bad node may be remembered for days; each question costs the master."""

    async def story() -> None:
        world = await working(1)
        world.launcher.places = None
        world.pool.blocklist.failed("node2", Diagnosis(cause=Cause.KILLED), world.now)
        await world.turn(2 * (HOSTS_AGAIN + TICK))
        assert world.launcher.searched == 3
        assert world.pool.blocklist.possible is None

    play(story)


@pytest.mark.parametrize(("left", "asked"), [(6, 6), (2, 0)])
def test_nodes_asleep_at_the_door_are_replaced_within_the_budget(
    left: int, asked: int
) -> None:
    """They do not count, but what stands in for them does cost."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        world.pool.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            world.pool.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        for record in world.in_state(NodeState.QUEUED):
            world.greet(record, "node1")
        assert world.pool.admission.num_blocked == 6
        world.reconciler.limiter.grant(12 - left, world.now)
        await world.turn(TICK)
        assert sum(world.launcher.submissions) == 6 + asked
        assert len(world.names) == 6

    play(story)


def test_nodes_that_die_in_their_sleep_are_replaced_once() -> None:
    """Others stood in for them already, or do now; not both."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        for _ in range(FAILURE_LIMIT):
            world.pool.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        world.pool.blocklist.possible = frozenset({"node1", "node2"})
        sleepers = world.in_state(NodeState.QUEUED)
        for record in sleepers:
            world.greet(record, "node1")
        for record in sleepers:
            await world.die(record, Cause.CANCELLED)
        world.pool.scale(6, by_user=True)
        await world.turn(10)
        assert (world.launcher.submissions, active(world)) == ([6, 6], 6)
        assert len(world.registry.unbound) == 6

    play(story)


def test_it_stops_even_when_it_is_woken_at_that_moment() -> None:
    """`asyncio.wait_for` may swallow a cancellation then."""

    async def story() -> None:
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

    play(story)


def test_events_request_a_pass_at_once() -> None:
    """A loss need not wait for the next tick."""

    async def story() -> None:
        world = await working(2)
        world.pool.monitor.start()
        await world.die(world.in_state(NodeState.WORKING)[0])
        await until(lambda: world.cluster.passes, "a pass", TICK / 2)
        await world.pool.monitor.stop()

    play(story)


def test_a_check_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """It is a line in the log, and the pass is run all the same."""

    async def story() -> None:
        world = World(2)
        world.launcher.places = None
        del world.cluster.scheduler.silent_workers
        world.pool.monitor.start()
        world.pool.wake()
        await until(lambda: "Checking the nodes failed" in caplog.text, "it fails", 5)
        await until(lambda: world.cluster.passes, "a pass", 5)
        await world.pool.monitor.stop()

    play(story)


def test_a_refused_scale_up_costs_no_budget_and_tries_again() -> None:
    """The cluster takes its names back and raises; others are tried again later."""

    async def story() -> None:
        world = await working(2)
        world.launcher.error = SubmitError("no such queue", 1, "-q x")
        assert await world.scale(3) is world.launcher.error
        await world.pool.reconcile()  # too early
        assert world.launcher.attempts == 2
        world.launcher.error = None
        await world.turn(5)
        assert world.launcher.submissions == [2, 1]

    play(story)


class AnyOrder(RuleBasedStateMachine):
    """Whatever the grid, the nodes and the user do, in whatever order."""

    hosts = st.sampled_from(["node1", "node2"])

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0)
        self.began = self.world.now
        self.user = 0  # the user's last word
        self.words = 8  # what the user's words were worth, in nodes
        self.faults = itertools.cycle(
            [Cause.KILLED, Cause.NO_PYTHON, Cause.WALLTIME, Cause.UNREACHABLE]
        )

    def some(self, data: st.DataObject, *states: NodeState) -> NodeRecord:
        return data.draw(st.sampled_from(self.world.in_state(*states)))

    @rule(count=st.integers(0, 6))
    def scale(self, count: int) -> None:
        world = self.world
        _, dropped = world.pool.scale(count, by_user=True)
        records = [world.registry.by_worker.get(name) for name in dropped]
        asyncio.run(world.pool.cancel([r for r in records if r and not r.ending]))
        self.user = count
        self.words += max(8, 2 * count) + count

    @rule(
        trouble=st.sampled_from(
            [None, DrmCommunicationError("silence"), SubmitError("no", 1, "")]
        )
    )
    def grid(self, trouble: Exception | None) -> None:
        self.world.launcher.error = trouble

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.turn(seconds)

    @rule()
    def stand_still(self) -> None:
        live = [record.over for record in self.world.registry.live.values()]
        self.world.now += 3600
        self.turn(0.0)
        on_resume = self.world.registry.live.values()
        assert [record.over for record in on_resume][: len(live)] == live
        assert self.world.reconciler.persistent_failure is None

    def turn(self, seconds: float) -> None:
        world, asked = self.world, len(self.world.launcher.submissions)
        desired = world.pool.wanted

        def look() -> None:  # at once: a host is not shut for ever
            nonlocal asked
            if len(world.launcher.submissions) > asked:
                assert active(world) - len(asleep(world)) <= world.pool.wanted
            asked = len(world.launcher.submissions)

        asyncio.run(world.turn(seconds, look))
        assert world.pool.wanted == desired

    @precondition(lambda self: self.world.in_state(NodeState.QUEUED))
    @rule(data=st.data(), host=hosts)
    def arrive(self, data: st.DataObject, host: str) -> None:
        self.world.greet(self.some(data, NodeState.QUEUED), host)

    @precondition(lambda self: self.world.in_state(NodeState.ARRIVED))
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        record = self.some(data, NodeState.ARRIVED)
        self.world.greet(record, record.host)

    @precondition(lambda self: self.world.in_state(NodeState.IMPORTING))
    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        record = self.some(data, NodeState.IMPORTING)
        assert record.worker
        self.world.pool.registered(record.worker)

    @precondition(lambda self: self.world.in_state(NodeState.WORKING))
    @rule(data=st.data(), back=st.booleans())
    def lose(self, data: st.DataObject, back: bool) -> None:
        record = self.some(data, NodeState.WORKING)
        assert record.worker
        self.world.pool.missing(record.worker, expected=False)
        if back:
            self.world.pool.registered(record.worker)

    @precondition(lambda self: self.world.registry.live)
    @rule(data=st.data(), host=hosts)
    def fail(self, data: st.DataObject, host: str) -> None:
        live = list(self.world.registry.live.values())
        desired = self.world.pool.wanted
        record = data.draw(st.sampled_from(live))
        asyncio.run(self.world.die(record, next(self.faults), host))
        assert self.world.pool.wanted == desired

    @precondition(lambda self: self.world.registry.live)
    @rule(data=st.data(), cause=st.sampled_from([Cause.DELETED, Cause.RETIRED]))
    def take_away(self, data: st.DataObject, cause: Cause) -> None:
        world = self.world
        names, desired = len(world.names), world.pool.wanted
        record = data.draw(st.sampled_from(list(world.registry.live.values())))
        on_purpose = not record.over and record.diagnosis is None
        asyncio.run(world.die(record, cause))
        wanted = on_purpose and len(world.names) < names
        assert world.pool.wanted == max(0, desired - wanted)

    @invariant()
    def there_are_never_more_than_wanted(self) -> None:
        assert len(self.world.names) <= max(self.user, self.world.pool.wanted)
        assert self.world.pool.wanted <= self.user

    @invariant()
    def who_sleeps_is_there_and_its_host_is_shut(self) -> None:
        assert self.world.pool.admission.num_blocked == len(asleep(self.world))

    @invariant()
    def names_are_never_used_twice(self) -> None:
        assert len(set(self.world.names)) == len(self.world.names)

    @invariant()
    def submissions_are_bounded_in_time(self) -> None:
        refills = (self.world.now - self.began) / REFILL_SECONDS
        tried = self.world.launcher.refused + sum(self.world.launcher.submissions)
        assert tried <= self.words + 12 * refills


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_rejected_successors_of_rotated_nodes_are_a_failure() -> None:
    """They cost no budget, but their rejection is counted and reported all the same."""

    async def story() -> None:
        world = await working(2)
        world.launcher.error = SubmitError("unknown queue", 1, "-q nowhere")
        for record in world.in_state(NodeState.WORKING):
            world.pool.replace(record)
        await world.turn(60.0)
        assert world.decided("rejected")
        assert world.reconciler.persistent_failure is Cause.REJECTED
        attempts = world.launcher.attempts
        await world.turn(1000.0)
        assert world.launcher.attempts - attempts < 10

    play(story)


def test_scale_returns_a_rejection_that_another_pass_met() -> None:
    """Its own pass is within the back-off, and does not succeed."""

    async def story() -> None:
        world = World()
        world.launcher.error = SubmitError("unknown queue", 1, "-q nowhere")
        world.pool.scale(2, by_user=True)
        assert await world.pool.reconcile() is world.launcher.error
        assert await world.pool.reconcile() is world.launcher.error

    play(story)


def test_nothing_is_due_while_a_submission_gets_no_answer() -> None:
    """The timer does not spin."""

    async def story() -> None:
        world = await working(2)
        world.launcher.hold = asyncio.Event()
        await world.die(world.in_state(NodeState.WORKING)[0])
        await_answer = asyncio.ensure_future(world.pool.reconcile())
        await until(lambda: world.launcher.attempts == 2, "a submission")
        await world.die(world.in_state(NodeState.WORKING)[0])
        assert world.reconciler.due() == float("inf")
        world.launcher.hold.set()
        await await_answer

    play(story)
