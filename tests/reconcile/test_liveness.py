"""How long a node may be silent, and what it means if it was for longer."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.liveness import SILENCE, diagnose_silence, silent_for

MISSED, NOW = 15.0, 1000.0
LONG = 2 * SILENCE[NodeState.IMPORTING]


def node(state: NodeState = NodeState.WORKING, **fields: object) -> NodeRecord:
    return NodeRecord(
        id=NodeId("7", 1), state=state, since=NOW - 60, submitted=0.0, **fields
    )


def test_who_works_and_who_queues_need_not_speak() -> None:
    """The queue may be long, and a worker speaks to the scheduler."""
    assert silent_for(node(), NOW, MISSED) is None
    assert silent_for(node(NodeState.QUEUED), NOW, MISSED) is None


def test_who_starts_is_heard_by_its_hellos() -> None:
    """The last of them counts, not when it came into its state."""
    arrived = node(NodeState.ARRIVED, heard=NOW - 10)
    assert silent_for(arrived, NOW, MISSED) == (10, 2 * SILENCE[NodeState.ARRIVED])
    assert silent_for(node(NodeState.IMPORTING), NOW, MISSED) == (60, LONG)


def test_a_node_all_of_whose_workers_are_missed_is_silent() -> None:
    """From the last one on; less patience is needed for that than for a start."""
    lost = node(missing={"ge-0-0": NOW - 9, "ge-0-1": NOW - 7})
    assert silent_for(lost, NOW, MISSED) == (7, MISSED)
    assert diagnose_silence(lost, NOW, False).cause is Cause.HOST_LOST
    assert diagnose_silence(lost, NOW, True).cause is Cause.UNKNOWN


def test_a_worker_that_is_started_again_has_as_long_as_one_that_starts() -> None:
    """Its Nanny has said so, or others of its node are heard."""
    again = node(missing={"ge-0": NOW - 9}, restarting={"ge-0"})
    assert silent_for(again, NOW, MISSED) == (9, LONG)
    one_of_two = node(missing={"ge-0-1": NOW - 9}, present={"ge-0-0"})
    assert silent_for(one_of_two, NOW, MISSED) == (9, LONG)
    told = diagnose_silence(one_of_two, NOW, True)
    assert told.cause is Cause.NO_START
    assert "ge-0-1 has been missing for 9 s" in told.detail


def test_a_node_on_its_way_out_is_not_missed() -> None:
    """It is known to go."""
    going = node(NodeState.DRAINING, missing={"ge-0": NOW - 99})
    assert silent_for(going, NOW, MISSED) is None
