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


def test_alike_ends_are_one_sentence(pool: NodePool) -> None:
    """Counted, with the hosts, and with what to type; failures first."""
    hosts = [f"node{i % 12}" for i in range(31)]
    ended(pool, Diagnosis(cause=Cause.CANCELLED), ["node1"] * 40)
    ended(pool, out_of_memory(8 * GB, 8 * GB, "grid", "the grid's limit"), hosts)
    why = Diagnosis(cause=Cause.NO_IMPORT, detail="ModuleNotFoundError: numpy")
    ended(pool, why, ["node17"] * 4)
    text = explain([pool]).splitlines()
    assert text[0] == "no nodes requested."
    assert text[1].startswith(
        "31 nodes on 12 hosts (e.g. node0, node1) ran into the memory limit: 7.45 GiB"
    )
    assert "memory='12 GB'" in text[2]
    assert text[3] == (
        "4 nodes on node17 could not import their worker: ModuleNotFoundError: numpy"
    )
    assert text[-1] == "40 nodes on node1 were cancelled"


def test_what_is_now_comes_first(pool: NodePool) -> None:
    """How many are wanted, what they are at, and how long the queue takes."""
    pool.scale(3, by_user=True)
    pool.registry.submitted(NodeId("7", i + 1) for i in range(3))
    pool.registry.arrive(pool.registry.records[NodeId("7", 1)], hello(job="7"))
    first = explain([pool]).splitlines()[0]
    assert first.startswith(
        "3 nodes requested: 2 queued, 1 arrived; the first in the queue for "
    )


def test_failures_and_their_consequences_are_explained(pool: NodePool) -> None:
    """A failed submission, an excluded host, and suspended submissions."""
    now = pool.registry.clock()
    why = Diagnosis(cause=Cause.NO_PYTHON, detail="no such file")
    pool.blocklist.possible = frozenset({"node1", "node2"})
    for _ in range(FAILURE_LIMIT):
        pool.blocklist.failed("node1", why, now)
    for record in ended(pool, why, ["node1", "node2", "node2"]):
        pool.failures.add(record, why, Path())
    pool.reconciler.submission_error = "no route to qmaster"
    text = explain([pool])
    assert "no route to qmaster" in text
    assert "Excluding host node1 for" in text
    assert "Submission is suspended" in text
    assert "scale() tries again at once" in text


def test_held_nodes_and_the_last_decisions_are_explained(pool: NodePool) -> None:
    """How many are held on an excluded host, and the newest decisions."""
    pool.registry.submitted([NodeId("7", 1)])
    pool.scale(1, by_user=True)
    pool.blocklist.possible = frozenset({"node1", "node2"})
    for _ in range(FAILURE_LIMIT):
        why = Diagnosis(cause=Cause.NO_PYTHON)
        pool.blocklist.failed("node1", why, pool.registry.clock())
    pool.admission.answer(hello(job="7"))
    pool.reconciler.decisions += [f"thing {i}" for i in range(7)]
    first, *_, last = (text := explain([pool])).splitlines()
    assert "1 arrived (1 of them held on excluded hosts)" in first
    assert last == "decided: thing 6"
    assert "thing 2" in text
    assert "thing 1" not in text


def test_restarted_workers_are_explained(pool: NodePool) -> None:
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


def test_one_node_is_explained_from_its_submission_to_its_end(
    pool: NodePool,
) -> None:
    """How long in each state, why it ended, the source, and the end of its log."""
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
    text = explain_node(record)
    for words in (
        "node 7.1: queued for ",
        "arrived on node3 for ",
        "became ge-0 for ",
        "gone",
        "its Nanny has started a new worker 2 times",
        "it ran into its walltime",
        "known from: grid",
        "its worker used 3 GiB at most",
        "  | two",
    ):
        assert words in text


def test_deaths_are_explained_by_worker(pool: NodePool) -> None:
    """From the node's report, or its Nanny's, or that the cause is not known yet."""
    why = Diagnosis(cause=Cause.WALLTIME)
    one, two, three = ended(pool, why, ["node1"] * 3)
    one.worker, two.worker, three.worker = "ge-0", "ge-1", "ge-2"
    two.state = three.state = NodeState.WORKING
    two.death = Diagnosis(cause=Cause.MEMORY)
    text = explain_deaths([one, two, three, one]).splitlines()
    assert text[0].startswith("ge-0 (node 7.1 on node1) ran into its walltime")
    assert text[2].startswith(
        "the worker of ge-1 (node 7.2 on node1) ran into the memory limit"
    )
    assert "ge-2 (node 7.3 on node1): the cause of" in text[-1]
    assert len([line for line in text if "ge-0" in line]) == 1


def test_nodes_that_have_to_leave_are_explained(pool: NodePool) -> None:
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


def test_nodes_that_are_not_kept_are_counted(pool: NodePool) -> None:
    """Each once, whether its details are kept or not."""
    registry = pool.registry
    registry.submitted(NodeId("77", i) for i in range(ENDED_KEPT + 30))
    for record in list(registry):
        if record.id.job == "77":
            record.diagnosis = Diagnosis(cause=Cause.KILLED)
            registry.move(record, NodeState.GONE)
    text = explain([pool])
    assert f"{ENDED_KEPT} nodes" in text
    assert "30 nodes ended earlier" in text
    assert "30 were killed" in text
