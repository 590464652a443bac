"""Clusters with several kinds of nodes, and tasks that require one kind."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from distributed import Client, get_worker

from dask_gridengine import (
    GridEngineCluster,
    NodesFailed,
    OptionError,
    Unsatisfiable,
)
from dask_gridengine.cluster.adaptive import GridAdaptive
from tests.nannies import watched
from tests.waiting import until, wait_until

POOLS = {"cpu": {"slots": 3}, "big": {"slots": 2, "resources": {"BIG": 1}}}


@pytest.fixture
def pooled(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "pools": POOLS}


def worker_name(*_: object) -> str:
    return str(get_worker().name)


def names(cluster: GridEngineCluster) -> list[str]:
    infos = cluster.scheduler_info["workers"].values()
    return sorted(info["name"] for info in infos)


def test_tasks_run_where_they_must(pooled: dict[str, Any]) -> None:
    """What requires a resource runs on the nodes that have it, named after the pool."""
    jobs = {"cpu": 2, "big": 1}
    with (
        GridEngineCluster(jobs=jobs, **pooled) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(3, timeout=30)
        assert names(cluster) == ["big-0", "cpu-0", "cpu-1"]
        needy = client.map(worker_name, range(5), resources={"BIG": 1}, pure=False)
        assert set(client.gather(needy)) == {"big-0"}
        assert {row.pool for row in cluster.jobs()} == {"cpu", "big"}
        assert "pool" in repr(cluster.jobs()).splitlines()[0]
        assert cluster.counts == {"working": 3}
        text = cluster.explain().splitlines()
        assert text[0] == "pool cpu:"
        assert text[1] == "2 nodes requested: 2 working."
        assert "pool big:" in text
        assert "became big-0" in cluster.explain("big-0")


def test_each_pool_is_scaled_by_its_name(pooled: dict[str, Any]) -> None:
    """The others stay as they are; a dict says it of several, zero of all."""
    with GridEngineCluster(jobs={"cpu": 1}, **pooled) as cluster:
        cluster.wait_for_workers(1, timeout=30)
        cluster.scale(pool="big", jobs=1)
        cluster.wait_for_workers(2, timeout=30)
        assert names(cluster) == ["big-0", "cpu-0"]
        cluster.scale(jobs={"big": 0, "cpu": 2})
        wait_until(
            lambda: names(cluster) == ["cpu-0", "cpu-1"], "two of cpu", 30, cluster.jobs
        )
        assert cluster.pool("cpu").wanted == cluster.wanted == 2
        cluster.scale(0)
        wait_until(lambda: names(cluster) == [], "no nodes", 30, cluster.jobs)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"n": 2}, "several pools[\\s\\S]*cpu, big"),
        ({"jobs": 1, "pool": "huge"}, "no pool 'huge'[\\s\\S]*cpu, big"),
        ({"jobs": {"huge": 1}}, "no pool 'huge'"),
        ({"jobs": {"big": -1}}, "at least 0"),
        ({"jobs": {"big": 1}, "n": 3}, "no other arguments"),
    ],
)
def test_a_number_needs_its_pool(
    pooled: dict[str, Any], asked: dict[str, Any], text: str
) -> None:
    """The message lists those there are, and nothing has changed."""
    with GridEngineCluster(**pooled) as cluster:
        with pytest.raises(OptionError, match=text):
            cluster.scale(**asked)
        assert cluster.wanted == 0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"jobs": 2}, "jobs=2: of which pool"),
        ({"jobs": {"huge": 1}}, "no pool 'huge'. There are: cpu, big"),
        ({"pools": {"a-1": {}}}, "'a-1' cannot be the name of a pool"),
        ({"pools": {"a": 3}}, "expected a dict of options"),
        ({"pools": {"a": {"security": False}}}, "whole cluster"),
        ({"pools": {"a": {"resources": {"GPU": 0}}}}, "pool a: .*GPU=0"),
        ({"pools": {"a": {"interface": "ib9"}}}, "pool a: .*ib9"),
    ],
)
def test_pools_that_make_no_sense_are_refused(
    pooled: dict[str, Any], wrong: dict[str, Any], text: str
) -> None:
    """Before anything is requested, with what to type instead."""
    with pytest.raises(OptionError, match=text):
        GridEngineCluster(**{**pooled, **wrong})


def test_each_pool_replaces_its_own_nodes(pooled: dict[str, Any]) -> None:
    """A node of one kind is replaced by one of its kind."""
    with (
        GridEngineCluster(jobs={"cpu": 1, "big": 1}, **pooled) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=30)
        watched(client, 2)
        (victim,) = [row for row in cluster.jobs() if row.pool == "big"]
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(
            lambda: names(cluster) == ["big-1", "cpu-0"], "another", 30, cluster.explain
        )
        assert (
            client.submit(worker_name, resources={"BIG": 1}).result(timeout=30)
            == "big-1"
        )


async def test_each_pool_follows_its_own_work(pooled: dict[str, Any]) -> None:
    """Adaptive scaling requests the nodes that waiting tasks require, and no other; it
    ends for a pool that is scaled by hand.
    """
    async with (
        GridEngineCluster(asynchronous=True, **pooled) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        adaptives = cluster.adapt(
            maximum_jobs=2, interval="50 ms", idle_grace="200 ms", wait_count=1
        )
        assert set(adaptives) == {"cpu", "big"}
        assert isinstance(adaptives["big"], GridAdaptive)
        assert await client.submit(worker_name, resources={"BIG": 1}) == "big-0"
        assert cluster.pool("cpu").wanted == 0
        await until(lambda: cluster.wanted == 0, "no nodes", 30, cluster.explain)
        assert await client.submit(worker_name) == "cpu-0"
        assert cluster.pool("big").wanted == 0
        await cluster.scale(pool="big", jobs=1)
        assert set(adaptives) == {"cpu"}
        cpu = cluster.pool("cpu")
        await until(lambda: cpu.wanted == 0, "no cpu", 30, cluster.explain)
        assert cluster.pool("big").wanted == 1


def test_the_only_pool_needs_no_name(
    pooled: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A cluster with one named pool is scaled and closed like one without pools."""
    pooled["pools"] = {"big": {}}
    with GridEngineCluster(jobs={"big": 1}, **pooled) as cluster:
        cluster.scale(jobs=2)
        assert cluster.pool() is cluster.pool("big")
        assert cluster.wanted == 2
    assert [r for r in caplog.records if "failed" in r.getMessage()] == []


def test_what_no_pool_has_fails_at_once(pooled: dict[str, Any]) -> None:
    """Dask lets such a task wait for ever; here its future raises, and says why."""
    with (
        GridEngineCluster(jobs={"cpu": 1}, **pooled) as cluster,
        Client(cluster) as client,
    ):
        wrong = client.submit(worker_name, 1, resources={"GPU": 1})
        with pytest.raises(Unsatisfiable, match=r"requires GPU 1.*big: BIG 1"):
            wrong.result(timeout=30)
        too_much = client.submit(worker_name, 2, resources={"BIG": 2})
        with pytest.raises(Unsatisfiable, match="requires BIG 2"):
            too_much.result(timeout=30)
        assert client.submit(worker_name).result(timeout=30) == "cpu-0"


def test_a_pool_without_nodes_is_named(pooled: dict[str, Any]) -> None:
    """Its tasks wait, explain() says what to type, and that helps."""
    with (
        GridEngineCluster(jobs={"cpu": 1}, **pooled) as cluster,
        Client(cluster) as client,
    ):
        waits = client.submit(worker_name, resources={"BIG": 1})
        text = "Hint: cluster.scale(pool='big', jobs=1)"
        wait_until(lambda: text in cluster.explain(), text, 10, cluster.explain)
        cluster.scale(pool="big", jobs=1)
        assert waits.result(timeout=30) == "big-0"
        wait_until(lambda: text not in cluster.explain(), "no more", 10)


def test_without_pools_the_task_waits(pooled: dict[str, Any]) -> None:
    """The user may start workers that have it by other means."""
    del pooled["pools"]
    with GridEngineCluster(jobs=1, **pooled) as cluster, Client(cluster) as client:
        waits = client.submit(worker_name, resources={"GPU": 1})
        text = "requires GPU 1, which no node of this cluster has"
        wait_until(lambda: text in cluster.explain(), text, 10, cluster.explain)
        assert waits.status == "pending"


def test_tasks_for_a_pool_that_fails_get_its_error(pooled: dict[str, Any]) -> None:
    """The tasks of the other pool go on."""
    pools = {
        "cpu": {"slots": 2},
        "bad": {"resources": {"BIG": 1}, "python": "/nowhere/python"},
    }
    jobs = {"cpu": 1, "bad": 3}
    with (
        GridEngineCluster(jobs=jobs, **{**pooled, "pools": pools}) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=30)
        needs = client.submit(worker_name, 1, resources={"BIG": 1})
        with pytest.raises(NodesFailed, match="could not find Python"):
            needs.result(timeout=60)
        assert client.submit(worker_name).result(timeout=30) == "cpu-0"
