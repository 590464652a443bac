"""Names of nodes and of their workers."""

from __future__ import annotations

import pytest

from dask_gridengine.naming import node_name, node_of, nodes_of, suffixes


@pytest.mark.parametrize("processes", [1, 2, 11])
def test_a_workers_name_has_its_nodes_name(processes: int) -> None:
    """And no two workers have the same name."""
    node = node_name(7)
    workers = [node + suffix for suffix in suffixes(processes)]
    assert len({*workers}) == processes
    assert nodes_of(workers) == [node]


def test_a_single_worker_has_its_nodes_name() -> None:
    """So that most users see one name only."""
    assert suffixes(1) == [""]


@pytest.mark.parametrize("name", ["ge-1", "tcp://10.0.0.1:80", "x-y-2", 3, None, "ge-"])
def test_other_names_stay_as_they_are(name: object) -> None:
    """Users may connect other workers to the scheduler."""
    assert node_of(name) == name


def test_each_node_is_named_once() -> None:
    """In the order of its first worker."""
    assert nodes_of(["ge-2-1", "ge-0-0", "ge-2-0"]) == ["ge-2", "ge-0"]
