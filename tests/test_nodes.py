"""The roster of nodes."""

from __future__ import annotations

from dask_gridengine.launchers.base import NodeId
from dask_gridengine.nodes import NodeState, Roster
from tests.samples import hello


def roster(count: int = 2) -> Roster:
    times = iter(range(1000))
    made = Roster(clock=lambda: float(next(times)))
    made.submitted(NodeId("5", i + 1) for i in range(count))
    return made


def test_a_node_only_moves_forward() -> None:
    """A report that comes late does not revive what is gone."""
    nodes = roster()
    record = nodes.records[NodeId("5", 1)]
    assert nodes.move(record, NodeState.GONE)
    assert not nodes.move(record, NodeState.IMPORTING)
    assert record.state is NodeState.GONE


def test_the_time_of_each_step_is_kept() -> None:
    """Queue wait and start-up time can be told from the record."""
    nodes = roster()
    nodes.unbound.append("ge-0")
    record = nodes.records[NodeId("5", 1)]
    nodes.arrive(record, hello(job="5"))
    nodes.bind(record)
    nodes.registered("ge-0")
    assert record.arrived and record.allocated and record.working  # noqa: PT018
    assert record.submitted < record.arrived < record.allocated < record.working


def test_who_imports_where_is_counted() -> None:
    """From its allocation until it works or is over, whatever becomes of it."""
    nodes = roster()
    nodes.unbound.extend(["ge-0", "ge-1"])
    one, other = nodes
    for record, host in ((one, "a"), (other, "b")):
        nodes.arrive(record, hello(job="5", host=host))
        nodes.bind(record)
    assert nodes.importing_on == {"a": 1, "b": 1}
    nodes.registered("ge-0")
    nodes.move(other, NodeState.GONE)
    assert nodes.importing_on == {"a": 0, "b": 0}


def test_a_worker_registers_only_under_a_name_of_ours() -> None:
    """A worker somebody else started is no node."""
    nodes = roster()
    assert nodes.registered("stranger") is None


def test_expected_and_alive_count_places_on_the_grid() -> None:
    """Expected nodes may still come to the door; alive ones hold a place."""
    nodes = roster(3)
    first, second, _ = nodes
    nodes.move(first, NodeState.GONE)
    nodes.move(second, NodeState.WORKING)
    assert (nodes.expected, nodes.alive) == (1, 2)


def test_a_record_names_its_host_once_it_is_known() -> None:
    """Messages say where a node ran, as soon as anybody knows."""
    nodes = roster()
    record = nodes.records[NodeId("5", 1)]
    assert str(record) == "node 5.1"
    nodes.arrive(record, hello(job="5", host="node7"))
    assert str(record) == "node 5.1 on node7"
