"""The passes and checks of a pool, on a launcher that does what a test sets."""

from __future__ import annotations

import asyncio
import itertools

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
from dask_gridengine.nodes.registry import ORDER, NodeRecord, NodeState
from dask_gridengine.reconcile.monitor import (
    TICK,
    WORKING_SECONDS,
)
from dask_gridengine.reconcile.rate_limiter import REFILL_SECONDS
from dask_gridengine.reconcile.reconciler import FIRST_PROBE
from tests.pools import World, working

MISSED = 15.0  # Dask's lost-worker-timeout


def held(world: World) -> list[NodeRecord]:
    """Nodes that arrived on an excluded host."""
    hold = world.pool.blocklist.block_seconds
    arrived = world.in_state(NodeState.ARRIVED)
    return [record for record in arrived if hold(record.host, world.now)]


async def test_missing_nodes_are_submitted_as_one_array() -> None:
    """And only once."""
    world = await working(5)
    assert world.launcher.submissions == [5]
    for record in world.in_state(NodeState.WORKING)[:3]:
        await world.die(record)
    await world.turn()
    await world.turn(10)
    assert world.launcher.submissions == [5, 3]
    assert world.active == 5


@pytest.mark.parametrize("cause", [Cause.DELETED, Cause.RETIRED])
async def test_nodes_deleted_on_purpose_are_not_replaced(cause: Cause) -> None:
    """The number drops, and that is one line for all of them."""
    world = await working(4)
    for record in world.in_state(NodeState.WORKING)[:3]:
        await world.die(record, cause)
    await world.turn(10)
    assert world.launcher.submissions == [4]
    assert world.pool.wanted == 1
    (reported,) = world.decided("requested from")
    assert reported.startswith("3 nodes (e.g. node 1.1 on node1) were ")
    assert reported.endswith("requested from now on: 1")
    (last,) = world.in_state(NodeState.WORKING)
    await world.die(last, cause)
    await world.turn()
    assert world.cluster.persistent_failures, "tasks that wait for a worker fail"


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.LEFT])
async def test_a_surplus_node_that_leaves_changes_no_number(cause: Cause) -> None:
    """It was not desired any more."""
    world = await working(2)
    world.registry.submitted([NodeId("99", 1)])
    await world.die(world.registry.records[NodeId("99", 1)], cause)
    await world.turn()
    assert (world.pool.wanted, world.launcher.submissions) == (2, [2])


async def test_no_more_are_replaced_than_the_budget_grants() -> None:
    """The others follow as it fills again."""
    world = await working(6)
    assert world.reconciler.limiter.grant(9, world.now) == 9
    for record in world.in_state(NodeState.WORKING):
        await world.die(record)
    await world.turn(1)
    assert world.launcher.submissions == [6, 3]
    assert len(world.names) == 6, "all are still desired"
    assert world.reconciler.missing == 3
    await world.turn(REFILL_SECONDS)
    assert world.active == 6


async def test_too_many_nodes_for_one_array_are_several() -> None:
    """The grid reports its limit, and no later array is larger."""
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


async def test_nodes_that_were_not_submitted_are_given_up_first() -> None:
    """No place in the queue is lost for that."""
    world = World(7, max_queued_jobs=3)
    await world.turn()
    await world.scale(5)
    await world.pool.give_back_places()
    assert (world.reconciler.missing, world.launcher.cancelled) == (2, [])
    await world.scale(2)
    await world.pool.give_back_places()
    assert world.reconciler.missing == 0
    assert [node.index for node in world.launcher.cancelled] == [3]


async def test_a_grid_that_is_full_of_our_jobs_gets_them_later() -> None:
    """A limit of the site is no failure of the nodes; it is reported once."""
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


async def test_the_successor_of_a_planned_end_costs_no_budget() -> None:
    """Nothing was lost; losses at the same time are charged as always."""
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


async def test_an_outage_costs_time_only() -> None:
    """Submissions are tried at growing intervals; missing nodes are submitted once."""
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
    reported = world.decided("no answer")
    assert len(reported) == 1, "once for each outage"


async def test_rejections_are_a_persistent_failure() -> None:
    """The grid's error is kept, and submissions end."""
    world = await working(3)
    world.launcher.error = SubmitError("no such queue", 3, "-q x")
    for record in world.in_state(NodeState.WORKING):
        await world.die(record)
    await world.turn(20)
    assert world.reconciler.persistent_failure is Cause.REJECTED
    assert world.cluster.persistent_failures
    refused = len(world.decided("no such queue"))
    assert refused <= 4


async def test_where_all_nodes_fail_alike_only_single_ones_are_submitted() -> None:
    """At growing intervals, until a node works."""
    world = World(6)
    await world.turn()
    for i, record in enumerate(world.in_state(NodeState.QUEUED)):
        await world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
    assert world.reconciler.persistent_failure is Cause.NO_PYTHON
    assert not world.cluster.persistent_failures
    await world.turn()
    assert world.cluster.persistent_failures, "waiting tasks get the reasons"
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
    assert world.active == 6, "one that works shows that all may"


async def test_scale_submits_all_nodes_again() -> None:
    """Adaptive scaling does not: it repeats the same number whatever fails."""
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


async def test_a_node_that_starts_is_no_persistent_failure() -> None:
    """It may still become a worker."""
    world = World(4)
    await world.turn()
    starting, *rest = world.in_state(NodeState.QUEUED)
    world.greet(starting, "node3")
    for i, record in enumerate(rest):
        await world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
    assert world.reconciler.persistent_failure is None
    await world.die(starting, Cause.NO_PYTHON)
    assert world.reconciler.persistent_failure is Cause.NO_PYTHON


async def test_a_launcher_that_fails_is_not_asked_for_ever() -> None:
    """The error is reported, and the budget bounds the submissions."""
    world = await working(4)
    world.launcher.error = LauncherError("its session died")
    for record in world.in_state(NodeState.WORKING):
        await world.die(record)
    await world.turn(REFILL_SECONDS)
    reported = world.decided("its session died")
    assert 2 <= len(reported) <= 2 * 8
    assert world.reconciler.submission_error == ""


async def test_nodes_in_flight_are_not_missing() -> None:
    """While a submission hangs, nothing is submitted twice and the checks go on."""
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


@pytest.mark.parametrize(("left", "asked"), [(6, 6), (2, 0)])
async def test_nodes_held_on_an_excluded_host_are_replaced_within_the_budget(
    left: int, asked: int
) -> None:
    """They do not count as nodes, but their stand-ins cost budget."""
    world = World(6)
    await world.turn()
    world.pool.blocklist.possible = frozenset({"node1", "node2"})
    for _ in range(FAILURE_LIMIT):
        world.pool.blocklist.failed("node1", Diagnosis(cause=Cause.KILLED), world.now)
    for record in world.in_state(NodeState.QUEUED):
        world.greet(record, "node1")
    assert world.pool.admission.num_blocked == 6
    world.reconciler.limiter.grant(12 - left, world.now)
    await world.turn(TICK)
    assert sum(world.launcher.submissions) == 6 + asked
    assert len(world.names) == 6


async def test_a_refused_scale_up_costs_no_budget_and_tries_again() -> None:
    """The cluster drops its names and raises; others are tried again later."""
    world = await working(2)
    world.launcher.error = SubmitError("no such queue", 1, "-q x")
    assert await world.scale(3) is world.launcher.error
    await world.pool.reconcile()  # too early
    assert world.launcher.attempts == 2
    world.launcher.error = None
    await world.turn(5)
    assert world.launcher.submissions == [2, 1]


class AnyOrder(RuleBasedStateMachine):
    """Events of the grid, the nodes and the user in any order."""

    hosts = st.sampled_from(["node1", "node2"])

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0)
        self.began = self.world.now
        self.user = 0  # the number that the user requested last
        self.allowed = 8  # how many submissions the user's requests allow
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
        self.allowed += max(8, 2 * count) + count

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
    def suspend_this_process(self) -> None:
        live = [record.over for record in self.world.registry.live.values()]
        self.world.now += 3600
        self.turn(0.0)
        on_resume = self.world.registry.live.values()
        assert [record.over for record in on_resume][: len(live)] == live
        assert self.world.reconciler.persistent_failure is None

    def turn(self, seconds: float) -> None:
        world, asked = self.world, len(self.world.launcher.submissions)
        desired = world.pool.wanted

        def check() -> None:  # at once: a host is not excluded for ever
            nonlocal asked
            if len(world.launcher.submissions) > asked:
                assert world.active - len(held(world)) <= world.pool.wanted
            asked = len(world.launcher.submissions)

        asyncio.run(world.turn(seconds, check))
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
    def delete(self, data: st.DataObject, cause: Cause) -> None:
        world = self.world
        names, desired = len(world.names), world.pool.wanted
        record = data.draw(st.sampled_from(list(world.registry.live.values())))
        on_purpose = not record.over and record.diagnosis is None
        asyncio.run(world.die(record, cause))
        wanted = on_purpose and len(world.names) < names
        assert world.pool.wanted == max(0, desired - wanted)

    @invariant()
    def there_are_never_more_than_desired(self) -> None:
        assert len(self.world.names) <= max(self.user, self.world.pool.wanted)
        assert self.world.pool.wanted <= self.user

    @invariant()
    def held_nodes_are_on_excluded_hosts(self) -> None:
        assert self.world.pool.admission.num_blocked == len(held(self.world))

    @invariant()
    def names_are_never_used_twice(self) -> None:
        assert len(set(self.world.names)) == len(self.world.names)

    @invariant()
    def the_registry_is_consistent(self) -> None:
        registry, bound = self.world.registry, {}
        for state in ORDER:
            found = [record for record in registry if record.state is state]
            assert registry.counts[state] == len(found)
            assert registry.in_state(state) == found
        for record in registry:
            assert (record.id in registry.live) == (record.gone is None)
            assert record.lost is None or record.worker
            if record.worker:
                bound[record.worker] = record
        assert registry.by_worker == bound
        assert not {*bound} & {*registry.unbound}

    @invariant()
    def submissions_are_bounded_in_time(self) -> None:
        refills = (self.world.now - self.began) / REFILL_SECONDS
        tried = self.world.launcher.refused + sum(self.world.launcher.submissions)
        assert tried <= self.allowed + 12 * refills


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_rejected_successors_of_rotated_nodes_are_a_failure() -> None:
    """They cost no budget, but their rejection is counted and reported all the same."""
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


async def test_scale_returns_a_rejection_that_another_pass_met() -> None:
    """Its own pass is within the back-off, and does not succeed."""
    world = World()
    world.launcher.error = SubmitError("unknown queue", 1, "-q nowhere")
    world.pool.scale(2, by_user=True)
    assert await world.pool.reconcile() is world.launcher.error
    assert await world.pool.reconcile() is world.launcher.error
