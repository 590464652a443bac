"""The answers to hellos."""

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
from dask_gridengine.nodes.admission import USED, AdmissionControl
from dask_gridengine.nodes.registry import ENDED_KEPT, NodeRegistry, NodeState
from dask_gridengine.worker.job_resources import versions
from tests.samples import allocation, hello
from tests.waiting import asked_in_another_thread


def make_admission(**changes: Any) -> AdmissionControl:
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
    """Register a submission of one node for each name."""
    admission.registry.submitted(NodeId(job, i + 1) for i in range(len(names)))
    admission.registry.unbound.extend(names)


def test_the_oldest_name_goes_to_the_first_node_whatever_its_index() -> None:
    """Array tasks are interchangeable: names are bound on arrival."""
    admission = make_admission()
    expect(admission, "ge-0", "ge-1")
    answer = admission.answer(hello(index=2))
    assert isinstance(answer, Allocation)
    assert answer.name == "ge-0"


def test_asking_twice_gives_the_same_allocation() -> None:
    """A lost answer costs nothing: the same process gets the same name again."""
    admission = make_admission()
    expect(admission, "ge-0", "ge-1")
    assert admission.answer(hello()) == admission.answer(hello())
    assert list(admission.registry.unbound) == ["ge-1"]


def test_an_id_of_the_submitters_own_job_is_rejected() -> None:
    """A job id from the environment is not enough: the submission id counts."""
    admission = make_admission()
    admission.registry.submitted([NodeId("12", 1)], "ours")
    admission.registry.unbound.append("ge-0")
    for submission_id in ("another's", ""):
        answer = admission.answer(hello(submission_id=submission_id))
        assert isinstance(answer, Rejected)
        assert "another submission" in answer.reason
    assert isinstance(admission.answer(hello(submission_id="ours")), Allocation)


def test_a_node_without_an_id_is_known_by_its_number() -> None:
    """Its place in the order of submission, where the grid sets no known variable."""
    admission = make_admission()
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
def test_the_identity_of_a_dropped_node_is_used(numbered: bool) -> None:
    """Also while a submission is under way, when unknown nodes have to wait."""
    admission = make_admission()
    ids = [NodeId("12", i + 1) for i in range(ENDED_KEPT + 2)]
    admission.registry.submitted(ids, "ours", numbered=numbered)
    for record in list(admission.registry)[1:]:
        admission.registry.move(record, NodeState.GONE)
    assert ids[1] not in admission.registry.records
    admission.submitting += 1
    job = "" if numbered else "12"
    late = admission.answer(hello(job=job, index=2, submission_id="ours"))
    assert isinstance(late, Rejected)
    assert USED in late.reason
    stranger = admission.answer(hello(job="99", index=2, submission_id="theirs"))
    assert isinstance(stranger, Wait)


def test_a_dropped_node_that_waited_blocks_no_other() -> None:
    """It was cancelled while it waited, and many have ended since."""
    admission = make_admission(max_importing=1)
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
    ((greeting, answer),) = admission.release_waiting()
    assert (greeting.index, isinstance(answer, Allocation)) == (three.id.index, True)
    assert admission.num_blocked == 0


def test_each_hello_renews_the_contact() -> None:
    """A node that waits long is not declared lost."""
    admission = make_admission()
    admission.ready = False
    admission.registry.clock = itertools.count().__next__
    expect(admission, "ge-0")
    (record,) = admission.registry
    contacts = []
    for _ in range(3):
        assert isinstance(admission.answer(hello()), Wait)
        contacts.append(record.heard)
    assert len({*contacts}) == 3
    assert record.arrived is not None
    assert max(contacts) > record.since >= record.arrived


def test_a_used_identity_gets_nothing() -> None:
    """A second process with the same identity is rejected."""
    admission = make_admission()
    expect(admission, "ge-0", "ge-1")
    admission.answer(hello())
    answer = admission.answer(hello(process_token="f" * 32, host="thief"))
    assert isinstance(answer, Rejected)
    assert "already arrived as process 4242 on node1" in answer.reason
    assert list(admission.registry.unbound) == ["ge-1"]


@pytest.mark.parametrize("state", [NodeState.WORKING, NodeState.GONE])
def test_an_identity_is_used_once_its_worker_works(state: NodeState) -> None:
    """Not even the same process gets its keys again."""
    admission = make_admission()
    expect(admission, "ge-0")
    admission.answer(hello())
    admission.registry.move(admission.registry.records[NodeId("12", 1)], state)
    answer = admission.answer(hello())
    assert isinstance(answer, Rejected)
    assert USED in answer.reason


def test_an_unknown_job_is_rejected() -> None:
    """A job this cluster did not submit gets no allocation."""
    admission = make_admission()
    expect(admission, "ge-0")
    answer = admission.answer(hello(job="99"))
    assert isinstance(answer, Rejected)
    assert "does not belong to this cluster" in answer.reason


def test_a_node_faster_than_its_own_submission_waits() -> None:
    """A node may arrive before the launcher has returned its id."""
    admission = make_admission()
    admission.submitting = 1
    assert isinstance(admission.answer(hello()), Wait)
    admission.submitting = 0
    expect(admission, "ge-0")
    assert isinstance(admission.answer(hello()), Allocation)


def test_surplus_nodes_leave_before_they_import() -> None:
    """A node that is not needed any more leaves at once."""
    admission = make_admission()
    expect(admission, "ge-0")
    admission.registry.unbound.clear()
    answer = admission.answer(hello())
    assert isinstance(answer, NotNeeded)
    record = admission.registry.records[NodeId("12", 1)]
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.LEFT


def test_a_node_that_was_cancelled_while_it_started_leaves() -> None:
    """Its hello may be faster than the cancellation."""
    admission = make_admission()
    expect(admission, "ge-0")
    record = admission.registry.records[NodeId("12", 1)]
    record.cancelled = True
    admission.registry.move(record, NodeState.DRAINING)
    assert isinstance(admission.answer(hello()), NotNeeded)


def test_nodes_leave_a_closing_cluster() -> None:
    """There are no allocations once close() has begun."""
    admission = make_admission()
    expect(admission, "ge-0")
    admission.closed = True
    assert isinstance(admission.answer(hello()), NotNeeded)


def test_another_version_is_rejected_by_name() -> None:
    """The reason names the package and both versions."""
    admission = make_admission()
    expect(admission, "ge-0")
    answer = admission.answer(hello(versions={**versions(), "distributed": "1.0"}))
    assert isinstance(answer, Rejected)
    assert "distributed is" in answer.reason
    assert "1.0 at the node" in answer.reason
    (record,) = admission.registry
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.VERSIONS
    assert list(admission.registry.unbound) == ["ge-0"]


def test_jitter_spreads_waiting_nodes() -> None:
    """Nodes that wait together do not ask again together."""
    draws = iter([0.0, 0.9])
    admission = make_admission(max_importing=1, jitter=lambda: next(draws))
    expect(admission, "ge-0", "ge-1", "ge-2")
    admission.answer(hello(index=1))
    one, other = admission.answer(hello(index=2)), admission.answer(hello(index=3))
    assert isinstance(one, Wait)
    assert isinstance(other, Wait)
    assert one.seconds < other.seconds


def test_nodes_wait_until_there_is_a_scheduler() -> None:
    """Nodes are submitted before it has an address; early ones are answered soon."""
    admission = make_admission()
    admission.ready = False
    expect(admission, "ge-0")
    answer = admission.answer(hello())
    assert isinstance(answer, Wait)
    assert answer.seconds < 1
    assert list(admission.release_waiting()) == []
    admission.ready = True
    ((sent, admitted),) = admission.release_waiting()
    assert sent == hello()
    assert isinstance(admitted, Allocation)


def test_a_waiting_node_is_released_when_another_works() -> None:
    """The first that arrived, once; the others go on waiting."""
    admission = make_admission(max_importing=1)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    assert list(admission.release_waiting()) == []
    admission.registry.registered("ge-0")
    ((sent, answer),) = admission.release_waiting()
    assert sent.index == 2
    assert isinstance(answer, Allocation)
    assert list(admission.release_waiting()) == []


def test_hosts_take_turns_when_nodes_are_released() -> None:
    """A host with a long queue does not keep the others from their first worker."""
    admission = make_admission(max_importing=2)
    admission.ready = False
    expect(admission, *(f"ge-{i}" for i in range(4)))
    for i, host in enumerate(["one", "one", "one", "other"], 1):
        admission.answer(hello(index=i, host=host))
    admission.ready = True
    assert [sent.host for sent, _ in admission.release_waiting()] == ["one", "other"]


def test_a_released_node_without_a_name_leaves() -> None:
    """Its name was withdrawn meanwhile; and one that has ended blocks no other."""
    admission = make_admission(max_importing=1)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    admission.registry.unbound.clear()
    admission.registry.registered("ge-0")
    admission.registry.move(admission.registry.records[NodeId("12", 2)], NodeState.GONE)
    assert [type(answer) for _, answer in admission.release_waiting()] == [
        Rejected,
        NotNeeded,
    ]
    assert list(admission.release_waiting()) == []


def test_nodes_of_a_blocked_host_wait_and_are_released_later() -> None:
    """They do not consume the array, and no other node waits for them."""
    blocked = {"node1": 50.0}
    admission = make_admission(block_seconds=lambda host: blocked.get(host, 0.0))
    expect(admission, "ge-0", "ge-1")
    answer = admission.answer(hello(index=1, host="node1"))
    assert isinstance(answer, Wait)
    assert "node1 fail" in answer.reason
    assert isinstance(admission.answer(hello(index=2, host="node2")), Allocation)
    assert admission.num_blocked == 1
    assert list(admission.release_waiting()) == []
    blocked.clear()
    assert admission.num_blocked == 0
    ((_, released),) = admission.release_waiting()
    assert isinstance(released, Allocation)


def test_a_node_that_has_ended_is_not_blocked() -> None:
    """As after a qdel or a cancellation."""
    admission = make_admission(block_seconds=lambda host: 50.0)
    expect(admission, "ge-0", "ge-1", "ge-2")
    for i in (1, 2, 3):
        admission.answer(hello(index=i))
    one, other, _ = admission.registry
    admission.registry.move(one, NodeState.DRAINING)
    admission.registry.move(other, NodeState.GONE)
    assert admission.num_blocked == 1


def test_the_blocked_nodes_are_counted_in_any_thread() -> None:
    """While nodes of many hosts arrive."""
    admission = make_admission(block_seconds=lambda host: 50.0)
    names = [f"ge-{i}" for i in range(400)]
    expect(admission, *names)
    with asked_in_another_thread(lambda: admission.num_blocked):
        for i in range(len(names)):
            admission.answer(hello(index=i + 1, host=f"node{i % 200}"))
    assert admission.num_blocked == len(names)


def test_an_error_while_an_allocation_is_made_is_a_rejection() -> None:
    """The error is the reason and the node's cause, and the name stays free."""
    broken = True

    def make(name: str, greeting: Hello) -> Allocation:
        if broken:
            raise FileNotFoundError("no such directory")
        return allocation(name=name, process_token=greeting.process_token)

    admission = make_admission(make_allocation=make)
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
    """Submissions, hellos, registrations and ends, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = make_admission(max_importing=3)
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
        sent = hello(
            job=str(job), index=index, process_token=life * 16, host=host, host_cpus=2
        )
        self.check(sent, self.admission.answer(sent))

    @rule()
    def release(self) -> None:
        for sent, answer in self.admission.release_waiting():
            assert not isinstance(answer, Wait)
            self.check(sent, answer)

    def check(self, sent: Hello, answer: Answer) -> None:
        assert answer.process_token == sent.process_token
        if isinstance(answer, Allocation):
            process = f"{sent.job}.{sent.index}/{sent.process_token}"
            assert self.allocated.setdefault(answer.name, process) == process

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
    def no_name_is_used_twice(self) -> None:
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
