"""The last words of nodes that are gone."""

from __future__ import annotations

import pytest

from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.log_tails import log_tail
from dask_gridengine.nodes.registry import NodeRegistry, NodeState


def dead(*words: str) -> NodeRegistry:
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(len(words)))
    for i, (record, said) in enumerate(zip(registry, words, strict=True)):
        record.worker, record.host, record.log_tail = f"ge-{i}", "node1", said
        registry.move(record, NodeState.GONE)
    return registry


def test_each_dead_node_speaks_under_its_worker_and_job() -> None:
    """People look for either name."""
    said = log_tail(dead("oh", "no"), True)
    assert said == {"ge-0 (node 7.1 on node1)": "oh", "ge-1 (node 7.2 on node1)": "no"}


@pytest.mark.parametrize("asked", ["ge-1", "7.2", ["7.2", "ge-77"]])
def test_one_can_be_asked_for(asked: str | list[str]) -> None:
    """By the worker's name or the job's id."""
    assert list(log_tail(dead("oh", "no"), asked).values()) == ["no"]


def test_who_lives_or_said_nothing_is_left_out() -> None:
    """Dask asks the living itself; and nobody needs empty entries."""
    registry = dead("", "no")
    registry.submitted([NodeId("8", 1)])
    assert len(log_tail(registry, True)) == 1
    assert log_tail(registry, False) == {}
