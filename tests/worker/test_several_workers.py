"""Clusters whose nodes are several workers each."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster, OptionError
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.registry import NodeState
from tests.nannies import watched
from tests.waiting import wait_until


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "slots": 6, "cores": 2, "processes": 2}


def workers(cluster: GridEngineCluster) -> list[str]:
    infos = cluster.scheduler_info["workers"].values()
    return sorted(info["name"] for info in infos)


def working(cluster: GridEngineCluster) -> int:
    return cluster.counts.get(NodeState.WORKING.value, 0)


def test_a_node_has_several_workers(
    options: dict[str, Any],
) -> None:
    """They share its cores and memory; Dask's counts agree with each other."""
    with (
        GridEngineCluster(jobs=2, memory="1 GB", **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(4, timeout=30)
        names = {"ge-0-0", "ge-0-1", "ge-1-0", "ge-1-1"}
        assert cluster.plan == cluster.requested == cluster.observed == names
        infos = cluster.scheduler_info["workers"].values()
        assert {info["nthreads"] for info in infos} == {1}
        assert {info["memory_limit"] for info in infos} == {500_000_000}
        assert working(cluster) == len(cluster.jobs()) == 2
        for name in ("ge-1", "ge-1-1"):
            assert "became ge-1" in cluster.explain(name)


@pytest.mark.parametrize(
    ("requested", "nodes"),
    [
        ({"n": 4}, 2),
        ({"n": 5}, 3),
        ({"jobs": 3}, 3),
        ({"cores": 5}, 3),
        ({"memory": "2.5 GB"}, 3),
    ],
)
def test_scale_counts_workers_jobs_nodes(
    options: dict[str, Any], requested: dict[str, Any], nodes: int
) -> None:
    """In whole nodes, of two workers, two cores and 1 GB here."""
    with GridEngineCluster(memory="1 GB", **options) as cluster:
        cluster.scale(**requested)
        assert cluster.wanted == len(cluster.jobs()) == nodes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"processes": 3}, "cores=3"),
        ({"nanny": False}, "nanny=False"),
        ({"jobs": 2, "n_workers": 6}, "give one"),
    ],
)
def test_options_that_contradict_each_other_are_rejected(
    options: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    """Before anything is submitted, with what to type instead."""
    with pytest.raises(OptionError, match=message):
        GridEngineCluster(**{**options, **wrong})


def test_scaling_down_removes_whole_nodes_and_loses_nothing(
    options: dict[str, Any],
) -> None:
    """The data of both workers of a node moves to other nodes; no task runs again."""
    with (
        GridEngineCluster(jobs=3, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(6, timeout=30)
        held = client.map(os.urandom, [100] * 60, pure=False)
        before = client.gather(held)
        holders = {node_of(name) for name in _holders(client, cluster)}
        assert len(holders) == 3
        cluster.scale(n=2)
        wait_until(lambda: len(workers(cluster)) == 2, "one node", 30)
        assert len({node_of(name) for name in workers(cluster)}) == 1
        assert client.gather(held) == before
        wait_until(lambda: cluster.counts.get("gone") == 2, "two gone", 20)


def _holders(client: Client, cluster: GridEngineCluster) -> set[str]:
    names = {a: i["name"] for a, i in cluster.scheduler_info["workers"].items()}
    return {names[a] for a, keys in client.has_what().items() if keys}


def test_a_killed_worker_costs_no_node(options: dict[str, Any]) -> None:
    """It is started again there; no job is submitted, and its end is explained."""
    with (
        GridEngineCluster(jobs=2, **options) as cluster,
        Client(cluster) as client,
    ):
        watched(client, 4)
        before = client.run(os.getpid)
        victim = min(before)
        os.kill(before[victim], signal.SIGKILL)
        wait_until(
            lambda: (
                victim not in cluster.scheduler_info["workers"]
                and len(workers(cluster)) == 4
            ),
            "whole again",
            30,
            lambda: workers(cluster),
        )
        assert len(cluster.jobs()) == working(cluster) == 2
        assert "ended with SIGKILL" in cluster.explain()
        after = client.run(os.getpid)
        assert len(before.items() & after.items()) == 3, "the others go on"
