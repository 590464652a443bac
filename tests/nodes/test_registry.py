"""The registry of nodes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import (
    ENDED_KEPT,
    ORDER,
    NodeRecord,
    NodeRegistry,
    NodeState,
)
from tests.samples import exit_report, hello

ENDS = (NodeState.DRAINING, NodeState.GONE)
PAIRS = list(itertools.product(ORDER, ORDER))
STEPS = {pair: ORDER.index(pair[1]) - ORDER.index(pair[0]) for pair in PAIRS}
LEGAL = [p for p in PAIRS if STEPS[p] == 1 or (STEPS[p] > 1 and p[1] in ENDS)]
LATE = [p for p in PAIRS if STEPS[p] <= 0]


def registry(count: int = 2) -> NodeRegistry:
    times = itertools.count()
    made = NodeRegistry(clock=lambda: float(next(times)))
    made.submitted(NodeId("5", i + 1) for i in range(count))
    return made


def in_state(state: NodeState) -> tuple[NodeRegistry, NodeRecord]:
    """A node that came into this state the legal way."""
    nodes = registry(1)
    (record,) = nodes
    for step in ORDER[1 : ORDER.index(state) + 1]:
        nodes.move(record, step)
    return nodes, record


def working() -> tuple[NodeRegistry, NodeRecord]:
    """A node with the worker ge-0."""
    nodes = registry()
    nodes.unbound.append("ge-0")
    record = nodes.records[NodeId("5", 1)]
    nodes.arrive(record, hello(job="5"))
    nodes.bind(record)
    nodes.registered("ge-0")
    return nodes, record


def test_a_suspended_node_keeps_its_state() -> None:
    """It is shown as suspended until it is resumed, or ends."""
    nodes, record = in_state(NodeState.IMPORTING)
    counts = nodes.shown()
    nodes.suspend(record)
    nodes.suspend(record)
    assert (record.shown, record.state) == (NodeState.SUSPENDED, NodeState.IMPORTING)
    assert record.shown_since == record.suspended
    assert nodes.shown()[NodeState.SUSPENDED] == 1
    nodes.resume(record)
    nodes.resume(record)
    assert record.shown is NodeState.IMPORTING
    assert +nodes.shown() == +counts
    nodes.suspend(record)
    nodes.move(record, NodeState.GONE)
    assert record.shown is NodeState.GONE
    nodes.suspend(record)
    assert not nodes.suspended


@pytest.mark.parametrize(("before", "after"), LEGAL)
def test_legal_transitions_happen(before: NodeState, after: NodeState) -> None:
    """A node may go on by one state, be stopped, or end; and the time is kept."""
    nodes, record = in_state(before)
    earlier = record.since
    assert nodes.move(record, after)
    assert record.state is after
    assert record.since > earlier
    assert (record.id in nodes.live) == (after is not NodeState.GONE)


@pytest.mark.illegal_transition
@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in PAIRS if pair not in LEGAL]
)
def test_other_transitions_change_nothing(
    before: NodeState, after: NodeState, caplog: pytest.LogCaptureFixture
) -> None:
    """One that leaves a state out is logged, late reports are not."""
    nodes, record = in_state(before)
    was, counts = replace(record), dict(nodes.counts)
    assert not nodes.move(record, after)
    assert (record, nodes.counts) == (was, counts)
    illegal = f"of node 5.1: {before.value} to {after.value}" in caplog.text
    assert illegal is ((before, after) not in LATE)


def test_the_time_of_each_step_is_kept() -> None:
    """The record has the queue wait and the time of the start."""
    nodes, record = working()
    assert str(record) == "node 5.1 on node1"
    nodes.move(record, NodeState.DRAINING)
    nodes.move(record, NodeState.GONE)
    times = [record.submitted, record.arrived, record.allocated, record.working]
    times += [record.leaving, record.gone]
    assert times == sorted(times, key=lambda t: t or -1)  # type: ignore[arg-type]
    assert None not in times


def test_a_worker_registers_only_under_a_name_of_ours() -> None:
    """A worker that the user has started is no node."""
    nodes = registry()
    assert nodes.registered("stranger") is None
    assert nodes.missing("stranger", expected=True) is None


def test_a_missing_worker_is_remembered_until_it_is_back() -> None:
    """Since when, and whether the scheduler let it go on purpose."""
    nodes, record = working()
    nodes.missing("ge-0", expected=False)
    assert (record.lost is not None, record.retired) == (True, False)
    record.restarting.add("ge-0")
    nodes.registered("ge-0")
    assert (record.lost, record.restarting) == (None, set())
    nodes.missing("ge-0", expected=True)
    nodes.registered("ge-0")
    nodes.missing("ge-0", expected=False)
    assert record.retired, "the scheduler may report it before the loss is noticed"


def test_a_node_on_its_way_out_is_not_missed() -> None:
    """Its worker leaves with it. It is not expected any more, but alive."""
    nodes, record = working()
    nodes.move(record, NodeState.DRAINING)
    assert nodes.missing("ge-0", expected=True) is record
    assert (record.lost, record.retired) == (None, False)
    assert (nodes.expected, len(nodes.live)) == (1, 2)


def test_of_many_ended_nodes_the_last_are_kept_and_all_are_counted() -> None:
    """The registry of a cluster of months is no larger than that of hours."""
    nodes = registry(0)
    nodes.submitted([NodeId("1", 1)])
    for job in range(2, 12):
        ids = [NodeId(str(job), i) for i in range(1, 1_051)]
        nodes.submitted(ids)
        for node in ids:
            record = nodes.records[node]
            nodes.unbound.append(f"ge-{record.number}")
            nodes.arrive(record, hello(job=node.job, index=node.index))
            nodes.bind(record)
            cause = Cause.KILLED if node.index % 2 else Cause.CANCELLED
            record.diagnosis = Diagnosis(cause=cause)
            nodes.move(record, NodeState.GONE)
    first, *ended = nodes
    assert (first.id, first.state) == (NodeId("1", 1), NodeState.QUEUED)
    assert len(ended) == len(nodes.by_worker) == ENDED_KEPT
    assert ended[-1].id == NodeId("11", 1_050)
    assert nodes.total == 10_501
    assert nodes.counts[NodeState.GONE] == 10_500
    assert nodes.causes() == {Cause.KILLED: 5_250, Cause.CANCELLED: 5_250}
    # A late report about a node that is not kept is no error.
    assert nodes.registered("ge-5") is None
    assert nodes.missing("ge-5", expected=False) is None
    assert nodes.saying(exit_report(job="2", index=5)) is None
