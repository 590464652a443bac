"""Who lives, and why the others do not, in numbers."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import ENDED_KEPT
from dask_gridengine.nodes.summary import Standing
from tests.simulated import Nodes


def test_it_counts_those_that_live_and_why_the_others_ended() -> None:
    """Hosts, the oldest in the queue, failures by cause."""
    nodes = Nodes()
    a, b, c, d, _ = nodes.submit(5)
    standing = Standing(nodes.view, clock=nodes.clock)
    for record, host in ((a, "node1"), (b, "node1"), (c, "node2"), (d, "node3")):
        nodes.arrive(record, host)
    for record in (a, b, c):
        nodes.work(record)
    nodes.end(b, Cause.MEMORY)
    nodes.end(c, Cause.CANCELLED)
    nodes.clock.now += 90
    standing.look()
    assert [row.job for row in standing.live.values()] == ["7.1", "7.4", "7.5"]
    assert standing.hosts("working") == 1
    assert standing.hosts("working", "arrived") == 2
    assert standing.queued_for() == 90
    assert standing.failed == 1
    assert standing.failures() == [("ran into the memory limit", 1)]
    assert standing.ended[("was cancelled", False)] == 1


def test_a_better_cause_replaces_the_first_one() -> None:
    """What accounting says later is not counted beside what was thought before."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    standing = Standing(nodes.view)
    nodes.end(record, Cause.UNKNOWN)
    standing.look()
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME)
    standing.look()
    assert dict(standing.ended) == {("ran into its walltime", True): 1}


def test_nodes_that_are_not_kept_are_counted_by_cause() -> None:
    """For a page that is opened late, and for one that saw them live."""
    nodes = Nodes()
    early = Standing(nodes.view, clock=nodes.clock)
    staying, *others = nodes.submit(ENDED_KEPT + 1_000)
    early.look()
    for record in others:
        nodes.end(record, Cause.MEMORY if record.number % 2 else Cause.CANCELLED)
    late = Standing(nodes.view, clock=nodes.clock)
    for standing in (early, late):
        standing.look()
        assert sum(standing.ended.values()) == len(others)
        assert standing.failed == len(others) // 2 + 1
        assert list(standing.live) == [("", str(staying.id))]
