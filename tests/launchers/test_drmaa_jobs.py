"""What the DRMAA session does about its jobs, on a grid and a clock made by hand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.drmaa.jobs import (
    GRACE,
    HEARTBEAT,
    LOST,
    MANY,
    RECHECKS,
    RETRY,
    SEARCHES,
    UNSURE,
    Jobs,
    TaskRange,
    neighbours,
)
from dask_gridengine.launchers.drmaa.library import (
    DELETED,
    EVERYTHING,
    NO_RECORD,
    Failed,
    State,
    Unreachable,
)


@dataclass
class Scene:
    """A grid that says what it is told to, the time, and what `Jobs` tells."""

    now: float = 1000.0
    down: bool = False
    notices: deque[EndNotice] = field(default_factory=deque)
    states: dict[NodeId, State] = field(default_factory=dict)
    asked: list[NodeId] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    marked: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ends: list[EndNotice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    followed: list[NodeId] = field(default_factory=list)
    deletes_many: bool = True
    many: list[TaskRange] = field(default_factory=list)
    dialect = GridEngine()

    def follow(self, nodes: list[NodeId]) -> None:
        self.followed += nodes

    def next_end(self) -> EndNotice | None:
        return self.notices.popleft() if self.notices else None

    def state(self, node: NodeId) -> State:
        if self.down:
            raise Unreachable("no route")
        self.asked.append(node)
        return self.states.get(node, State.ALIVE)

    def find(self, name: str, submission_id: str) -> list[str]:
        if self.down:
            raise Unreachable("no route")
        if submission_id == "no-qstat":
            raise Failed("no qstat here")
        return self.marked.pop((name, submission_id), [])

    def delete(self, job_id: str) -> None:
        if self.down:
            raise Unreachable("no route")
        self.deleted.append(job_id)

    def delete_neighbours(self, group: TaskRange) -> bool:
        if self.deletes_many:
            self.many.append(group)
        return self.deletes_many


@pytest.fixture
def scene() -> Scene:
    """A quiet grid."""
    return Scene()


@pytest.fixture
def jobs(scene: Scene) -> Jobs:
    """Five nodes of one array and two of another; the first heartbeat is over."""
    jobs = Jobs(
        scene,  # type: ignore[arg-type]
        on_end=scene.ends.append,
        on_note=scene.notes.append,
        find=scene.find,
        delete_neighbours=scene.delete_neighbours,
        clock=lambda: scene.now,
    )
    jobs.add(array("1", 5) + array("2", 2))
    jobs.turn()
    scene.asked.clear()
    return jobs


def unrecorded(node: NodeId) -> EndNotice:
    return EndNotice(node=node, reason=NO_RECORD, deleted=True)


def array(job: str, count: int) -> list[NodeId]:
    return [NodeId(job, index) for index in range(1, count + 1)]


def test_a_whole_array_is_deleted_by_its_id(scene: Scene, jobs: Jobs) -> None:
    """One call for any number of nodes; the parts of another by theirs."""
    jobs.delete([*array("1", 5), NodeId("2", 2)])
    jobs.turn()
    assert scene.deleted == ["1", "2.2"]


def test_the_last_of_an_array_take_its_id_too(scene: Scene, jobs: Jobs) -> None:
    """Those that are gone or going already do not count."""
    scene.notices.append(EndNotice(node=NodeId("1", 1), exit_status=0))
    jobs.delete([NodeId("1", 2), NodeId("1", 3)])
    jobs.turn()
    jobs.delete([NodeId("1", 4), NodeId("1", 5)])
    jobs.turn()
    assert scene.deleted == ["1.2", "1.3", "1"]


def test_deleting_what_is_gone_is_no_call(scene: Scene, jobs: Jobs) -> None:
    """Nor is deleting what was never ours."""
    scene.notices.append(EndNotice(node=NodeId("1", 1), exit_status=0))
    jobs.turn()
    jobs.delete([NodeId("1", 1), NodeId("9", 1)])
    jobs.turn()
    assert scene.deleted == []


def test_everything_is_also_what_we_never_heard_of(scene: Scene, jobs: Jobs) -> None:
    """A submission whose answer was lost with an earlier session."""
    jobs.delete_all()
    jobs.turn()
    assert scene.deleted == ["1", "2", EVERYTHING]
    assert jobs.undeleted == 0
    assert jobs.live == 7, "deleted is not yet gone"


def test_a_node_deleted_twice_does_not_take_the_others_along(
    scene: Scene, jobs: Jobs
) -> None:
    """Nor one that was taken over twice: the job's id is for when nobody is left."""
    jobs.add(array("2", 2))
    for _ in range(3):
        jobs.delete([NodeId("2", 1)])
    jobs.turn()
    assert set(scene.deleted) == {"2.1"}
    scene.notices.append(EndNotice(node=NodeId("2", 1), signal="SIGKILL"))
    jobs.delete([NodeId("2", 2)])
    jobs.turn()
    assert scene.deleted[-1] == "2"


def test_many_neighbours_are_deleted_in_one_call(scene: Scene, jobs: Jobs) -> None:
    """The queued ones of an array of which others work; a few go one by one."""
    jobs.add(array("3", 2 * MANY))
    jobs.delete([NodeId("3", 1), *array("3", 2 * MANY)[MANY:]])
    jobs.turn()
    assert scene.deleted == ["3.1"]
    assert scene.many == [TaskRange("3", MANY + 1, 2 * MANY)]
    assert jobs.undeleted == 0


def test_where_there_is_no_such_call_they_go_one_by_one(
    scene: Scene, jobs: Jobs
) -> None:
    """As on a grid whose commands are not installed here, or do not answer."""
    scene.deletes_many, scene.down = False, True
    jobs.add(array("3", MANY + 1))
    jobs.delete(array("3", MANY))
    jobs.turn()
    assert jobs.undeleted == MANY
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    assert jobs.undeleted == 0
    assert scene.deleted == [f"3.{index}" for index in range(1, MANY + 1)]


@given(st.lists(st.tuples(st.sampled_from("12"), st.integers(1, 30)), unique=True))
def test_groups_hold_each_node_once_and_no_other(
    chosen: list[tuple[str, int]],
) -> None:
    """Whatever is left out between them is in none; none could be longer."""
    nodes = [NodeId(*node) for node in chosen]
    groups = list(neighbours(nodes))
    assert sorted(node for group in groups for node in group.nodes) == sorted(nodes)
    edges = {(group.job, group.last + 1) for group in groups}
    assert not edges & {(group.job, group.first) for group in groups}


def test_an_end_is_told_once(scene: Scene, jobs: Jobs) -> None:
    """Notices for others' jobs, or a second one for ours, are not passed on."""
    end = EndNotice(node=NodeId("1", 1), exit_status=3)
    scene.notices += [end, end, EndNotice(node=NodeId("77", 1), exit_status=3)]
    jobs.turn()
    assert scene.ends == [end]
    assert jobs.live == 6


def test_an_end_that_we_asked_for_says_so(scene: Scene, jobs: Jobs) -> None:
    """Grid Engine's "no record" of a job deleted in the queue is no riddle then."""
    jobs.delete([NodeId("1", 1)])
    for index in (1, 2):
        scene.notices.append(unrecorded(NodeId("1", index)))
    jobs.turn()
    assert scene.ends == [
        EndNotice(node=NodeId("1", 1), cancelled=True),
        EndNotice(node=NodeId("1", 2), reason=NO_RECORD, deleted=True),
    ]


def test_no_record_after_an_outage_is_no_deletion(scene: Scene, jobs: Jobs) -> None:
    """Nodes that end while the master is away leave as little as deleted ones.

    That goes on until the last recheck: a restarted master learns late of ends. What
    has a record was deleted, whenever that was.
    """
    for index in (1, 2):
        scene.states[NodeId("1", index)] = State.UNKNOWN
    scene.down = True
    jobs.recheck()
    jobs.turn()
    scene.notices.append(unrecorded(NodeId("1", 1)))
    jobs.turn()
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    scene.now += RECHECKS[-1] - 1
    recorded = EndNotice(node=NodeId("1", 3), deleted=True, ran=3.0, reason=DELETED)
    scene.notices += [unrecorded(NodeId("1", 2)), recorded]
    jobs.turn()
    scene.now += 1
    for _ in RECHECKS:
        jobs.turn()
    scene.notices.append(unrecorded(NodeId("1", 4)))
    jobs.turn()
    assert scene.ends == [
        EndNotice(node=NodeId("1", 1), reason=UNSURE),
        recorded,
        EndNotice(node=NodeId("1", 2), reason=UNSURE),
        unrecorded(NodeId("1", 4)),
    ]


def test_no_record_of_what_ended_between_two_sessions_is_no_deletion(
    scene: Scene, jobs: Jobs
) -> None:
    """A node that dies while its session is being replaced leaves no other trace."""
    node = NodeId("3", 1)
    scene.states[node] = State.UNKNOWN
    jobs.adopt(array("3", 2))
    scene.notices.append(unrecorded(node))
    jobs.turn()
    jobs.turn()
    assert scene.ends == [EndNotice(node=node, reason=UNSURE)]
    scene.now += GRACE
    scene.notices.append(unrecorded(NodeId("3", 2)))
    jobs.turn()
    assert scene.ends[1:] == [unrecorded(NodeId("3", 2))]


def test_no_record_of_a_node_that_runs_is_no_end(scene: Scene, jobs: Jobs) -> None:
    """libdrmaa says it of nodes that a restarted master has just been given; as no
    other notice will come of them, they are asked about from then on."""
    node = NodeId("1", 1)
    scene.down = True
    jobs.recheck()
    jobs.turn()
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    scene.notices.append(unrecorded(node))
    for _ in range(3):
        jobs.turn()
        scene.now += HEARTBEAT
    assert scene.ends == []
    scene.states[node] = State.UNKNOWN
    scene.now += HEARTBEAT
    jobs.turn()
    assert scene.ends == [EndNotice(node=node, reason=UNSURE)]


def test_silent_nodes_are_asked_about_first(scene: Scene, jobs: Jobs) -> None:
    """Once each, however often we are told; of those that are over nobody is asked."""
    jobs.recheck()
    silent = [NodeId("2", 2), NodeId("1", 4)]
    jobs.ask([*silent, NodeId("77", 1)])
    jobs.ask(silent)
    assert jobs.busy
    jobs.turn()
    assert scene.asked[:2] == silent
    assert NodeId("77", 1) not in scene.asked
    assert not jobs.busy


def test_silent_nodes_that_are_over_are_reported(scene: Scene, jobs: Jobs) -> None:
    """As lost ones are: after a while in which the notice may still come."""
    silent = NodeId("2", 2)
    scene.states[silent] = State.UNKNOWN
    jobs.ask([silent])
    jobs.turn()
    scene.now += GRACE
    jobs.turn()
    assert scene.ends == [EndNotice(node=silent, reason=LOST)]


def test_questions_during_an_outage_cost_nothing(scene: Scene, jobs: Jobs) -> None:
    """Each might block for minutes; afterwards every node is asked about anyway."""
    scene.down = True
    jobs.recheck()
    jobs.turn()
    jobs.ask(array("1", 5))
    assert not jobs.busy
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    jobs.turn()
    assert set(scene.asked) == {*array("1", 5), *array("2", 2)}


def test_the_heartbeat_passes_over_nodes_that_have_ended(
    scene: Scene, jobs: Jobs
) -> None:
    """Else an outage after the end of a thousand nodes would go unnoticed for hours."""
    many = array("3", 1000)
    jobs.add(many)
    for _ in range(7):  # the round of the nodes there were before
        scene.now += HEARTBEAT
        jobs.turn()
    scene.notices.extend(EndNotice(node=node, exit_status=0) for node in many[:-1])
    scene.asked.clear()
    scene.now += HEARTBEAT
    jobs.turn()
    assert len(scene.asked) == 1


def test_the_heartbeat_costs_one_question(scene: Scene, jobs: Jobs) -> None:
    """For any number of nodes; everyone's turn comes."""
    for _ in range(7):
        scene.now += HEARTBEAT
        jobs.turn()
        jobs.turn()
    assert sorted(scene.asked) == array("1", 5) + array("2", 2)


@pytest.mark.parametrize("state", [State.OVER, State.UNKNOWN])
def test_a_lost_end_is_found(scene: Scene, jobs: Jobs, state: State) -> None:
    """After a while in which its notice may still come."""
    lost = NodeId("1", 3)
    scene.states[lost] = state
    jobs.recheck()
    jobs.turn()
    assert lost in scene.asked
    assert scene.ends == []
    scene.now += GRACE
    jobs.turn()
    jobs.turn()
    assert scene.ends == [EndNotice(node=lost, reason=LOST)]


def test_a_late_notice_goes_before_our_finding(scene: Scene, jobs: Jobs) -> None:
    """It knows the exit status."""
    late = NodeId("1", 3)
    scene.states[late] = State.OVER
    jobs.recheck()
    jobs.turn()
    scene.now += GRACE
    scene.notices.append(EndNotice(node=late, exit_status=4))
    jobs.turn()
    jobs.turn()
    assert scene.ends == [EndNotice(node=late, exit_status=4)]


def test_a_node_that_comes_back_is_alive(scene: Scene, jobs: Jobs) -> None:
    """A master that is just reading its files may not know it for a moment."""
    node = NodeId("1", 3)
    scene.states[node] = State.UNKNOWN
    jobs.recheck()
    jobs.turn()
    scene.now += GRACE
    del scene.states[node]
    jobs.turn()
    scene.states[node] = State.UNKNOWN
    jobs.recheck()
    jobs.turn()
    assert scene.ends == []


def test_silence_of_the_master_is_not_death(scene: Scene, jobs: Jobs) -> None:
    """It is noted once, nothing is reported, and tries are not too frequent."""
    scene.down = True
    jobs.delete([NodeId("1", 1)])
    for _ in range(5):
        jobs.turn()
        jobs.turn()
        scene.now += RETRY
    assert scene.notes == ["Grid Engine does not answer, running nodes go on: no route"]
    assert not jobs.busy
    assert jobs.undeleted == 1
    assert scene.ends == []


def test_after_an_outage_the_rest_is_made_up_for(scene: Scene, jobs: Jobs) -> None:
    """The deletion goes through, and every node is asked about, more than once.

    A restarted master shows what has ended as running for another ten minutes.
    """
    scene.down = True
    jobs.delete([NodeId("1", 1)])
    jobs.turn()
    scene.now += RETRY
    jobs.turn()
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    assert scene.deleted == ["1.1"]
    assert scene.notes[1:] == ["Grid Engine answers again"]
    answered = scene.now
    for delay in RECHECKS:
        scene.asked.clear()
        scene.now = answered + delay
        jobs.turn()
        jobs.turn()
        assert set(scene.asked) == {*array("1", 5), *array("2", 2)}


def test_one_lost_answer_is_not_worth_a_word(scene: Scene, jobs: Jobs) -> None:
    """It happens after a restart; what was missed is still asked for."""
    scene.down = True
    jobs.recheck()
    jobs.turn()
    scene.down = False
    scene.asked.clear()
    scene.now += RETRY
    jobs.turn()
    jobs.turn()
    assert len(set(scene.asked)) == 7
    assert scene.notes == []


def test_an_outage_is_noticed_without_anything_to_do(scene: Scene, jobs: Jobs) -> None:
    """Waiting for notices only stays silent; the heartbeat does not."""
    scene.down = True
    for _ in "12":
        assert scene.notes == []
        scene.now += HEARTBEAT
        jobs.turn()
    assert len(scene.notes) == 1
    scene.down = False
    scene.now += HEARTBEAT
    jobs.turn()
    assert scene.notes[1:] == ["Grid Engine answers again"]


def test_a_submission_without_answer_is_looked_for(scene: Scene, jobs: Jobs) -> None:
    """Once the master answers, and once more: it may land late."""
    scene.down = True
    jobs.delete_unacknowledged("node", "abc")
    jobs.turn()
    scene.down = False
    scene.now += RETRY
    jobs.turn()
    assert scene.deleted == []
    scene.marked["node", "abc"] = ["7"]
    scene.now += SEARCHES[-1]
    jobs.turn()
    assert scene.deleted == ["7"]
    assert jobs.undeleted == 0


def test_it_is_looked_for_at_once_when_everything_goes(
    scene: Scene, jobs: Jobs
) -> None:
    """The session stays until it has an answer, or knows that it will have none."""
    scene.marked["node", "abc"] = ["7"]
    for submission_id in ("abc", "no-qstat", ""):
        jobs.delete_unacknowledged("node", submission_id)
    jobs.delete_all()
    assert jobs.undeleted == 5
    jobs.turn()
    assert scene.deleted == ["1", "2", EVERYTHING, "7"]
    assert jobs.undeleted == 0
    told = "job 'node' may be in the queue without a cluster: no qstat here"
    assert scene.notes == [told]


def test_an_error_of_another_kind_does_not_stop_the_session(
    scene: Scene, jobs: Jobs
) -> None:
    """It is noted, and the next turn goes on."""

    def fail() -> EndNotice | None:
        raise Failed("out of cheese")

    scene.next_end = fail  # type: ignore[method-assign]
    jobs.turn()
    jobs.turn()
    assert "out of cheese" in scene.notes[0]
    del scene.next_end
    scene.now += RETRY
    scene.notices.append(EndNotice(node=NodeId("1", 1), exit_status=0))
    jobs.turn()
    assert len(scene.ends) == 1
