"""Nodes as rows, and what has changed of them."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.history import SETTLED, ChangeFollower, NodeHistory
from dask_gridengine.nodes.registry import NodeRegistry
from tests.simulated import START, Nodes


def test_a_row_has_the_whole_way() -> None:
    """When it came into each state, how long it waited and started, why it ended."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.clock.now += 60
    nodes.arrive(record, "node3", age=2.0)
    nodes.clock.now += 8
    nodes.work(record)
    nodes.clock.now += 100
    nodes.end(record, Cause.MEMORY)
    (row,) = nodes.view.rows()
    assert (row.job, row.worker, row.host, row.state) == (
        "7.1",
        "ge-0",
        "node3",
        "gone",
    )
    assert row.entered == {
        "queued": START,
        "arrived": START + 60,
        "importing": START + 68,
        "working": START + 68,
        "gone": START + 168,
    }
    assert (row.wait, row.startup) == (58.0, 10.0)
    assert (row.cause, row.source, row.failed) == (
        "ran into the memory limit",
        "exit_report",
        True,
    )
    assert list(row.stays) == [
        ("queued", START, START + 60),
        ("arrived", START + 60, START + 68),
        ("importing", START + 68, START + 68),
        ("working", START + 68, START + 168),
    ]


def test_a_suspended_node_is_a_change_and_has_a_stay_of_its_own() -> None:
    """For as long as it is suspended; every count names that state."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.arrive(record)
    nodes.work(record)
    follower = ChangeFollower(nodes.view, clock=nodes.clock)
    follower.look()
    nodes.clock.now += 60
    nodes.registry.suspend(record)
    (change,) = follower.look()
    assert change.new.state == "suspended"
    assert [*change.new.stays][-2:] == [
        ("working", START, START + 60),
        ("suspended", START + 60, None),
    ]
    assert nodes.view.counts()["suspended"] == 1
    assert nodes.view.counts()["working"] == 0
    nodes.registry.resume(record)
    (change,) = follower.look()
    assert (change.new.state, "suspended" in change.new.entered) == ("working", False)


def test_what_has_not_happened_is_none() -> None:
    """A node in the queue has waited for nothing yet, and is not over."""
    nodes = Nodes()
    nodes.submit(1)
    (row,) = nodes.view.rows()
    assert (row.wait, row.startup, row.cause, row.over) == (None, None, "", False)
    assert list(row.stays) == [("queued", START, None)]


def test_nothing_secret_is_in_a_row() -> None:
    """Evidence of an end quotes logs and commands: rows have the cause alone."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    record.log_tail = "TOKEN=hunter2"
    nodes.end(record)
    record.diagnosis = Diagnosis(cause=Cause.NO_PYTHON, detail="python --key hunter2")
    assert "hunter2" not in repr(nodes.view.rows())


def test_only_changes_are_told() -> None:
    """Everything first, then nothing until something is another than it was."""
    nodes = Nodes()
    first, _ = nodes.submit(2)
    follower = ChangeFollower(nodes.view, clock=nodes.clock)
    assert [(old, new.job) for old, new in follower.look()] == [
        (None, "7.1"),
        (None, "7.2"),
    ]
    assert follower.look() == []
    nodes.arrive(first)
    ((old, new),) = follower.look()
    assert old is not None
    assert (old.state, new.state) == ("queued", "arrived")
    nodes.submit(1, "8")
    assert [new.job for _, new in follower.look()] == ["8.1"]


def test_what_the_grid_says_later_is_told_and_then_nobody_looks() -> None:
    """Accounting comes after the end; minutes later a node is not looked at again."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.UNKNOWN)
    follower = ChangeFollower(nodes.view, clock=nodes.clock)
    follower.look()
    nodes.clock.now += SETTLED / 2
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME, source="accounting")
    assert [new.cause for _, new in follower.look()] == ["ran into its walltime"]
    nodes.clock.now += SETTLED
    assert follower.look() == []
    record.diagnosis = Diagnosis(cause=Cause.MEMORY)
    assert follower.look() == []


def test_pools_are_told_apart() -> None:
    """Two rosters may have nodes of the same id; a pool may come later."""
    one, other = Nodes(), Nodes()
    pools: dict[str, NodeRegistry] = {"small": one.registry}
    view = NodeHistory("both", lambda: pools, lambda: {"small": 2, "big": 1})
    follower = ChangeFollower(view)
    one.submit(2)
    assert [new.key for _, new in follower.look()] == [
        ("small", "7.1"),
        ("small", "7.2"),
    ]
    pools["big"] = other.registry
    other.submit(1)
    assert [new.key for _, new in follower.look()] == [("big", "7.1")]
    assert view.counts()["queued"] == view.wanted == 3
    assert len(view.rows()) == 3
