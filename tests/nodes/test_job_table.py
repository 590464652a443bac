"""The table of ``cluster.jobs()``."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.job_table import MAX_PRINTED, JobTable
from dask_gridengine.nodes.registry import NodeRegistry, NodeState
from tests.samples import hello


def some(count: int) -> NodeRegistry:
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(count))
    return registry


def test_it_has_a_line_for_each_node() -> None:
    """Job id, host, state, since, worker, peak memory, cause."""
    registry = some(2)
    registry.unbound.append("ge-0")
    first, second = registry
    registry.arrive(first, hello(job="7", host="node1"))
    registry.bind(first)
    first.peak_memory = 3 * 2**30
    second.diagnosis = Diagnosis(cause=Cause.DELETED)
    registry.move(second, NodeState.GONE)
    table = JobTable(registry)
    head, one, two = repr(table).splitlines()
    assert " ".join(head.split()) == "job host state since worker peak memory cause"
    assert one.split()[:3] == ["7.1", "node1", "importing"]
    assert {"ge-0", "3.00"} <= {*one.split()}
    assert two.endswith("was deleted")
    assert [str(row.id) for row in table] == ["7.1", "7.2"]
    assert table.counts() == {"importing": 1, "gone": 1}
    assert (len(table), table[0].pid, table[1:][0].cause) == (2, 4242, "was deleted")


def test_it_is_a_copy() -> None:
    """Later changes of the nodes do not change it."""
    registry = some(1)
    table = JobTable(registry)
    registry.move(*registry, NodeState.GONE)
    assert table[0].state is NodeState.QUEUED


def test_only_an_end_has_a_cause() -> None:
    """A rejected node that has not left yet has none."""
    registry = some(1)
    (record,) = registry
    record.diagnosis = Diagnosis(cause=Cause.VERSIONS)
    assert JobTable(registry)[0].cause == ""


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


def test_html_is_escaped() -> None:
    """A host may have any name."""
    registry = some(1)
    (record,) = registry
    registry.arrive(record, hello(job="7", host="<script>"))
    shown = JobTable(registry)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
