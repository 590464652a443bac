"""The live jobs of the DRMAA child, with a scripted grid and clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.drmaa.jobs import (
    EXIT_UNKNOWN,
    HEARTBEAT,
    NOTICE_DELAY,
    RANGE_SIZE,
    RECHECK_DELAYS,
    RETRY_INTERVAL,
    SEARCH_DELAYS,
    UNCONFIRMED,
    Jobs,
)
from dask_gridengine.launchers.drmaa.library import (
    ALL_JOBS,
    DELETED,
    NO_RECORD,
    CallFailed,
    State,
    Unreachable,
)


def array(job: str, count: int) -> list[NodeId]:
    return [NodeId(job, index) for index in range(1, count + 1)]


def no_record(node: NodeId) -> EndNotice:
    return EndNotice(node=node, reason=NO_RECORD, deleted=True)


ALL_NODES = [*array("1", 5), *array("2", 2)]
FIRST = NodeId("1", 1)


@dataclass
class Scene:
    """A scripted `Library` and clock, and what `Jobs` reports."""

    now: float = 1000.0
    down: bool = False
    notices: deque[EndNotice] = field(default_factory=deque)
    states: dict[NodeId, State] = field(default_factory=dict)
    checked: list[NodeId] = field(default_factory=list)
    deleted: list[object] = field(default_factory=list)
    queued: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ends: list[EndNotice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_range_command: bool = True
    batch_system = GridEngine()

    def take_over(self, nodes: Collection[NodeId]) -> None:
        """The scripted notices come anyway."""

    def next_end(self) -> EndNotice | None:
        return self.notices.popleft() if self.notices else None

    def call(self) -> None:
        if self.down:
            raise Unreachable("no route")

    def state(self, node: NodeId) -> State:
        self.call()
        self.checked.append(node)
        return self.states.get(node, State.LIVE)

    def find_submission(self, name: str, submission_id: str) -> list[str]:
        self.call()
        if submission_id == "no-qstat":
            raise CallFailed("no qstat here")
        return self.queued.pop((name, submission_id), [])

    def delete(self, job_id: str) -> None:
        self.call()
        self.deleted.append(job_id)

    def delete_range(self, job: str, first: int, last: int) -> bool:
        if self.has_range_command:
            self.deleted.append((job, first, last))
        return self.has_range_command

    def outage(self, jobs: Jobs) -> None:
        """Let one call fail, and then let the master answer again."""
        self.down = True
        jobs.recheck_all()
        jobs.run_once()
        self.down = False
        self.now += RETRY_INTERVAL


@pytest.fixture
def scene() -> Scene:
    """A grid that answers."""
    return Scene()


@pytest.fixture
def jobs(scene: Scene) -> Jobs:
    """Five nodes of one array and two of another, after the first heartbeat."""
    jobs = Jobs(
        scene,  # type: ignore[arg-type]
        on_end=scene.ends.append,
        on_note=scene.notes.append,
        clock=lambda: scene.now,
    )
    jobs.add(ALL_NODES)
    jobs.run_once()
    scene.checked.clear()
    return jobs


def test_the_last_nodes_of_an_array_are_deleted_by_its_id(
    scene: Scene, jobs: Jobs
) -> None:
    """Nodes that have ended or are being deleted do not count."""
    scene.notices.append(EndNotice(node=FIRST, exit_status=0))
    jobs.delete([NodeId("1", 2), NodeId("1", 3)])
    jobs.run_once()
    jobs.delete([NodeId("1", 4), NodeId("1", 5)])
    jobs.run_once()
    assert scene.deleted == ["1.2", "1.3", "1"]


def test_deleting_all_includes_jobs_with_unknown_ids(scene: Scene, jobs: Jobs) -> None:
    """Such as a submission whose answer was lost with an earlier child."""
    jobs.delete_all()
    jobs.run_once()
    assert scene.deleted == ["1", "2", ALL_JOBS]
    assert jobs.undeleted == 0
    assert jobs.num_live == 7, "deleted is not yet ended"


def test_many_neighbouring_nodes_are_deleted_by_one_command(
    scene: Scene, jobs: Jobs
) -> None:
    """Such as the queued nodes of an array that partly runs; a few one by one."""
    jobs.add(array("3", 2 * RANGE_SIZE))
    jobs.delete([NodeId("3", 1), *array("3", 2 * RANGE_SIZE)[RANGE_SIZE:]])
    jobs.run_once()
    assert scene.deleted == ["3.1", ("3", RANGE_SIZE + 1, 2 * RANGE_SIZE)]
    assert jobs.undeleted == 0


def test_without_such_a_command_nodes_are_deleted_one_by_one(
    scene: Scene, jobs: Jobs
) -> None:
    """Also when it fails."""
    scene.has_range_command, scene.down = False, True
    jobs.add(array("3", RANGE_SIZE + 1))
    jobs.delete(array("3", RANGE_SIZE))
    jobs.run_once()
    assert jobs.undeleted == RANGE_SIZE
    scene.down = False
    scene.now += RETRY_INTERVAL
    jobs.run_once()
    assert jobs.undeleted == 0
    assert scene.deleted == [f"3.{index}" for index in range(1, RANGE_SIZE + 1)]


def test_an_end_is_reported_once(scene: Scene, jobs: Jobs) -> None:
    """Notices for unknown nodes, or a second one for a node, are ignored."""
    end = EndNotice(node=FIRST, exit_status=3)
    scene.notices += [end, end, EndNotice(node=NodeId("77", 1), exit_status=3)]
    jobs.run_once()
    assert scene.ends == [end]
    assert jobs.num_live == 6


def test_the_end_of_a_node_we_deleted_says_so(scene: Scene, jobs: Jobs) -> None:
    """Grid Engine's "no record" of a job deleted in the queue is expected then."""
    jobs.delete([FIRST])
    for index in (1, 2):
        scene.notices.append(no_record(NodeId("1", index)))
    jobs.run_once()
    assert scene.ends == [
        EndNotice(node=FIRST, cancelled=True),
        no_record(NodeId("1", 2)),
    ]


def test_no_record_after_an_outage_is_no_deletion(scene: Scene, jobs: Jobs) -> None:
    """A node that ends while the master is away leaves as little as a deleted one.

    That is so until the last recheck: a restarted master learns late of ends. A node
    whose end has a record was deleted, at any time.
    """
    for index in (1, 2):
        scene.states[NodeId("1", index)] = State.UNKNOWN
    scene.down = True
    jobs.recheck_all()
    jobs.run_once()
    scene.notices.append(no_record(FIRST))
    jobs.run_once()
    scene.down = False
    scene.now += RETRY_INTERVAL
    jobs.run_once()
    scene.now += RECHECK_DELAYS[-1] - 1
    recorded = EndNotice(node=NodeId("1", 3), deleted=True, ran=3.0, reason=DELETED)
    scene.notices += [no_record(NodeId("1", 2)), recorded]
    jobs.run_once()
    scene.now += 1
    for _ in RECHECK_DELAYS:
        jobs.run_once()
    scene.notices.append(no_record(NodeId("1", 4)))
    jobs.run_once()
    assert scene.ends == [
        EndNotice(node=FIRST, reason=UNCONFIRMED),
        recorded,
        EndNotice(node=NodeId("1", 2), reason=UNCONFIRMED),
        no_record(NodeId("1", 4)),
    ]


def test_no_record_of_an_end_between_two_children_is_no_deletion(
    scene: Scene, jobs: Jobs
) -> None:
    """A node that ends while there is no child leaves no other notice."""
    node = NodeId("3", 1)
    scene.states[node] = State.UNKNOWN
    jobs.take_over(array("3", 2))
    scene.notices.append(no_record(node))
    jobs.run_once()
    jobs.run_once()
    assert scene.ends == [EndNotice(node=node, reason=UNCONFIRMED)]
    scene.now += NOTICE_DELAY
    scene.notices.append(no_record(NodeId("3", 2)))
    jobs.run_once()
    assert scene.ends[1:] == [no_record(NodeId("3", 2))]


def test_no_record_of_a_running_node_is_no_end(scene: Scene, jobs: Jobs) -> None:
    """libdrmaa also sends it for nodes just submitted to a restarted master.

    As no other notice will come, such a node is checked from then on.
    """
    scene.outage(jobs)
    jobs.run_once()
    scene.notices.append(no_record(FIRST))
    for _ in range(3):
        jobs.run_once()
        scene.now += HEARTBEAT
    assert scene.ends == []
    scene.states[FIRST] = State.UNKNOWN
    scene.now += HEARTBEAT
    jobs.run_once()
    assert scene.ends == [EndNotice(node=FIRST, reason=UNCONFIRMED)]


def test_the_heartbeat_skips_nodes_that_have_ended(scene: Scene, jobs: Jobs) -> None:
    """Otherwise an outage would go unnoticed for hours after a thousand ends."""
    many = array("3", 1000)
    jobs.add(many)
    for _ in ALL_NODES:  # the round of the nodes that were there before
        scene.now += HEARTBEAT
        jobs.run_once()
    scene.notices.extend(EndNotice(node=node, exit_status=0) for node in many[:-1])
    scene.checked.clear()
    scene.now += HEARTBEAT
    jobs.run_once()
    assert len(scene.checked) == 1


def test_a_heartbeat_checks_one_node(scene: Scene, jobs: Jobs) -> None:
    """For any number of nodes, each in turn."""
    for _ in ALL_NODES:
        scene.now += HEARTBEAT
        jobs.run_once()
        jobs.run_once()
    assert sorted(scene.checked) == ALL_NODES


@pytest.mark.parametrize("state", [State.ENDED, State.UNKNOWN])
@pytest.mark.parametrize("requested", [False, True])
def test_a_lost_notice_is_replaced(
    scene: Scene, jobs: Jobs, state: State, requested: bool
) -> None:
    """After some time in which it may still come."""
    lost = NodeId("1", 3)
    scene.states[lost] = state
    if requested:
        jobs.recheck([lost])
    else:
        jobs.recheck_all()
    jobs.run_once()
    assert lost in scene.checked
    assert scene.ends == []
    scene.now += NOTICE_DELAY
    jobs.run_once()
    jobs.run_once()
    assert scene.ends == [EndNotice(node=lost, reason=EXIT_UNKNOWN)]


def test_a_node_that_comes_back_is_alive(scene: Scene, jobs: Jobs) -> None:
    """A master that is just reading its files may not know it for a moment."""
    node = NodeId("1", 3)
    scene.states[node] = State.UNKNOWN
    jobs.recheck_all()
    jobs.run_once()
    scene.now += NOTICE_DELAY
    del scene.states[node]
    jobs.run_once()
    scene.states[node] = State.UNKNOWN
    jobs.recheck_all()
    jobs.run_once()
    assert scene.ends == []


def test_silence_of_the_master_is_not_death(scene: Scene, jobs: Jobs) -> None:
    """It is noted once, no end is reported, and retries are limited."""
    scene.down = True
    jobs.delete([FIRST])
    for _ in range(5):
        jobs.run_once()
        jobs.run_once()
        scene.now += RETRY_INTERVAL
    (note,) = scene.notes
    assert note.startswith("Grid Engine does not answer")
    assert not jobs.busy
    assert jobs.undeleted == 1
    assert scene.ends == []


def test_after_an_outage_deletions_and_checks_are_done(
    scene: Scene, jobs: Jobs
) -> None:
    """Every node is checked more than once.

    A restarted master shows ended nodes as running for another ten minutes.
    """
    scene.down = True
    jobs.delete([FIRST])
    for _ in "12":
        jobs.run_once()
        scene.now += RETRY_INTERVAL
    scene.down = False
    jobs.run_once()
    assert scene.deleted == ["1.1"]
    assert scene.notes[1:] == ["Grid Engine answers again"]
    answered = scene.now
    for delay in RECHECK_DELAYS:
        scene.checked.clear()
        scene.now = answered + delay
        jobs.run_once()
        jobs.run_once()
        assert set(scene.checked) == set(ALL_NODES)


def test_an_unacknowledged_submission_is_searched_twice(
    scene: Scene, jobs: Jobs
) -> None:
    """When the master answers, and again later: it may be queued late."""
    scene.down = True
    jobs.delete_unacknowledged("node", "abc")
    jobs.run_once()
    scene.down = False
    scene.now += RETRY_INTERVAL
    jobs.run_once()
    assert scene.deleted == []
    scene.queued["node", "abc"] = ["7"]
    scene.now += SEARCH_DELAYS[-1]
    jobs.run_once()
    assert scene.deleted == ["7"]
    assert jobs.undeleted == 0


def test_deleting_all_searches_at_once(scene: Scene, jobs: Jobs) -> None:
    """The child stays until the search has found something or cannot work."""
    scene.queued["node", "abc"] = ["7"]
    for submission_id in ("abc", "no-qstat", ""):
        jobs.delete_unacknowledged("node", submission_id)
    jobs.delete_all()
    assert jobs.undeleted == 5
    jobs.run_once()
    assert scene.deleted == ["1", "2", ALL_JOBS, "7"]
    assert jobs.undeleted == 0
    (note,) = scene.notes
    assert "no qstat here" in note
