"""What a node that says hello is told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    Hello,
    NotNeeded,
    Rejected,
    Wait,
)
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.admission import AdmissionControl
from dask_gridengine.nodes.registry import ENDED_KEPT, NodeRegistry, NodeState
from dask_gridengine.worker.job_resources import versions
from tests.samples import allocation, hello
from tests.waiting import asked_in_another_thread


def make_door(**changes: Any) -> AdmissionControl:
    def make_allocation(name: str, greeting: Hello) -> Allocation:
        return allocation(name=name, process_token=greeting.process_token)

    arguments = {
        "versions": versions(),
        "max_importing": 2,
        "make_allocation": make_allocation,
        "jitter": lambda: 0.5,
        **changes,
    }
    admission = AdmissionControl(NodeRegistry(), **arguments)
    admission.ready = True
    return admission


def expect(admission: AdmissionControl, *names: str, job: str = "12") -> None:
    """As after a submission of one node for each name."""
    admission.registry.submitted(NodeId(job, i + 1) for i in range(len(names)))
    admission.registry.unbound.extend(names)


def test_the_oldest_name_goes_to_the_first_node_whatever_its_index() -> None:
    """Array tasks are interchangeable: names are bound on arrival."""
    admission = make_door()
    expect(admission, "ge-0", "ge-1")
    answer = admission.answer(hello(index=2))
    assert isinstance(answer, Allocation)
    assert answer.name == "ge-0"


def test_asking_twice_gives_the_same_allocation() -> None:
    """A lost answer costs nothing: the same process gets the same name again."""
    admission = make_door()
    expect(admission, "ge-0", "ge-1")
    assert admission.answer(hello()) == admission.answer(hello())
    assert list(admission.registry.unbound) == ["ge-1"]


def test_an_id_from_a_job_around_the_submitter_is_none() -> None:
    """The environment alone does not make a node: it carries its submission's mark."""
    admission = make_door()
    admission.registry.submitted([NodeId("12", 1)], "ours")
    admission.registry.unbound.append("ge-0")
    for submission_id in ("another's", ""):
        answer = admission.answer(hello(submission_id=submission_id))
        assert isinstance(answer, Rejected)
        assert "was submitted with others" in answer.reason
    assert isinstance(admission.answer(hello(submission_id="ours")), Allocation)


def test_a_node_that_cannot_tell_its_id_is_known_by_its_number() -> None:
    """Where the grid's variables are unknown; in the order they were submitted in."""
    admission = make_door()
    ids = [NodeId("a.b", 1), NodeId("c.d", 1)]
    admission.registry.submitted(ids, "ours", numbered=True)
    admission.registry.unbound.append("ge-0")
    assert isinstance(
        admission.answer(hello(job="", index=2, submission_id="ours")), Allocation
    )
    assert admission.registry.records[ids[1]].worker == "ge-0"
    assert admission.registry.records[ids[1]].log == "ours.2"
    stranger = admission.answer(hello(job="", index=2, submission_id="others"))
    assert isinstance(stranger, Rejected)


@pytest.mark.parametrize("numbered", [False, True])
def test_the_identity_of_a_node_that_is_not_kept_is_used_up(numbered: bool) -> None:
    """Also while a submission is under way, where unknown nodes are told to wait."""
    admission = make_door()
    ids = [NodeId("12", i + 1) for i in range(ENDED_KEPT + 2)]
    admission.registry.submitted(ids, "ours", numbered=numbered)
    for record in list(admission.registry)[1:]:
        admission.registry.move(record, NodeState.GONE)
    assert ids[1] not in admission.registry.records
    admission.submitting += 1
    job = "" if numbered else "12"
    late = admission.answer(hello(job=job, index=2, submission_id="ours"))
    assert isinstance(late, Rejected)
    assert "used up" in late.reason
    stranger = admission.answer(hello(job="99", index=2, submission_id="theirs"))
    assert isinstance(stranger, Wait)


def test_a_waiting_node_that_is_not_kept_keeps_nobody_from_entering() -> None:
    """It was cancelled at the door, and many have ended since."""
    admission = make_door(max_importing=1)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for index in (1, 2, 3):
        admission.answer(hello(index=index, process_token=f"{index:016x}"))
    _, two, three = admission.registry
    admission.registry.move(two, NodeState.GONE)
    admission.registry.submitted(NodeId("13", i) for i in range(ENDED_KEPT))
    for record in list(admission.registry)[3:]:
        admission.registry.move(record, NodeState.GONE)
    assert two.id not in admission.registry.records
    admission.registry.registered("ge-0")
    ((greeting, answer),) = admission.admit()
    assert (greeting.index, isinstance(answer, Allocation)) == (three.id.index, True)
    assert admission.held == 0


def test_a_node_that_asks_again_has_been_heard() -> None:
    """So that one which waits long is not taken for lost."""
    admission = make_door()
    admission.ready = False
    admission.registry.clock = itertools.count().__next__
    expect(admission, "ge-0")
    (record,) = admission.registry
    heard = []
    for _ in range(3):
        assert isinstance(admission.answer(hello()), Wait)
        heard.append(record.heard)
    assert len({*heard}) == 3
    assert record.arrived is not None
    assert max(heard) > record.since >= record.arrived


def test_a_used_identity_gets_nothing() -> None:
    """Whoever shows an identity for the second time is refused, and told why."""
    admission = make_door()
    expect(admission, "ge-0", "ge-1")
    admission.answer(hello())
    answer = admission.answer(hello(process_token="f" * 32, host="thief"))
    assert isinstance(answer, Rejected)
    assert "already arrived from node1" in answer.reason
    assert list(admission.registry.unbound) == ["ge-1"]


@pytest.mark.parametrize("state", [NodeState.WORKING, NodeState.GONE])
def test_an_identity_is_used_up_once_its_worker_works(state: NodeState) -> None:
    """Not even the same incarnation is given its keys again."""
    admission = make_door()
    expect(admission, "ge-0")
    admission.answer(hello())
    admission.registry.move(admission.registry.records[NodeId("12", 1)], state)
    answer = admission.answer(hello())
    assert isinstance(answer, Rejected)
    assert "used up" in answer.reason


def test_a_stranger_is_refused() -> None:
    """A job this cluster did not submit gets no allocation."""
    admission = make_door()
    expect(admission, "ge-0")
    answer = admission.answer(hello(job="99"))
    assert isinstance(answer, Rejected)
    assert "none of this cluster's nodes" in answer.reason


def test_a_node_faster_than_its_own_submission_is_told_to_wait() -> None:
    """A node may arrive before the launcher has told us its id."""
    admission = make_door()
    admission.submitting = 1
    assert isinstance(admission.answer(hello()), Wait)
    admission.submitting = 0
    expect(admission, "ge-0")
    assert isinstance(admission.answer(hello()), Allocation)


def test_surplus_nodes_leave_before_they_import() -> None:
    """A node nobody needs any more is sent away at the door."""
    admission = make_door()
    expect(admission, "ge-0")
    admission.registry.unbound.clear()
    answer = admission.answer(hello())
    assert isinstance(answer, NotNeeded)
    record = admission.registry.records[NodeId("12", 1)]
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.LEFT


def test_a_node_that_was_cancelled_while_it_started_leaves() -> None:
    """A cancellation that a starting node overtakes ends at the door."""
    admission = make_door()
    expect(admission, "ge-0")
    record = admission.registry.records[NodeId("12", 1)]
    record.cancelled = True
    admission.registry.move(record, NodeState.DRAINING)
    assert isinstance(admission.answer(hello()), NotNeeded)


def test_everyone_leaves_a_closing_cluster() -> None:
    """Nothing is handed out once close() has begun."""
    admission = make_door()
    expect(admission, "ge-0")
    admission.closed = True
    assert isinstance(admission.answer(hello()), NotNeeded)


def test_another_version_is_refused_by_name() -> None:
    """The refusal says which package differs, and both versions."""
    admission = make_door()
    expect(admission, "ge-0")
    answer = admission.answer(hello(versions={**versions(), "distributed": "1.0"}))
    assert isinstance(answer, Rejected)
    assert "distributed is" in answer.reason
    assert "1.0 at the node" in answer.reason
    assert list(admission.registry.unbound) == ["ge-0"]


def test_at_most_k_nodes_import_at_once() -> None:
    """The file server meets k importing nodes; the others wait with jitter."""
    admission = make_door(max_importing=2)
    expect(admission, *(f"ge-{i}" for i in range(4)))
    answers = [admission.answer(hello(index=i + 1)) for i in range(4)]
    assert [type(answer) for answer in answers] == [Allocation, Allocation, Wait, Wait]
    admission.registry.registered("ge-0")
    assert isinstance(admission.answer(hello(index=4)), Allocation)


def test_jitter_spreads_those_who_wait() -> None:
    """Nodes that are told to wait together do not come back together."""
    draws = iter([0.0, 0.9])
    admission = make_door(max_importing=1, jitter=lambda: next(draws))
    expect(admission, "ge-0", "ge-1", "ge-2")
    admission.answer(hello(index=1))
    one, other = admission.answer(hello(index=2)), admission.answer(hello(index=3))
    assert isinstance(one, Wait)
    assert isinstance(other, Wait)
    assert one.seconds < other.seconds


def test_everyone_waits_until_there_is_a_scheduler() -> None:
    """Nodes are asked for before it has an address; whoever is early is told soon."""
    admission = make_door()
    admission.ready = False
    expect(admission, "ge-0")
    answer = admission.answer(hello())
    assert isinstance(answer, Wait)
    assert answer.seconds < 1
    assert list(admission.admit()) == []
    admission.ready = True
    ((who, admitted),) = admission.admit()
    assert who == hello()
    assert isinstance(admitted, Allocation)


def test_a_node_that_waits_is_admitted_when_another_is_done() -> None:
    """The first that came, once; whoever still has to wait is not disturbed."""
    admission = make_door(max_importing=1)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    assert list(admission.admit()) == []
    admission.registry.registered("ge-0")
    ((who, answer),) = admission.admit()
    assert who.index == 2
    assert isinstance(answer, Allocation)
    assert list(admission.admit()) == []


def test_hosts_take_turns_when_nodes_are_admitted() -> None:
    """A host with a long queue does not keep the others from their first worker."""
    admission = make_door(max_importing=2)
    admission.ready = False
    expect(admission, *(f"ge-{i}" for i in range(4)))
    for i, host in enumerate(["one", "one", "one", "other"], 1):
        admission.answer(hello(index=i, host=host))
    admission.ready = True
    assert [who.host for who, _ in admission.admit()] == ["one", "other"]


def test_whoever_waits_for_nothing_leaves_when_it_is_admitted() -> None:
    """Its name was taken back meanwhile; and one that is gone stops nobody."""
    admission = make_door(max_importing=1)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    admission.registry.unbound.clear()
    admission.registry.registered("ge-0")
    admission.registry.move(admission.registry.records[NodeId("12", 2)], NodeState.GONE)
    assert [type(answer) for _, answer in admission.admit()] == [Rejected, NotNeeded]
    assert list(admission.admit()) == []


def test_nodes_of_a_shut_host_sleep_and_are_let_in_later() -> None:
    """They do not eat the array, and nobody else waits for them."""
    shut = {"node1": 50.0}
    admission = make_door(hold=lambda host: shut.get(host, 0.0))
    expect(admission, "ge-0", "ge-1")
    answer = admission.answer(hello(index=1, host="node1"))
    assert isinstance(answer, Wait)
    assert "fail at once" in answer.reason
    assert isinstance(admission.answer(hello(index=2, host="node2")), Allocation)
    assert admission.held == 1
    assert list(admission.admit()) == []
    shut.clear()
    assert admission.held == 0
    ((_, called),) = admission.admit()
    assert isinstance(called, Allocation)


def test_who_is_gone_does_not_sleep() -> None:
    """As after a qdel, or when its place is given back: nobody stands in for it."""
    admission = make_door(hold=lambda host: 50.0)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    one, other, _ = admission.registry
    admission.registry.move(one, NodeState.DRAINING)
    admission.registry.move(other, NodeState.GONE)
    assert admission.held == 1


def test_how_many_sleep_may_be_asked_in_any_thread() -> None:
    """While nodes of many hosts come to the door."""
    admission = make_door(hold=lambda host: 50.0)
    names = [f"ge-{i}" for i in range(400)]
    expect(admission, *names)
    with asked_in_another_thread(lambda: admission.held):
        for i in range(len(names)):
            admission.answer(hello(index=i + 1, host=f"node{i % 200}"))
    assert admission.held == len(names)


def test_other_versions_are_refused_with_a_cause() -> None:
    """Which is the node's, whatever status it ends with."""
    admission = make_door(versions={"dask": "1"})
    expect(admission, "ge-0")
    assert isinstance(admission.answer(hello(versions={"dask": "2"})), Rejected)
    (record,) = admission.registry
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.VERSIONS


def test_an_error_while_an_allocation_is_made_is_a_refusal() -> None:
    """The node learns the error, it is the node's cause, and the name stays free."""
    broken = True

    def make(name: str, greeting: Hello) -> Allocation:
        if broken:
            raise FileNotFoundError("no such directory")
        return allocation(name=name, process_token=greeting.process_token)

    admission = make_door(make_allocation=make)
    expect(admission, "ge-0", "ge-1")
    answer = admission.answer(hello())
    assert isinstance(answer, Rejected)
    assert "no such directory" in answer.reason
    first, _ = admission.registry
    assert first.diagnosis is not None
    assert first.diagnosis.cause is Cause.NO_ALLOCATION
    broken = False
    answer = admission.answer(hello(index=2))
    assert isinstance(answer, Allocation)
    assert answer.name == "ge-0"


class AnyOrder(RuleBasedStateMachine):
    """Submissions, hellos, registrations and ends, in every order."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = make_door(max_importing=3)
        self.names = 0
        self.arrays = 0
        self.allocated: dict[str, str] = {}

    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        self.arrays += 1
        names = [f"ge-{self.names + i}" for i in range(count)]
        self.names += count
        expect(self.admission, *names, job=str(self.arrays))

    @rule(job=st.integers(1, 3), index=st.integers(1, 4), life=st.sampled_from("ab"))
    def greet(self, job: int, index: int, life: str) -> None:
        host = f"node{index % 2}"
        who = hello(
            job=str(job), index=index, process_token=life * 16, host=host, host_cpus=2
        )
        self.check(who, self.admission.answer(who))

    @rule()
    def admit(self) -> None:
        for who, answer in self.admission.admit():
            assert not isinstance(answer, Wait)
            self.check(who, answer)

    def check(self, who: Hello, answer: Answer) -> None:
        assert answer.process_token == who.process_token
        if isinstance(answer, Allocation):
            place = f"{who.job}.{who.index}/{who.process_token}"
            assert self.allocated.setdefault(answer.name, place) == place

    @precondition(lambda self: self.allocated)
    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.allocated)))
        self.admission.registry.registered(name)

    @rule(data=st.data())
    @precondition(lambda self: self.admission.registry.records)
    def end(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.admission.registry.records)))
        self.admission.registry.move(
            self.admission.registry.records[node], NodeState.GONE
        )

    @invariant()
    def no_name_is_borne_twice_or_waits_while_borne(self) -> None:
        registry = self.admission.registry
        bound = [record.worker for record in registry if record.worker]
        assert len(bound) == len(set(bound))
        assert not set(bound) & set(registry.unbound)

    @invariant()
    def the_limit_on_importing_holds(self) -> None:
        importing = self.admission.registry.in_state(NodeState.IMPORTING)
        assert len(importing) <= 3

    @invariant()
    def counts_are_what_a_count_would_give(self) -> None:
        registry = self.admission.registry
        for state in NodeState:
            assert registry.counts[state] == len(registry.in_state(state))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
