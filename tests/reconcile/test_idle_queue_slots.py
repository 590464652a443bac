"""Places in the queue that nobody needs at the moment."""

from __future__ import annotations

from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRegistry, NodeState
from dask_gridengine.reconcile.idle_queue_slots import IdleQueueSlots
from tests.samples import hello

GRACE = 100.0


def queue(count: int, needed: int) -> NodeRegistry:
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(count))
    need(registry, needed)
    return registry


def need(registry: NodeRegistry, count: int) -> None:
    registry.unbound.clear()
    registry.unbound.extend(f"ge-{i}" for i in range(count))


def test_what_nobody_needed_for_the_whole_time_is_given_back_the_newest_first() -> None:
    """Not more than that, not before, and not twice."""
    registry, places = queue(5, needed=2), IdleQueueSlots(GRACE)
    assert places.due(registry, 0.0) == []
    need(registry, 4)
    assert places.due(registry, 50.0) == []
    need(registry, 1)
    assert places.due(registry, GRACE - 1) == []
    assert [str(record.id) for record in places.due(registry, GRACE)] == ["7.5"]
    registry.move(registry.records[NodeId("7", 5)], NodeState.DRAINING)
    assert places.due(registry, GRACE + 1) == []
    later = places.due(registry, 2 * GRACE + 1)
    assert [record.id.index for record in later] == [2, 3, 4]


def test_a_rise_that_needs_them_all_begins_the_time_anew() -> None:
    """However short it was: the next may come as soon."""
    registry, places = queue(2, needed=0), IdleQueueSlots(GRACE)
    places.due(registry, 0.0)
    need(registry, 2)
    places.due(registry, GRACE - 1)
    need(registry, 0)
    assert places.due(registry, GRACE) == []
    assert places.due(registry, 2 * GRACE - 1) == []
    assert len(places.due(registry, 2 * GRACE)) == 2


def test_a_node_that_has_arrived_is_told_at_the_door() -> None:
    """Only those that queue are given back."""
    registry, places = queue(2, needed=0), IdleQueueSlots(GRACE)
    for record in list(registry):
        registry.arrive(record, hello())
    places.due(registry, 0.0)
    assert places.due(registry, GRACE) == []
