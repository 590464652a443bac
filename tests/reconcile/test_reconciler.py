"""The reconciler, on a launcher that does what a test says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.errors import (
    ArrayTooLarge,
    DrmCommunicationError,
    GridFull,
    LauncherError,
    SubmitError,
)
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.nodes.fleet import Callbacks, Fleet
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.reconcile.liveness import SILENCE
from dask_gridengine.reconcile.rate_limiter import REFILL_SECONDS
from dask_gridengine.reconcile.reconciler import (
    FIRST_PROBE,
    HOSTS_AGAIN,
    PROVEN,
    SUSPEND_THRESHOLD,
    TICK,
    Hands,
    Reconciler,
)
from tests.samples import allocation, hello
from tests.waiting import until

MISSED = 15.0


@dataclass
class Paper:
    """A launcher without a grid: it hands out numbers, or fails as it is told."""

    trouble: Exception | None = None
    hold: asyncio.Event | None = None  # submissions wait for it
    submissions: list[int] = field(default_factory=list)
    refused: int = 0
    asked: list[NodeId] = field(default_factory=list)
    cancelled: list[NodeId] = field(default_factory=list)
    places: frozenset[str] | None = frozenset({"node1", "node2"})
    searched: int = 0  # times it was asked for them
    kind: str = "paper"
    largest: int = 0  # nodes an array may have; 0 is any number
    dialect: BatchSystem = field(default_factory=BatchSystem)

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        if self.hold is not None:
            await self.hold.wait()
        if self.largest and count > self.largest:
            words = f"you tried to submit a job with more than {self.largest} tasks"
            raise ArrayTooLarge(words, count, "", limit=self.largest)
        if self.trouble is not None:
            self.refused += count * isinstance(self.trouble, SubmitError)
            raise self.trouble
        self.submissions.append(count)
        job = str(len(self.submissions))
        return [NodeId(job, i + 1) for i in range(count)]

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        self.cancelled += nodes

    async def recheck(self, nodes: Collection[NodeId]) -> None:
        self.asked += nodes

    async def hosts(self, native: str) -> frozenset[str] | None:
        self.searched += 1
        return self.places

    async def report(self, job: str, native: str) -> None:
        return None

    async def suspended(self) -> None:
        return None


class World:
    """An upkeep, what it acts on, and a clock."""

    def __init__(self, desired: int = 0, **options: Any) -> None:
        self.now = 1000.0
        self.launcher = Paper()
        self.names: list[str] = []
        self.made = 0
        self.on_resume: list[float] = []
        self.despaired = 0
        self.fleet = Fleet(
            Options.resolve(options),
            versions=hello().versions,
            callbacks=Callbacks(
                make_allocation=lambda name, _: allocation(name=name),
                on_over=self.on_over,
            ),
        )
        self.fleet._launcher = self.launcher  # type: ignore[assignment]
        self.fleet._opened = self.launcher  # type: ignore[assignment]
        self.fleet.request = NodeRequest(name="x", command=("true",))
        self.fleet.arrays._launcher = self.launcher  # type: ignore[assignment]
        self.fleet.arrays._request = self.fleet.request
        self.fleet.admission.ready = True
        self.fleet.registry.clock = lambda: self.now
        self.reconciler = Reconciler(
            self.fleet,
            Hands(
                planned=lambda: len(self.names),
                add=self.add,
                cancel=self.fleet.cancel,
                on_resume=self.on_resume.append,
                on_persistent_failure=self.on_persistent_failure,
                note=lambda text: None,
            ),
            missed=MISSED,
            clock=lambda: self.now,
        )
        self.reconciler.want(desired)

    async def add(self, count: int) -> None:
        assert count >= 0
        names = [f"ge-{self.made + i}" for i in range(count)]
        await self.fleet.submit(names)
        self.made += count
        self.names += names

    def on_persistent_failure(self) -> None:
        self.despaired += 1

    def on_over(self, record: NodeRecord) -> None:
        registry = self.fleet.registry
        names = [record.worker] if record.worker else []
        while len(registry.unbound) > registry.expected + registry.backlog:
            names.append(registry.unbound.pop())
        wanted = {*names} & {*self.names}
        self.names = [name for name in self.names if name not in wanted]
        self.reconciler.over(record, wanted=bool(wanted))

    async def turn(
        self, seconds: float = 0.0, after: Callable[[], None] = lambda: None
    ) -> None:
        """Let so much time pass, in ticks, as it does; call `after` each of them."""
        while seconds > TICK:
            self.now += TICK
            seconds -= TICK
            await self.reconciler.turn()
            after()
        self.now += seconds
        await self.reconciler.turn()
        after()

    def greet(self, record: NodeRecord, host: str) -> None:
        """A node comes to the door, and is told what becomes of it."""
        job, index = record.id
        me = f"{job:0>8}{index:0>8}"
        self.fleet.admission.answer(
            hello(
                job=job,
                index=index,
                process_token=me,
                host=host,
                submission_id=record.submission_id,
            )
        )

    def work(self, record: NodeRecord, host: str = "node1") -> None:
        """A queued node arrives and becomes a worker."""
        self.fleet.registry.arrive(record, hello(job=record.id.job, host=host))
        name = self.fleet.registry.bind(record)
        self.fleet.registered(name)

    def die(
        self, record: NodeRecord, cause: Cause = Cause.KILLED, host: str = ""
    ) -> None:
        """A node ends, as its end notice would say."""
        record.host = host or record.host
        record.diagnosis = record.diagnosis or Diagnosis(cause=cause)
        self.fleet.registry.move(record, NodeState.GONE)
        self.fleet.exits.finish(record, record.diagnosis)

    def in_state(self, *states: NodeState) -> list[NodeRecord]:
        return self.fleet.registry.in_state(*states)

    @property
    def asleep(self) -> list[NodeRecord]:
        """Nodes that arrived on a host that is shut."""
        hold = self.fleet.blocklist.block_seconds
        arrived = self.in_state(NodeState.ARRIVED)
        return [record for record in arrived if hold(record.host, self.now)]

    @property
    def active(self) -> int:
        """Nodes that are queued, starting or working."""
        ending = (NodeState.DRAINING, NodeState.GONE)
        return len([r for r in self.fleet.registry if r.state not in ending])


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


async def working(count: int) -> World:
    """A world where all is well."""
    world = World(count)
    await world.turn()
    for record in world.fleet.registry:
        world.work(record)
    return world


def test_what_is_missing_is_asked_for_as_one_array() -> None:
    """And only once."""

    async def story() -> None:
        world = await working(5)
        assert world.launcher.submissions == [5]
        for record in world.in_state(NodeState.WORKING)[:3]:
            world.die(record)
        await world.turn()
        await world.turn(10)
        assert world.launcher.submissions == [5, 3]
        assert world.active == 5

    play(story)


@pytest.mark.parametrize("cause", [Cause.DELETED, Cause.RETIRED])
def test_what_is_taken_away_on_purpose_is_not_replaced(cause: Cause) -> None:
    """The number drops, and that is one line however many they are."""

    async def story() -> None:
        world = await working(4)
        for record in world.in_state(NodeState.WORKING)[:3]:
            world.die(record, cause)
        await world.turn(10)
        assert world.launcher.submissions == [4]
        assert world.reconciler.desired == 1
        (said,) = [text for text in world.reconciler.said if "wanted from" in text]
        assert said.startswith("3 nodes (e.g. node 1.1 on node1) were ")
        assert said.endswith("wanted from now on: 1")
        (last,) = world.in_state(NodeState.WORKING)
        world.die(last, cause)
        await world.turn()
        assert world.despaired, "who waits for a worker is told"

    play(story)


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.LEFT])
def test_what_we_gave_back_changes_no_number(cause: Cause) -> None:
    """A surplus node that leaves is not one that was wanted."""

    async def story() -> None:
        world = await working(2)
        world.fleet.registry.submitted([NodeId("99", 1)])
        world.die(world.fleet.registry.records[NodeId("99", 1)], cause)
        await world.turn()
        assert (world.reconciler.desired, world.launcher.submissions) == (2, [2])

    play(story)


def test_a_node_that_was_given_back_though_it_is_wanted_is_replaced() -> None:
    """As one that was stopped because it was taken for lost."""

    async def story() -> None:
        world = await working(2)
        world.die(world.in_state(NodeState.WORKING)[0], Cause.CANCELLED)
        await world.turn()
        assert (world.reconciler.desired, world.launcher.submissions) == (2, [2, 1])

    play(story)


def test_no_more_are_replaced_than_the_budget_grants() -> None:
    """The others follow as it fills again."""

    async def story() -> None:
        world = await working(6)
        assert world.reconciler._budget.grant(3, world.now) == 3
        for record in world.in_state(NodeState.WORKING):
            world.die(record)
        await world.turn(1)
        assert world.launcher.submissions == [6, 3]
        assert len(world.names) == 3
        await world.turn(REFILL_SECONDS)
        assert world.active == 6

    play(story)


def test_no_more_queue_at_once_than_may() -> None:
    """The rest is asked for as the first start; nothing was lost for that."""

    async def story() -> None:
        world = World(7, max_queued_jobs=3)
        await world.turn()
        assert world.launcher.submissions == [3]
        assert (len(world.names), world.fleet.registry.backlog) == (7, 4)
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
        assert (world.active, world.fleet.registry.backlog) == (7, 0)
        assert world.reconciler.said == ["asked for 7 nodes in place of lost ones"]

    play(story)


def test_what_is_too_much_for_one_array_comes_as_several() -> None:
    """The grid says how many it takes, and is asked for no more at once after that."""

    async def story() -> None:
        world = World(8)
        world.launcher.largest = 3
        for _ in range(4):
            await world.turn()
        assert world.launcher.submissions == [3, 3, 2]
        assert (len(world.names), world.fleet.registry.backlog) == (8, 0)
        world.reconciler.want(12)
        for _ in range(3):
            await world.turn()
        assert world.launcher.submissions == [3, 3, 2, 3, 1]

    play(story)


def test_what_is_owed_is_given_up_first() -> None:
    """It costs nothing, and no place in the queue is lost for it."""

    async def story() -> None:
        world = World(7, max_queued_jobs=3)
        await world.turn()
        fleet = world.fleet
        await fleet.withdraw(world.names[5:], keep_places=False)
        assert (fleet.registry.backlog, world.launcher.cancelled) == (2, [])
        await fleet.withdraw(world.names[2:5], keep_places=False)
        assert fleet.registry.backlog == 0
        assert [node.index for node in world.launcher.cancelled] == [3]

    play(story)


def test_a_grid_that_is_full_of_our_jobs_is_asked_again() -> None:
    """A limit of the site is no failure of the nodes; it is said once."""

    async def story() -> None:
        world = World(2)
        full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
        world.launcher.trouble = GridFull(full, 2, "")
        await world.turn(120)
        assert world.reconciler.persistent_failure is None
        assert world.launcher.submissions == []
        assert full in world.reconciler.outage
        assert sum(full in text for text in world.reconciler.said) == 1
        world.launcher.trouble = None
        await world.turn(61)
        assert world.launcher.submissions == [2]
        assert world.reconciler.outage == ""

    play(story)


def test_what_stands_in_for_a_planned_end_costs_no_budget() -> None:
    """Nothing was lost; and what is lost at the same time is granted as ever."""

    async def story() -> None:
        world = await working(6)
        while world.reconciler._budget.grant(1, world.now):
            world.reconciler._budget.note_success()
        for record in world.in_state(NodeState.WORKING)[:2]:
            world.names.remove(record.worker or "")  # it counts no more
            world.reconciler.expect_end()
        await world.turn()
        assert world.launcher.submissions == [6, 2]
        assert "asked for 2 nodes in place of those that leave" in world.reconciler.said
        world.die(world.in_state(NodeState.WORKING)[5])
        await world.turn()
        assert world.launcher.submissions == [6, 2], "the budget is used up"

    play(story)


def test_an_outage_costs_time_only() -> None:
    """Tries come at growing intervals; what is missing is asked for once."""

    async def story() -> None:
        world = await working(1)
        await world.turn(PROVEN + TICK)  # so that no budget has a say in this
        world.launcher.trouble = DrmCommunicationError("no answer")
        world.reconciler.plan(4)
        tries = []
        for _ in range(120):
            before = world.reconciler._submission_failed
            await world.turn(1)
            if world.reconciler._submission_failed > before:
                tries.append(world.now)
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert gaps == [2, 4, 8, 16, 32]
        assert world.reconciler.outage == "no answer"
        world.launcher.trouble = None
        await world.turn(61)
        assert world.launcher.submissions == [1, 3]
        assert world.reconciler.outage == ""
        said = [text for text in world.reconciler.said if "no answer" in text]
        assert len(said) == 1, "once an outage"

    play(story)


def test_refusals_end_in_hopelessness() -> None:
    """The grid's words are kept, and it is not asked for ever."""

    async def story() -> None:
        world = World(3)
        world.launcher.trouble = SubmitError("no such queue", 3, "-q x")
        await world.turn(20)
        assert world.reconciler.persistent_failure is Cause.REJECTED
        assert world.despaired
        refused = len(
            [text for text in world.reconciler.said if "no such queue" in text]
        )
        assert refused <= 4

    play(story)


def test_where_all_fail_alike_only_single_nodes_are_tried() -> None:
    """Now and then, at growing intervals; a worker ends that, and so does the user."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        for i, record in enumerate(world.in_state(NodeState.QUEUED)):
            world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        assert world.reconciler.persistent_failure is Cause.NO_PYTHON
        assert not world.despaired
        await world.turn()
        assert world.despaired, "who waits for a worker is told"
        for _ in range(10):
            await world.turn(FIRST_PROBE)
            for record in world.in_state(NodeState.QUEUED):
                world.die(record, Cause.NO_PYTHON, host="node1")
        assert world.launcher.submissions[0] == 6
        assert set(world.launcher.submissions[1:]) == {1}
        assert 2 <= len(world.launcher.submissions) <= 6
        await world.turn(40 * FIRST_PROBE)
        (probe,) = world.in_state(NodeState.QUEUED)
        world.work(probe)
        await world.turn(100)
        assert world.active == 6, "one that works is a sign for all"

    play(story)


def test_the_users_word_is_a_new_try_for_all() -> None:
    """Not so that of adaptive scaling, which says the same whatever fails."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        for i, record in enumerate(world.in_state(NodeState.QUEUED)):
            world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        await world.turn()
        world.reconciler.plan(5)
        await world.turn(10)
        assert world.launcher.submissions == [6, 1]
        world.reconciler.want(5)
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
            world.die(record, Cause.NO_PYTHON, host=f"node{i % 2}")
        assert world.reconciler.persistent_failure is None
        world.die(starting, Cause.NO_PYTHON)
        assert world.reconciler.persistent_failure is Cause.NO_PYTHON

    play(story)


def test_an_outage_that_does_not_matter_any_more_is_not_told() -> None:
    """Nothing is missing, so nothing waits for the grid."""

    async def story() -> None:
        world = await working(2)
        world.launcher.trouble = DrmCommunicationError("no answer")
        world.reconciler.want(3)
        await world.turn()
        assert world.reconciler.outage == "no answer"
        world.reconciler.want(2)
        await world.turn()
        assert world.reconciler.outage == ""

    play(story)


def test_a_refusal_is_an_answer() -> None:
    """The outage is over, whatever the grid says; and that is told instead."""

    async def story() -> None:
        world = World(3)
        world.launcher.trouble = DrmCommunicationError("no answer")
        await world.turn()
        assert world.reconciler.outage
        world.launcher.trouble = SubmitError("no such queue", 3, "-q x")
        await world.turn(10)
        assert world.reconciler.outage == ""
        assert any("no such queue" in text for text in world.reconciler.said)

    play(story)


def test_a_launcher_in_trouble_is_not_asked_for_ever() -> None:
    """Whatever it is, that is said, and the budget bounds the tries."""

    async def story() -> None:
        world = World(4)
        world.launcher.trouble = LauncherError("its session died")
        await world.turn(REFILL_SECONDS)
        said = [text for text in world.reconciler.said if "its session died" in text]
        assert 2 <= len(said) <= 2 * 8
        assert world.reconciler.outage == ""

    play(story)


@pytest.mark.parametrize("host", ["node1", "node2"])
def test_a_silent_worker_is_asked_about_and_then_given_up(host: str) -> None:
    """The grid may know better; if not, its node is cancelled and replaced.

    Its host is to blame only if no other node there is heard.
    """

    async def story() -> None:
        world = World(2)
        await world.turn()
        lost, other = world.fleet.registry
        world.work(lost, "node1")
        world.work(other, host)
        assert lost.worker
        world.fleet.missing(lost.worker, expected=False)
        await world.turn(MISSED / 2)
        assert world.launcher.asked == [lost.id]
        assert not lost.over
        await world.turn(MISSED / 2 + 1)
        assert lost.over
        assert lost.diagnosis is not None
        alone = host != "node1"
        assert lost.diagnosis.cause is (Cause.HOST_LOST if alone else Cause.UNKNOWN)
        assert world.fleet.blocklist.suspects() == (["node1"] if alone else [])
        assert world.launcher.cancelled == [lost.id]
        assert world.launcher.submissions == [2, 1]
        assert world.active == 2

    play(story)


def test_a_worker_that_is_restarted_has_more_time() -> None:
    """Its Nanny has said so; and may hang as well, so it has not for ever."""

    async def story() -> None:
        world = await working(1)
        (record,) = world.fleet.registry
        assert record.worker
        world.fleet.missing(record.worker, expected=False)
        record.restarting.add(record.worker or "")
        await world.turn(2 * SILENCE[NodeState.IMPORTING] - 1)
        assert not record.over
        await world.turn(1)
        assert record.over
        assert world.active == 1, "it has been replaced"

    play(story)


def test_a_worker_that_comes_back_was_not_lost() -> None:
    """As after a restart by its Nanny."""

    async def story() -> None:
        world = await working(1)
        (record,) = world.fleet.registry
        assert record.worker
        world.fleet.missing(record.worker, expected=False)
        record.restarting.add(record.worker or "")
        await world.turn(3 * MISSED)
        assert not record.over
        world.fleet.registered(record.worker)
        await world.turn(3 * MISSED)
        assert (record.over, world.launcher.submissions) == (False, [1])

    play(story)


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
def test_a_node_that_never_gets_on_is_given_up(state: NodeState) -> None:
    """Late: file servers are slow; and not while it is heard of."""

    async def story() -> None:
        world = World(1)
        await world.turn()
        (record,) = world.fleet.registry
        world.fleet.registry.arrive(record, hello(job="1", host="node1"))
        if state is NodeState.IMPORTING:
            world.fleet.registry.bind(record)
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


def test_a_submission_that_hangs_is_no_suspension() -> None:
    """The master was away, not we; and nothing is asked for twice meanwhile."""

    async def story() -> None:
        world = World(2)
        world.launcher.hold = asyncio.Event()
        turn = asyncio.create_task(world.reconciler.turn())
        await asyncio.sleep(0)
        assert world.fleet.admission.submitting == 1
        await world.turn()
        assert world.reconciler.persistent_failure is None, "something is on its way"
        world.now += 3600
        world.launcher.hold.set()
        await turn
        await world.turn(TICK)
        assert (world.launcher.submissions, world.on_resume) == ([2], [])

    play(story)


def test_whoever_stood_still_heard_nobody() -> None:
    """A suspended notebook does not take its own silence for its nodes'."""

    async def story() -> None:
        world = await working(2)
        one, other = world.in_state(NodeState.WORKING)
        assert one.worker
        world.fleet.missing(one.worker, expected=False)
        world.now += 3600
        await world.reconciler.turn()
        assert world.on_resume == [3600]
        assert not one.over
        for host in ("node1", "node2", "node3"):
            world.fleet.registry.submitted([NodeId("88", int(host[-1]))])
            tired = world.fleet.registry.records[NodeId("88", int(host[-1]))]
            world.die(tired, Cause.UNREACHABLE, host=host)
        world.die(other, Cause.LOST_CONTACT)
        await world.turn(1)
        assert world.reconciler.persistent_failure is None, (
            "they did not find us: we were away"
        )
        assert not world.fleet.blocklist.suspects()
        assert not one.over, "its silence is counted from the waking"
        await world.turn(SUSPEND_THRESHOLD)
        assert world.active == 2

    play(story)


@pytest.mark.parametrize("state", [NodeState.ARRIVED, NodeState.IMPORTING])
def test_whoever_was_starting_meanwhile_has_the_time_it_had(state: NodeState) -> None:
    """It could not be heard: neither its next hello nor its worker."""

    async def story() -> None:
        world = World(1)
        await world.turn()
        (record,) = world.fleet.registry
        world.fleet.registry.arrive(record, hello(job="1"))
        if state is NodeState.IMPORTING:
            world.fleet.registry.bind(record)
        limit = 2 * SILENCE[state]
        await world.turn(limit / 2)
        if state is NodeState.ARRIVED:
            record.heard, limit = world.now, 1.5 * limit
        world.now += 3600
        await world.reconciler.turn()
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
            world.reconciler._budget.grant(1, world.now)
            world.now += TICK
        world.now += 3600
        await world.reconciler.turn()
        for _ in range(3):
            world.die(world.in_state(NodeState.QUEUED)[0], Cause.UNREACHABLE)
            await world.turn(1)
        assert world.launcher.submissions == [4, 1, 1, 1]

    play(story)


def test_a_shut_host_is_found_out_about_and_said_once() -> None:
    """It is asked which hosts there are before one is taken for the only one."""

    async def story() -> None:
        world = World(4)
        await world.turn()
        for record in world.in_state(NodeState.QUEUED)[:FAILURE_LIMIT]:
            world.die(record, Cause.NO_PYTHON, host="node1")
        await world.turn()
        await world.turn(4)
        assert world.fleet.blocklist.possible == frozenset({"node1", "node2"})
        said = [
            text for text in world.reconciler.said if "Excluding host node1" in text
        ]
        assert len(said) == 1
        world.work(world.in_state(NodeState.QUEUED)[0], "node1")
        await world.turn()
        assert world.fleet.blocklist.blocked(world.now) == []
        for _ in range(FAILURE_LIMIT):
            world.fleet.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        await world.turn()
        said = [
            text for text in world.reconciler.said if "Excluding host node1" in text
        ]
        assert len(said) == 2, "it had been well in between"

    play(story)


def test_a_host_that_is_shut_later_is_said_alone() -> None:
    """What is known of the others has been said."""

    async def story() -> None:
        world = await working(1)
        world.fleet.blocklist.possible = frozenset({"node2", "node3", "node4"})
        for host in ("node3", "node2"):
            for _ in range(FAILURE_LIMIT):
                why = Diagnosis(cause=Cause.KILLED)
                world.fleet.blocklist.failed(host, why, world.now)
            await world.turn()
        said = [text for text in world.reconciler.said if "Excluding" in text]
        assert [text.split()[2] for text in said] == ["node3", "node2"]

    play(story)


def test_a_grid_that_cannot_tell_its_hosts_is_not_asked_each_time() -> None:
    """One bad node may be remembered for days; each question costs the master."""

    async def story() -> None:
        world = await working(1)
        world.launcher.places = None
        world.fleet.blocklist.failed("node2", Diagnosis(cause=Cause.KILLED), world.now)
        await world.turn(2 * (HOSTS_AGAIN + TICK))
        assert world.launcher.searched == 3
        assert world.fleet.blocklist.possible is None

    play(story)


@pytest.mark.parametrize(("left", "asked"), [(6, 6), (2, 0)])
def test_nodes_asleep_at_the_door_are_replaced_within_the_budget(
    left: int, asked: int
) -> None:
    """They do not count, but what stands in for them does cost."""

    async def story() -> None:
        world = World(6)
        await world.turn()
        world.fleet.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            world.fleet.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        for record in world.in_state(NodeState.QUEUED):
            world.greet(record, "node1")
        assert world.fleet.held == 6
        world.reconciler._budget.grant(6 - left, world.now)
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
            world.fleet.blocklist.failed(
                "node1", Diagnosis(cause=Cause.KILLED), world.now
            )
        world.fleet.blocklist.possible = frozenset({"node1", "node2"})
        sleepers = world.in_state(NodeState.QUEUED)
        for record in sleepers:
            world.greet(record, "node1")
        for record in sleepers:
            world.die(record, Cause.CANCELLED)
        world.reconciler.want(6)
        await world.turn(10)
        assert (world.launcher.submissions, world.active) == ([6, 6], 6)
        assert len(world.fleet.registry.unbound) == 6

    play(story)


def test_it_stops_even_when_it_is_woken_at_that_moment() -> None:
    """`asyncio.wait_for` may swallow a cancellation then."""

    async def story() -> None:
        for moment in range(8):
            world = World(2)
            world.reconciler.start()
            await until(lambda w=world: w.launcher.submissions, "a turn", 5)
            await asyncio.sleep(0)
            world.die(world.in_state(NodeState.QUEUED)[0])
            for _ in range(moment):
                await asyncio.sleep(0)
            await asyncio.wait_for(world.reconciler.stop(), 5)
            await world.reconciler.stop()
            before = list(world.launcher.submissions)
            world.reconciler.wake()
            await asyncio.sleep(0.2)
            assert world.launcher.submissions == before

    play(story)


def test_the_loop_turns_when_it_is_woken() -> None:
    """A loss need not wait for the next tick."""

    async def story() -> None:
        world = World(2)
        world.reconciler.start()
        await until(lambda: world.launcher.submissions == [2], "asked for", 5)
        for record in world.fleet.registry:
            world.work(record)
        world.die(world.in_state(NodeState.WORKING)[0])
        await until(lambda: world.launcher.submissions == [2, 1], "replaced", 5)
        await world.reconciler.stop()

    play(story)


def test_it_stops_while_it_submits() -> None:
    """A launcher that hangs does not keep a cluster from closing."""

    async def story() -> None:
        world = World(2)
        world.launcher.hold = asyncio.Event()
        world.reconciler.start()
        await until(lambda: world.fleet.admission.submitting, "submitting", 5)
        await asyncio.wait_for(world.reconciler.stop(), 5)
        assert (world.fleet.admission.submitting, world.names) == (0, [])

    play(story)


def test_a_turn_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """It is a line in the log, and the next one does its work."""

    async def story() -> None:
        world = World(2)
        world.launcher.trouble = RuntimeError("a bug")
        world.reconciler.start()
        await until(lambda: "a bug" in caplog.text, "the turn fails", 5)
        world.launcher.trouble = None
        world.reconciler.want(2)
        await until(lambda: world.launcher.submissions == [2], "asked for", 5)
        await world.reconciler.stop()

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
        while len(world.names) > count:  # as the cluster does: the newest go
            name = world.names.pop()
            if name in world.fleet.registry.unbound:
                world.fleet.registry.unbound.remove(name)
            record = world.fleet.registry.by_worker.get(name)
            if record is not None and not record.ending:
                asyncio.run(world.fleet.cancel([record]))
        world.reconciler.want(count)
        self.user = count
        self.words += max(8, 2 * count)

    @rule(
        trouble=st.sampled_from(
            [None, DrmCommunicationError("silence"), SubmitError("no", 1, "")]
        )
    )
    def grid(self, trouble: Exception | None) -> None:
        self.world.launcher.trouble = trouble

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.turn(seconds)

    @rule()
    def stand_still(self) -> None:
        live = [record.over for record in self.world.fleet.registry.live.values()]
        self.world.now += 3600
        self.turn(0.0)
        on_resume = self.world.fleet.registry.live.values()
        assert [record.over for record in on_resume][: len(live)] == live
        assert self.world.reconciler.persistent_failure is None

    def turn(self, seconds: float) -> None:
        world, asked = self.world, len(self.world.launcher.submissions)
        desired = world.reconciler.desired

        def look() -> None:  # at once: a host is not shut for ever
            nonlocal asked
            if len(world.launcher.submissions) > asked:
                assert world.active - len(world.asleep) <= world.reconciler.desired
            asked = len(world.launcher.submissions)

        asyncio.run(world.turn(seconds, look))
        assert world.reconciler.desired == desired

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
        self.world.fleet.registered(record.worker)

    @precondition(lambda self: self.world.in_state(NodeState.WORKING))
    @rule(data=st.data(), back=st.booleans())
    def lose(self, data: st.DataObject, back: bool) -> None:
        record = self.some(data, NodeState.WORKING)
        assert record.worker
        self.world.fleet.missing(record.worker, expected=False)
        if back:
            self.world.fleet.registered(record.worker)

    @precondition(lambda self: self.world.fleet.registry.live)
    @rule(data=st.data(), host=hosts)
    def fail(self, data: st.DataObject, host: str) -> None:
        live = list(self.world.fleet.registry.live.values())
        desired = self.world.reconciler.desired
        self.world.die(data.draw(st.sampled_from(live)), next(self.faults), host)
        assert self.world.reconciler.desired == desired

    @precondition(lambda self: self.world.fleet.registry.live)
    @rule(data=st.data(), cause=st.sampled_from([Cause.DELETED, Cause.RETIRED]))
    def take_away(self, data: st.DataObject, cause: Cause) -> None:
        world = self.world
        names, desired = len(world.names), world.reconciler.desired
        record = data.draw(st.sampled_from(list(world.fleet.registry.live.values())))
        on_purpose = not record.over and record.diagnosis is None
        world.die(record, cause)
        wanted = on_purpose and len(world.names) < names
        assert world.reconciler.desired == max(0, desired - wanted)

    @invariant()
    def there_are_never_more_than_wanted(self) -> None:
        assert len(self.world.names) <= max(self.user, self.world.reconciler.desired)
        assert self.world.reconciler.desired <= self.user

    @invariant()
    def who_sleeps_is_there_and_its_host_is_shut(self) -> None:
        assert self.world.fleet.held == len(self.world.asleep)

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
