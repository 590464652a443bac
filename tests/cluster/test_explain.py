"""``cluster.explain()``: the sentences people get."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from dask_gridengine.cluster.explain import explain, explain_deaths, explain_node
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.diagnosis import out_of_memory
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import (
    ENDED_KEPT,
    NodeRecord,
    NodeRegistry,
    NodeState,
)
from tests.pools import make_pool
from tests.samples import hello

GB = 10**9


@pytest.fixture
def pool(tmp_path: Path) -> NodePool:
    """One that was never opened, without a node."""
    return make_pool(directory=tmp_path)


def ended(pool: NodePool, why: Diagnosis, hosts: Iterable[str]) -> list[NodeRecord]:
    """A node on each of these hosts, ended for this reason."""
    registry = pool.registry
    job = str(len(registry.records) + 7)
    registry.submitted(NodeId(job, i + 1) for i, _ in enumerate(hosts))
    records = [record for record in registry if record.id.job == job]
    for record, host in zip(records, hosts, strict=True):
        record.host, record.diagnosis = host, why
        registry.move(record, NodeState.GONE)
    return records


def test_the_way_a_node_came_is_told_where_it_was_not_the_first() -> None:
    """Which addresses it tried, and what each answered: the user's network, seen."""
    registry = NodeRegistry()
    registry.submitted([NodeId("12", 1), NodeId("12", 2)])
    first, second = registry
    registry.arrive(first, hello())
    assert "reached" not in explain_node(first)
    tried = {"10.9.0.1:4711": "no answer in 0.3 s", "10.0.0.1:4711": "connected"}
    registry.arrive(second, hello(index=2, tried=tried))
    assert (
        "it reached the cluster at 10.0.0.1:4711; the addresses before that:\n"
        "  10.9.0.1:4711: no answer in 0.3 s" in explain_node(second)
    )


def test_alike_ends_are_one_sentence(pool: NodePool) -> None:
    """Counted, with the hosts, and with what to type; failures first."""
    hosts = [f"node{i % 12}" for i in range(31)]
    ended(pool, Diagnosis(cause=Cause.CANCELLED), ["node1"] * 40)
    ended(pool, out_of_memory(8 * GB, 8 * GB, "grid", "the grid's limit"), hosts)
    why = Diagnosis(cause=Cause.NO_IMPORT, detail="ModuleNotFoundError: numpy")
    ended(pool, why, ["node17"] * 4)
    said = explain([pool]).splitlines()
    assert said[0] == "no nodes requested."
    assert said[1].startswith(
        "31 nodes on 12 hosts (e.g. node0, node1) ran into the memory limit: 7.45 GiB"
    )
    assert "memory='12 GB'" in said[2]
    assert said[3] == (
        "4 nodes on node17 could not import its worker: ModuleNotFoundError: numpy"
    )
    assert said[-1] == "40 nodes on node1 were cancelled"


def test_what_is_now_comes_first(pool: NodePool) -> None:
    """How many are wanted, what they are at, and how long the queue takes."""
    pool.scale(3, by_user=True)
    pool.registry.submitted(NodeId("7", i + 1) for i in range(3))
    pool.registry.arrive(pool.registry.records[NodeId("7", 1)], hello(job="7"))
    first = explain([pool]).splitlines()[0]
    assert first.startswith(
        "3 nodes requested: 2 queued, 1 arrived; the first in the queue for "
    )


def test_what_is_done_about_it_is_said(pool: NodePool) -> None:
    """An outage, a shut host, and that no more is asked for."""
    now = pool.registry.clock()
    why = Diagnosis(cause=Cause.NO_PYTHON, detail="no such file")
    pool.blocklist.possible = frozenset({"node1", "node2"})
    for _ in range(FAILURE_LIMIT):
        pool.blocklist.failed("node1", why, now)
    for record in ended(pool, why, ["node1", "node2", "node2"]):
        pool.failures.add(record, why, Path())
    pool.reconciler.submission_error = "no route to qmaster"
    said = explain([pool])
    assert "no route to qmaster" in said
    assert "Excluding host node1 for" in said
    assert "Submission is suspended" in said
    assert "scale() tries again at once" in said


def test_nodes_asleep_and_the_last_decisions_are_told(pool: NodePool) -> None:
    """Where some wait at the door of a shut host; and what was done, the newest."""
    pool.registry.submitted([NodeId("7", 1)])
    pool.scale(1, by_user=True)
    pool.blocklist.possible = frozenset({"node1", "node2"})
    for _ in range(FAILURE_LIMIT):
        why = Diagnosis(cause=Cause.NO_PYTHON)
        pool.blocklist.failed("node1", why, pool.registry.clock())
    pool.admission.answer(hello(job="7"))
    pool.reconciler.decisions += [f"thing {i}" for i in range(7)]
    first, *_, last = (said := explain([pool])).splitlines()
    assert "1 arrived (1 of them held on excluded hosts)" in first
    assert last == "decided: thing 6"
    assert "thing 2" in said
    assert "thing 1" not in said


def test_workers_that_were_started_anew_are_told(pool: NodePool) -> None:
    """Their nodes go on, so no end tells of them."""
    registry = pool.registry
    registry.submitted(NodeId("7", i) for i in (1, 2))
    for record in registry:
        record.host, record.restarts = "node3", 2
        record.death = out_of_memory(GB, GB, "Nanny", "where its Nanny ends a worker")
    assert (
        "the worker of 2 nodes on node3 (4 times, and restarted) ran into the"
        " memory limit"
    ) in explain([pool])


def test_one_nodes_story_is_told_from_its_submission_to_its_end(
    pool: NodePool,
) -> None:
    """How long in each state, why it ended, who says so, and its last words."""
    registry = pool.registry
    registry.submitted([NodeId("7", 1)])
    (record,) = registry
    registry.unbound.append("ge-0")
    registry.arrive(record, hello(job="7", host="node3"))
    registry.bind(record)
    registry.registered("ge-0")
    record.restarts, record.peak_memory = 2, 3 * 2**30
    record.death = Diagnosis(cause=Cause.KILLED, detail="its process ended with 3")
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME, source="grid")
    record.log_tail = "one\ntwo\n"
    alive = explain_node(record)
    assert "worked, for " in alive
    assert "ran into its walltime" not in alive, "it has not ended yet"
    registry.move(record, NodeState.GONE)
    said = explain_node(record)
    for words in (
        "node 7.1: queued for ",
        "arrived on node3 for ",
        "became ge-0 for ",
        "gone",
        "its Nanny has started a new worker 2 times",
        "it ran into its walltime",
        "known from: grid",
        "its worker used 3.00 GiB at most",
        "  | two",
    ):
        assert words in said


def test_deaths_are_told_by_worker_for_a_note(pool: NodePool) -> None:
    """What the node says, or its Nanny, or that nobody has said anything yet."""
    why = Diagnosis(cause=Cause.WALLTIME)
    one, two, three = ended(pool, why, ["node1"] * 3)
    one.worker, two.worker, three.worker = "ge-0", "ge-1", "ge-2"
    two.state = three.state = NodeState.WORKING
    two.death = Diagnosis(cause=Cause.MEMORY)
    said = explain_deaths([one, two, three, one]).splitlines()
    assert said[0].startswith("ge-0 (node 7.1 on node1) ran into its walltime")
    assert said[2].startswith(
        "the worker of ge-1 (node 7.2 on node1) ran into the memory limit"
    )
    assert "ge-2 (node 7.3 on node1): the cause of" in said[-1]
    assert len([line for line in said if "ge-0" in line]) == 1


def test_who_leaves_although_it_is_wanted_is_told(pool: NodePool) -> None:
    """Why, and what it cannot finish, for as long as it is there."""
    registry = pool.registry
    registry.submitted([NodeId("7", 1)])
    (record,) = registry
    registry.unbound.append("ge-0")
    registry.arrive(record, hello(job="7", host="node1"))
    registry.bind(record)
    registry.registered("ge-0")
    record.turned = Diagnosis(cause=Cause.EXPIRED, detail="as its walltime ended")
    record.unfinished = "'fit-1' (ran 9 of about 60 s)"
    registry.move(record, NodeState.DRAINING)
    line = (
        "node 7.1 on node1 (ge-0) takes no new tasks and leaves: as its walltime ended;"
        " it cannot finish: 'fit-1' (ran 9 of about 60 s)"
    )
    assert line in explain([pool]).splitlines()
    assert line in explain_node(record).splitlines()
    record.over = True
    assert line not in explain([pool])


def test_nodes_that_are_not_kept_are_told_in_numbers(pool: NodePool) -> None:
    """Each once, whether its details are kept or not."""
    registry = pool.registry
    registry.submitted(NodeId("77", i) for i in range(ENDED_KEPT + 30))
    for record in list(registry):
        if record.id.job == "77":
            record.diagnosis = Diagnosis(cause=Cause.KILLED)
            registry.move(record, NodeState.GONE)
    told = explain([pool])
    assert f"{ENDED_KEPT} nodes" in told
    assert "30 nodes ended earlier" in told
    assert "30 were killed" in told
