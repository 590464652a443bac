"""Names of nodes and of their workers."""

from __future__ import annotations

import pytest

from dask_gridengine.naming import node_name, node_of, nodes_of, suffixes


@pytest.mark.parametrize("processes", [1, 2, 11])
def test_a_workers_name_leads_to_its_node(processes: int) -> None:
    """And no two workers have the same."""
    node = node_name(7)
    workers = [node + suffix for suffix in suffixes(processes)]
    assert len({*workers}) == processes
    assert nodes_of(workers) == [node]


def test_one_worker_is_called_as_its_node() -> None:
    """So that most people meet one name only."""
    assert suffixes(1) == [""]


@pytest.mark.parametrize("name", ["ge-1", "tcp://10.0.0.1:80", "x-y-2", 3, None, "ge-"])
def test_names_that_are_not_ours_stay_as_they_are(name: object) -> None:
    """Anybody may connect a worker with any name to the scheduler."""
    assert node_of(name) == name


def test_each_node_is_named_once() -> None:
    """In the order of its first worker."""
    assert nodes_of(["ge-2-1", "ge-0-0", "ge-2-0"]) == ["ge-2", "ge-0"]
