"""Places in the queue that nobody needs at the moment."""

from __future__ import annotations

from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeState, Roster
from dask_gridengine.reconcile.idle_queue_slots import Places
from tests.samples import hello

GRACE = 100.0


def queue(count: int, needed: int) -> Roster:
    roster = Roster()
    roster.submitted(NodeId("7", i + 1) for i in range(count))
    need(roster, needed)
    return roster


def need(roster: Roster, count: int) -> None:
    roster.unbound.clear()
    roster.unbound.extend(f"ge-{i}" for i in range(count))


def test_what_nobody_needed_for_the_whole_time_is_given_back_the_newest_first() -> None:
    """Not more than that, not before, and not twice."""
    roster, places = queue(5, needed=2), Places(GRACE)
    assert places.due(roster, 0.0) == []
    need(roster, 4)
    assert places.due(roster, 50.0) == []
    need(roster, 1)
    assert places.due(roster, GRACE - 1) == []
    assert [str(record.id) for record in places.due(roster, GRACE)] == ["7.5"]
    roster.move(roster.records[NodeId("7", 5)], NodeState.DRAINING)
    assert places.due(roster, GRACE + 1) == []
    later = places.due(roster, 2 * GRACE + 1)
    assert [record.id.index for record in later] == [2, 3, 4]


def test_a_rise_that_needs_them_all_begins_the_time_anew() -> None:
    """However short it was: the next may come as soon."""
    roster, places = queue(2, needed=0), Places(GRACE)
    places.due(roster, 0.0)
    need(roster, 2)
    places.due(roster, GRACE - 1)
    need(roster, 0)
    assert places.due(roster, GRACE) == []
    assert places.due(roster, 2 * GRACE - 1) == []
    assert len(places.due(roster, 2 * GRACE)) == 2


def test_a_node_that_has_arrived_is_told_at_the_door() -> None:
    """Only those that queue are given back."""
    roster, places = queue(2, needed=0), Places(GRACE)
    for record in list(roster):
        roster.arrive(record, hello())
    places.due(roster, 0.0)
    assert places.due(roster, GRACE) == []
