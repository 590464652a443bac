"""Nodes as rows."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from tests.simulated import START, Nodes, pooled


def test_a_row_has_times_host_and_cause() -> None:
    """When the node entered each state, its delays, why it ended."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    record.diagnosis = Diagnosis(cause=Cause.VERSIONS)
    (row,) = nodes.history.rows()
    assert (row.queue_wait, row.startup, row.cause) == (None, None, ""), "not ended"
    assert list(row.periods) == [("queued", START, None)]
    nodes.clock.now += 60
    nodes.arrive(record, "node3", age=2.0)
    nodes.clock.now += 8
    nodes.work(record)
    nodes.clock.now += 100
    nodes.end(record, Cause.MEMORY)
    (row,) = nodes.history.rows()
    assert (str(row.id), row.worker, row.host) == ("7.1", "ge-0", "node3")
    assert row.ended
    assert row.entered == {
        "queued": START,
        "arrived": START + 60,
        "importing": START + 68,
        "working": START + 68,
        "gone": START + 168,
    }
    assert (row.queue_wait, row.startup) == (58.0, 10.0)
    assert (row.cause, row.source) == (Cause.MEMORY.value, "exit report")
    assert row.failed
    assert list(row.periods) == [
        ("queued", START, START + 60),
        ("arrived", START + 60, START + 68),
        ("importing", START + 68, START + 68),
        ("working", START + 68, START + 168),
    ]


def test_a_row_holds_no_secret() -> None:
    """Evidence of an end quotes logs and commands: rows have only the cause."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    record.log_tail = "TOKEN=hunter2"
    nodes.end(record)
    record.diagnosis = Diagnosis(cause=Cause.NO_PYTHON, detail="python --key hunter2")
    assert "hunter2" not in repr(nodes.history.rows())


def test_nodes_are_counted_by_state_and_pool() -> None:
    """The same job id may exist in two pools."""
    history, nodes = pooled(small=2, big=1)
    nodes["small"].end(next(iter(nodes["small"].registry)))
    assert history.requested == 3
    assert (history.counts()["queued"], history.counts()["gone"]) == (2, 1)
    assert history.counts("small")["queued"] == history.counts("big")["queued"] == 1
    assert [(row.pool, str(row.id)) for row in history.rows()] == [
        ("small", "7.1"),
        ("small", "7.2"),
        ("big", "7.1"),
    ]
    assert len(history.rows(live=True)) == 2
