"""The table of ``cluster.jobs()``, and the log tails of ended nodes."""

from __future__ import annotations

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRegistry, NodeState
from dask_gridengine.views.job_table import MAX_PRINTED, JobTable, log_tail
from tests.samples import hello
from tests.simulated import Nodes


def some(count: int) -> NodeRegistry:
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(count))
    return registry


def test_it_has_a_line_for_each_node() -> None:
    """Job id, host, state, since, worker, peak memory, cause."""
    registry = some(2)
    registry.unbound.append("ge-0")
    first, second = registry
    registry.arrive(first, hello(job="7", host="<node1>"))
    registry.bind(first)
    first.peak_memory = 3 * 2**30
    second.diagnosis = Diagnosis(cause=Cause.DELETED)
    registry.move(second, NodeState.GONE)
    table = JobTable(registry)
    head, one, two = repr(table).splitlines()
    assert " ".join(head.split()) == "job host state since worker peak memory cause"
    assert one.split()[:3] == ["7.1", "<node1>", "importing"]
    assert {"ge-0", "3"} <= {*one.split()}
    assert two.endswith("was deleted")
    assert [str(row.id) for row in table] == ["7.1", "7.2"]
    assert table.counts() == {"importing": 1, "gone": 1}
    assert ">&lt;node1&gt;</td>" in table._repr_html_()
    registry.move(first, NodeState.GONE)
    assert table[0].state is NodeState.IMPORTING, "it is a copy"
    assert (len(table), table[0].pid, table[1:][0].cause) == (2, 4242, "was deleted")


def test_a_live_node_has_what_its_worker_died_of() -> None:
    """In the column of causes."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.arrive(record)
    nodes.work(record)
    nodes.restart(record)
    assert "its worker was killed, restarted" in repr(JobTable(nodes.registry))


def test_many_nodes_are_printed_in_part() -> None:
    """Live ones and the last that ended; a line counts them all."""
    registry = some(3 * MAX_PRINTED)
    for record in list(registry)[: 2 * MAX_PRINTED + 5]:
        registry.move(record, NodeState.GONE)
    lines = repr(JobTable(registry, dropped=4)).splitlines()
    assert len(lines) == MAX_PRINTED + 3
    assert [line.split()[0] for line in lines[1:-2]] == [
        f"7.{i}" for i in range(41, 61)
    ]
    assert "15 queued, 45 gone" in lines[-2]
    assert " 4 " in lines[-1]


def ended(*tails: str) -> NodeRegistry:
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(len(tails)))
    for i, (record, tail) in enumerate(zip(registry, tails, strict=True)):
        record.worker, record.host, record.log_tail = f"ge-{i}", "node1", tail
        registry.move(record, NodeState.GONE)
    return registry


def test_each_tail_has_its_worker_and_job_as_title() -> None:
    """Users search for either name."""
    tails = log_tail(ended("oh", "no"), True)
    assert tails == {"ge-0 (node 7.1 on node1)": "oh", "ge-1 (node 7.2 on node1)": "no"}


@pytest.mark.parametrize("workers", ["ge-1", "7.2", ["7.2", "ge-77"]])
def test_nodes_can_be_chosen(workers: str | list[str]) -> None:
    """By the worker's name or the job's id."""
    assert list(log_tail(ended("oh", "no"), workers).values()) == ["no"]


def test_live_nodes_and_empty_tails_are_left_out() -> None:
    """Dask itself asks live workers."""
    registry = ended("", "no")
    registry.submitted([NodeId("8", 1)])
    assert len(log_tail(registry, True)) == 1
    assert log_tail(registry, False) == {}
