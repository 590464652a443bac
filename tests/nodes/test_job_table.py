"""``cluster.jobs()`` as a table."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.job_table import SHOWN, JobTable
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
    assert head.split() == [
        "job",
        "host",
        "state",
        "since",
        "worker",
        "peak",
        "memory",
        "cause",
    ]
    assert one.startswith("7.1  node1  importing")
    assert "ge-0" in one and "3.00 GiB" in one  # noqa: PT018
    assert two.endswith("was deleted")
    assert [str(row.id) for row in table] == ["7.1", "7.2"]
    assert table.counts() == {"importing": 1, "gone": 1}
    assert (len(table), table[0].pid, table[1:][0].cause) == (2, 4242, "was deleted")


def test_it_is_a_copy() -> None:
    """What happens later does not change it, so it can be kept and compared."""
    registry = some(1)
    table = JobTable(registry)
    registry.move(*registry, NodeState.GONE)
    assert table[0].state is NodeState.QUEUED


def test_a_cause_is_told_only_of_what_ends() -> None:
    """A node that was refused at the door and has not left yet is still there."""
    registry = some(1)
    (record,) = registry
    record.diagnosis = Diagnosis(cause=Cause.VERSIONS)
    assert JobTable(registry)[0].cause == ""


def test_many_nodes_are_summed_up() -> None:
    """The living are shown first; a line counts them all."""
    registry = some(3 * SHOWN)
    for record in list(registry)[: 2 * SHOWN + 5]:
        registry.move(record, NodeState.GONE)
    lines = repr(JobTable(registry)).splitlines()
    assert len(lines) == SHOWN + 2
    assert lines[-1] == f"... {3 * SHOWN} nodes in all: 15 queued, 45 gone"
    assert sum("queued" in line for line in lines[1:-1]) == 15
    shown = [line.split()[0] for line in lines[1:-1]]
    assert shown == [f"7.{i}" for i in range(41, 61)], "the last ends, then the living"


def test_html_is_safe_to_show() -> None:
    """A host may call itself anything."""
    registry = some(1)
    (record,) = registry
    registry.arrive(record, hello(job="7", host="<script>"))
    shown = JobTable(registry)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
