"""Log tails of ended nodes."""

from __future__ import annotations

import pytest

from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.log_tails import log_tail
from dask_gridengine.nodes.registry import NodeRegistry, NodeState


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
