"""The answers to hellos."""

from __future__ import annotations

import itertools

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
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.admission import USED, AdmissionControl, warnings_of
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import ENDED_KEPT, NodeRegistry, NodeState
from dask_gridengine.worker.job_resources import versions
from tests.pools import FakeCluster, make_pool
from tests.samples import hello
from tests.waiting import asked_in_another_thread


class Scene:
    """A pool whose nodes say hello."""

    def __init__(self, *names: str, **options: object) -> None:
        self.cluster = FakeCluster()
        options.setdefault("max_importing", 2)
        self.pool = make_pool(cluster=self.cluster, **options)
        self.admission: AdmissionControl = self.pool.admission
        self.registry: NodeRegistry = self.pool.registry
        self.submit(*names)

    def submit(self, *names: str, job: str = "12") -> None:
        """Queue one node for each name."""
        self.registry.submitted(NodeId(job, i + 1) for i in range(len(names)))
        self.registry.unbound.extend(names)

    def hello(self, index: int = 1, **fields: object) -> Answer:
        return self.admission.answer(hello(index=index, **fields))

    def release(self) -> list[tuple[Hello, Answer]]:
        return list(self.admission.release_waiting())

    def block(self, *hosts: str) -> None:
        """Have these hosts excluded, of which there are others, too."""
        self.pool.blocklist.possible = frozenset({*hosts, "another"})
        now, why = self.registry.clock(), Diagnosis(cause=Cause.KILLED)
        for host in hosts:
            for _ in range(FAILURE_LIMIT):
                self.pool.blocklist.failed(host, why, now)


def test_the_oldest_name_goes_to_the_first_node_whatever_its_index() -> None:
    """Array tasks are interchangeable: names are bound on arrival."""
    scene = Scene("ge-0", "ge-1")
    answer = scene.hello(index=2)
    assert isinstance(answer, Allocation)
    assert answer.name == "ge-0"


def test_asking_twice_gives_the_same_allocation() -> None:
    """A lost answer costs nothing: the same process gets the same name again."""
    scene = Scene("ge-0", "ge-1")
    assert scene.hello() == scene.hello()
    assert list(scene.registry.unbound) == ["ge-1"]


def test_an_id_of_the_submitters_own_job_is_rejected() -> None:
    """A job id from the environment is not enough: the submission id counts."""
    scene = Scene()
    scene.registry.submitted([NodeId("12", 1)], "ours")
    scene.registry.unbound.append("ge-0")
    for submission_id in ("another's", ""):
        answer = scene.hello(submission_id=submission_id)
        assert isinstance(answer, Rejected)
        assert "another submission" in answer.reason
    assert isinstance(scene.hello(submission_id="ours"), Allocation)


def test_a_node_without_an_id_is_known_by_its_number() -> None:
    """Its place in the order of submission, where the grid sets no known variable."""
    scene = Scene()
    ids = [NodeId("a.b", 1), NodeId("c.d", 1)]
    scene.registry.submitted(ids, "ours", numbered=True)
    scene.registry.unbound.append("ge-0")
    assert isinstance(scene.hello(job="", index=2, submission_id="ours"), Allocation)
    assert scene.registry.records[ids[1]].worker == "ge-0"
    assert scene.registry.records[ids[1]].log == "ours.2"
    assert isinstance(scene.hello(job="", index=2, submission_id="theirs"), Rejected)


@pytest.mark.parametrize("numbered", [False, True])
def test_a_node_that_is_not_kept_any_more_gets_nothing(numbered: bool) -> None:
    """It waited, was cancelled, and many have ended since; it blocks no other node."""
    scene = Scene(max_importing=1)
    ids = [NodeId("12", i + 1) for i in range(ENDED_KEPT + 3)]
    scene.registry.submitted(ids, "ours", numbered=numbered)
    scene.registry.unbound.extend(["ge-0", "ge-1", "ge-2"])
    sent = {"job": "" if numbered else "12", "submission_id": "ours"}
    answers = [type(scene.hello(index, **sent)) for index in (1, 2, 3)]
    assert answers == [Allocation, Wait, Wait]
    _, two, _, *others = scene.registry
    for record in (two, *others):
        scene.registry.move(record, NodeState.GONE)
    assert two.id not in scene.registry.records
    scene.registry.registered("ge-0")
    ((greeting, answer),) = scene.release()
    assert (greeting.index, type(answer)) == (3, Allocation)
    assert isinstance(scene.hello(2, **sent), Rejected)


def test_each_hello_renews_the_contact() -> None:
    """A node that waits long is not declared lost."""
    scene = Scene("ge-0")
    scene.admission.ready = False
    scene.registry.clock = itertools.count().__next__
    (record,) = scene.registry
    contacts = []
    for _ in range(3):
        assert isinstance(scene.hello(), Wait)
        contacts.append(record.heard)
    assert len({*contacts}) == 3
    assert record.arrived is not None
    assert max(contacts) > record.since >= record.arrived


def test_a_used_identity_gets_nothing() -> None:
    """A second process with the same identity is rejected."""
    scene = Scene("ge-0", "ge-1")
    scene.hello()
    answer = scene.hello(process_token="f" * 32, host="thief")
    assert isinstance(answer, Rejected)
    assert "already arrived as process 4242 on node1" in answer.reason
    assert list(scene.registry.unbound) == ["ge-1"]


@pytest.mark.parametrize("state", [NodeState.WORKING, NodeState.GONE])
def test_an_identity_is_used_once_its_worker_works(state: NodeState) -> None:
    """Not even the same process gets its keys again."""
    scene = Scene("ge-0")
    scene.hello()
    scene.registry.move(scene.registry.records[NodeId("12", 1)], state)
    answer = scene.hello()
    assert isinstance(answer, Rejected)
    assert USED in answer.reason


def test_a_node_faster_than_its_own_submission_waits() -> None:
    """A node may arrive before the launcher has returned its id; others are unknown."""
    scene = Scene()
    scene.admission.submitting = 1
    assert isinstance(scene.hello(), Wait)
    scene.admission.submitting = 0
    unknown = scene.hello()
    assert isinstance(unknown, Rejected)
    assert "does not belong to this cluster" in unknown.reason
    scene.submit("ge-0")
    assert isinstance(scene.hello(), Allocation)


@pytest.mark.parametrize("why", ["surplus", "cancelled", "closing"])
def test_a_node_that_is_not_needed_leaves_before_it_imports(why: str) -> None:
    """Its hello may be faster than its cancellation."""
    scene = Scene("ge-0")
    (record,) = scene.registry
    if why == "surplus":
        scene.registry.unbound.clear()
    elif why == "cancelled":
        record.cancelled = True
        scene.registry.move(record, NodeState.DRAINING)
    else:
        scene.admission.closed = True
    assert isinstance(scene.hello(), NotNeeded)
    if why == "surplus":
        assert record.diagnosis is not None
        assert record.diagnosis.cause is Cause.LEFT


def test_another_version_is_rejected_by_name() -> None:
    """The reason names the package and both versions."""
    scene = Scene("ge-0")
    answer = scene.hello(versions={**versions(), "distributed": "1.0"})
    assert isinstance(answer, Rejected)
    assert "distributed is" in answer.reason
    assert "1.0 at the node" in answer.reason
    (record,) = scene.registry
    assert record.diagnosis is not None
    assert record.diagnosis.cause is Cause.VERSIONS
    assert list(scene.registry.unbound) == ["ge-0"]


def test_jitter_spreads_waiting_nodes() -> None:
    """Nodes that wait together do not ask again together."""
    scene = Scene(*(f"ge-{i}" for i in range(9)), max_importing=1)
    _, *answers = [scene.hello(index=i + 1) for i in range(9)]
    assert len({answer.seconds for answer in answers if isinstance(answer, Wait)}) == 8


def test_nodes_wait_until_there_is_a_scheduler() -> None:
    """Nodes are submitted before it has an address; early ones are answered soon."""
    scene = Scene("ge-0")
    scene.admission.ready = False
    answer = scene.hello()
    assert isinstance(answer, Wait)
    assert answer.seconds < 1
    assert scene.release() == []
    scene.admission.ready = True
    ((sent, admitted),) = scene.release()
    assert sent == hello()
    assert isinstance(admitted, Allocation)


def test_a_waiting_node_is_released_when_another_works() -> None:
    """The first that arrived, once; the others go on waiting."""
    scene = Scene("ge-0", "ge-1", "ge-2", max_importing=1)
    for i in (1, 2, 3):
        scene.hello(index=i)
    assert scene.release() == []
    scene.registry.registered("ge-0")
    ((sent, answer),) = scene.release()
    assert (sent.index, type(answer)) == (2, Allocation)
    assert scene.release() == []


def test_a_released_node_without_a_name_leaves() -> None:
    """Its name was withdrawn meanwhile; and one that has ended blocks no other."""
    scene = Scene("ge-0", "ge-1", "ge-2", max_importing=1)
    for i in (1, 2, 3):
        scene.hello(index=i)
    scene.registry.unbound.clear()
    scene.registry.registered("ge-0")
    scene.registry.move(scene.registry.records[NodeId("12", 2)], NodeState.GONE)
    assert [type(answer) for _, answer in scene.release()] == [Rejected, NotNeeded]
    assert scene.release() == []


def test_nodes_of_a_blocked_host_wait_and_are_released_later() -> None:
    """They do not consume the array, and no other node waits for them."""
    scene = Scene("ge-0", "ge-1", "ge-2")
    scene.block("node1")
    answer = scene.hello(index=1, host="node1")
    assert isinstance(answer, Wait)
    assert "node1 fail" in answer.reason
    assert isinstance(scene.hello(index=2, host="node2"), Allocation)
    scene.hello(index=3, host="node1")
    assert scene.admission.num_blocked == 2
    scene.registry.move(scene.registry.records[NodeId("12", 3)], NodeState.GONE)
    assert scene.admission.num_blocked == 1, "one that has ended is not blocked"
    assert scene.release() == []
    scene.pool.blocklist.clear()
    assert scene.admission.num_blocked == 0
    ((_, released),) = scene.release()
    assert isinstance(released, Allocation)


def test_the_blocked_nodes_are_counted_in_any_thread() -> None:
    """While nodes of many hosts arrive."""
    scene = Scene(*(f"ge-{i}" for i in range(400)))
    scene.block(*(f"node{i}" for i in range(200)))
    with asked_in_another_thread(lambda: scene.admission.num_blocked):
        for i in range(400):
            scene.hello(index=i + 1, host=f"node{i % 200}")
    assert scene.admission.num_blocked == 400


def test_an_error_while_an_allocation_is_made_is_a_rejection() -> None:
    """The error is the reason and the node's cause, and the name stays free."""
    scene = Scene("ge-0", "ge-1")
    scene.cluster.error = FileNotFoundError("no such directory")
    answer = scene.hello()
    assert isinstance(answer, Rejected)
    assert "no such directory" in answer.reason
    first, _ = scene.registry
    assert first.diagnosis is not None
    assert first.diagnosis.cause is Cause.NO_ALLOCATION
    scene.cluster.error = None
    answer = scene.hello(index=2)
    assert isinstance(answer, Allocation)
    assert answer.name == "ge-0"


def test_slots_on_other_hosts_are_worth_a_warning() -> None:
    """It names the parallel environment and what to request from the admins."""
    spread = hello(slots=8, slots_elsewhere=4, parallel_environment="mpi")
    ((key, text),) = warnings_of(spread)
    assert "'mpi'" in text
    assert "$pe_slots" in text
    ((other, _),) = warnings_of(hello(slots_elsewhere=3, parallel_environment="mpi"))
    assert other == key


def test_a_failed_line_has_one_key_whatever_it_printed() -> None:
    """A hundred nodes print a hundred host names."""
    (one, _), (other, _) = (
        next(warnings_of(hello(prologue=[f"status 1: run ({output})"])))
        for output in "ab"
    )
    assert one == other
    assert list(warnings_of(hello())) == []


class AnyOrder(RuleBasedStateMachine):
    """Submissions, hellos, registrations and ends, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(max_importing=3)
        self.admission, self.registry = self.scene.admission, self.scene.registry
        self.names = 0
        self.arrays = 0
        self.allocated: dict[str, str] = {}

    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        self.arrays += 1
        names = [f"ge-{self.names + i}" for i in range(count)]
        self.names += count
        self.scene.submit(*names, job=str(self.arrays))

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
        self.registry.registered(name)

    @rule(data=st.data())
    @precondition(lambda self: self.registry.records)
    def end(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.registry.records)))
        self.registry.move(self.registry.records[node], NodeState.GONE)

    @invariant()
    def no_name_is_used_twice(self) -> None:
        bound = [record.worker for record in self.registry if record.worker]
        assert len(bound) == len(set(bound))
        assert not set(bound) & set(self.registry.unbound)

    @invariant()
    def the_limit_on_importing_holds(self) -> None:
        importing = self.registry.in_state(NodeState.IMPORTING)
        assert len(importing) <= 3

    @invariant()
    def counts_are_what_a_count_would_give(self) -> None:
        for state in NodeState:
            assert self.registry.counts[state] == len(self.registry.in_state(state))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
