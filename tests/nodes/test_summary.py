"""What a view keeps of the nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.nodes.registry import ENDED_KEPT, NodeRegistry
from dask_gridengine.nodes.summary import BUCKETS, SETTLED, Delays, NodeSummary
from tests.simulated import START, Nodes


def test_an_update_returns_changed_nodes_only() -> None:
    """The first returns all nodes, later ones those that differ, or are new."""
    nodes = Nodes()
    first, _ = nodes.submit(2)
    summary = NodeSummary(nodes.history, clock=nodes.clock)
    assert [(old, str(new.id)) for old, new in summary.update()] == [
        (None, "7.1"),
        (None, "7.2"),
    ]
    assert summary.update() == []
    nodes.arrive(first)
    ((old, new),) = summary.update()
    assert old is not None
    assert (old.state.value, new.state.value) == ("queued", "arrived")
    nodes.submit(1, "8")
    assert [str(new.id) for _, new in summary.update()] == ["8.1"]


def test_a_suspended_node_is_a_change_with_a_period_of_its_own() -> None:
    """For as long as it is suspended; every count has that state."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.arrive(record)
    nodes.work(record)
    summary = NodeSummary(nodes.history, clock=nodes.clock)
    summary.update()
    nodes.clock.now += 60
    nodes.registry.suspend(record)
    (change,) = summary.update()
    assert [*change.new.periods][-2:] == [
        ("working", START, START + 60),
        ("suspended", START + 60, None),
    ]
    counts = nodes.history.counts()
    assert (counts["suspended"], counts["working"]) == (1, 0)
    nodes.registry.resume(record)
    (change,) = summary.update()
    assert change.new.state.value == "working"
    assert "suspended" not in change.new.entered


def test_a_refined_cause_is_a_change_for_some_minutes() -> None:
    """Accounting answers after the end; later the node is not checked any more."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.UNKNOWN)
    summary = NodeSummary(nodes.history, clock=nodes.clock)
    summary.update()
    assert summary.failures() == {Cause.UNKNOWN.value: 1}
    nodes.clock.now += SETTLED / 2
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME, source="accounting")
    assert [new.cause for _, new in summary.update()] == [Cause.WALLTIME.value]
    assert summary.failures() == {Cause.WALLTIME.value: 1}
    nodes.clock.now += SETTLED
    assert summary.update() == []
    record.diagnosis = Diagnosis(cause=Cause.MEMORY)
    assert summary.update() == []


def test_it_counts_hosts_waits_and_ends() -> None:
    """Of the live nodes, and of those that ended."""
    nodes = Nodes()
    a, b, c, d, _ = nodes.submit(5)
    summary = NodeSummary(nodes.history, clock=nodes.clock)
    for record, host in ((a, "node1"), (b, "node1"), (c, "node2"), (d, "node3")):
        nodes.arrive(record, host)
    for record in (a, b, c):
        nodes.work(record)
    nodes.end(b, Cause.MEMORY)
    nodes.end(c, Cause.CANCELLED)
    nodes.clock.now += 90
    summary.update()
    assert [str(row.id) for row in summary.live.values()] == ["7.1", "7.4", "7.5"]
    assert (len(summary.queue_wait), len(summary.startup)) == (4, 3)
    summary.update()
    assert len(summary.queue_wait) == 4, "each delay counts once"
    assert summary.hosts("working") == 1
    assert summary.hosts("working", "arrived") == 2
    assert summary.longest_wait() == 90
    assert summary.ended() == {Cause.MEMORY: 1, Cause.CANCELLED: 1}
    assert summary.failures() == {Cause.MEMORY.value: 1}


def test_its_size_is_bounded() -> None:
    """Nodes that the registry does not keep are counted by cause, and forgotten."""
    nodes = Nodes()
    early = NodeSummary(nodes.history, clock=nodes.clock)
    staying, *others = nodes.submit(ENDED_KEPT + 1_000)
    early.update()
    for record in others:
        nodes.end(record, Cause.MEMORY if record.number % 2 else Cause.CANCELLED)
    late = NodeSummary(nodes.history, clock=nodes.clock)
    for summary in (early, late):
        assert len(summary.update()) >= ENDED_KEPT
        assert summary.update() == []
        assert summary.ended().total() == len(others)
        assert summary.failures().total() == len(others) // 2 + 1
        assert list(summary.live) == [("", staying.id)]


def test_pools_are_told_apart() -> None:
    """Two pools may have the same job id, and a pool may come later."""
    one, other = Nodes(), Nodes()
    one.registry = NodeRegistry(pool="small", clock=one.clock)
    other.registry = NodeRegistry(pool="big", clock=one.clock)
    pools = {"small": one.registry}

    def requested() -> Mapping[str, int]:
        return dict.fromkeys(pools, 1)

    history = NodeHistory("both", lambda: pools, requested)
    summary, big = NodeSummary(history), NodeSummary(history, pool="big")
    one.submit(2)
    assert [new.pool for _, new in summary.update()] == ["small", "small"]
    pools["big"] = other.registry
    other.submit(1)
    assert [new.pool for _, new in summary.update()] == ["big"]
    assert [new.pool for _, new in big.update()] == ["big"]
    assert len(summary.live) == 3


def test_delays_are_counted_in_buckets() -> None:
    """A bound belongs to the bucket below it; the last bucket has no bound."""
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert BUCKETS[-1] == math.inf
    delays = Delays()
    assert delays.median() is None
    for seconds in (0.0, 1.0, 1.1, 1e9):
        delays.add(seconds)
    assert len(delays) == 4
    assert delays.counts[BUCKETS.index(1)] == delays.counts[BUCKETS.index(2)] == 1
    assert delays.counts[-1] == 1
    assert delays.total == 1e9 + 2.1
    assert delays.median() == 1.05
