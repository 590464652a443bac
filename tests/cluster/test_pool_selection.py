"""What tasks require, and what becomes of those that no node can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed import Client, get_worker

from dask_gridengine import GridEngineCluster, NodesFailed, Unsatisfiable
from dask_gridengine.cluster.demand import satisfies, share
from tests.waiting import wait_until

POOLS = {"cpu": {"slots": 3}, "big": {"slots": 2, "resources": {"BIG": 1}}}


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    return {
        "launcher": "process",
        "pools": POOLS,
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
    }


def who(*_: object) -> str:
    return str(get_worker().name)


@pytest.mark.parametrize(
    ("offered", "required", "able"),
    [
        ({}, None, True),
        ({"GPU": 2.0}, {}, True),
        ({"GPU": 2.0}, {"GPU": 2}, True),
        ({"GPU": 2.0}, {"GPU": 3}, False),
        ({"GPU": 2.0}, {"GPU": 1, "BIG": 1}, False),
    ],
)
def test_a_worker_has_all_that_is_required(
    offered: dict[str, float], required: dict[str, float] | None, able: bool
) -> None:
    """As Dask has it: enough of each."""
    assert satisfies(offered, required) is able


@pytest.mark.parametrize(
    ("offered", "threads", "required", "part"),
    [
        ({}, 4, None, 0.25),
        ({"GPU": 1.0}, 4, {"GPU": 1}, 1.0),
        ({"GPU": 4.0}, 2, {"GPU": 1}, 0.5),
        ({"GPU": 2.0, "BIG": 1.0}, 8, {"GPU": 1, "BIG": 1}, 1.0),
    ],
)
def test_a_task_takes_the_scarcest_part(
    offered: dict[str, float],
    threads: int,
    required: dict[str, float] | None,
    part: float,
) -> None:
    """A thread, or what it requires of a resource, whichever is more."""
    assert share(offered, threads, required) == part


def test_what_no_pool_has_is_said_at_once(options: dict[str, Any]) -> None:
    """Dask lets such a task wait for ever; here its future raises, and says why."""
    with (
        GridEngineCluster(jobs={"cpu": 1}, **options) as cluster,
        Client(cluster) as client,
    ):
        wrong = client.submit(who, 1, resources={"GPU": 1})
        with pytest.raises(Unsatisfiable, match=r"requires GPU 1.*big: BIG 1"):
            wrong.result(timeout=30)
        too_much = client.submit(who, 2, resources={"BIG": 2})
        with pytest.raises(Unsatisfiable, match="requires BIG 2"):
            too_much.result(timeout=30)
        assert client.submit(who).result(timeout=30) == "cpu-0"


def test_a_pool_that_nobody_asked_for_is_named(options: dict[str, Any]) -> None:
    """Its tasks wait, explain() says what to type, and that helps."""
    with (
        GridEngineCluster(jobs={"cpu": 1}, **options) as cluster,
        Client(cluster) as client,
    ):
        waits = client.submit(who, resources={"BIG": 1})
        said = "Hint: cluster.scale(pool='big', jobs=1)"
        wait_until(lambda: said in cluster.explain(), said, 10, cluster.explain)
        cluster.scale(pool="big", jobs=1)
        assert waits.result(timeout=30) == "big-0"
        wait_until(lambda: said not in cluster.explain(), "no more", 10)


def test_without_pools_it_is_only_said(options: dict[str, Any]) -> None:
    """Somebody may start workers that have it by other means."""
    del options["pools"]
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        waits = client.submit(who, resources={"GPU": 1})
        said = "requires GPU 1, which no node of this cluster has"
        wait_until(lambda: said in cluster.explain(), said, 10, cluster.explain)
        assert waits.status == "pending"


def test_who_needs_a_pool_that_cannot_come_hears_why(options: dict[str, Any]) -> None:
    """The tasks of the other pool go on."""
    pools = {
        "cpu": {"slots": 2},
        "bad": {"resources": {"BIG": 1}, "python": "/nowhere/python"},
    }
    jobs = {"cpu": 1, "bad": 3}
    with (
        GridEngineCluster(jobs=jobs, **{**options, "pools": pools}) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=30)
        needs = client.submit(who, 1, resources={"BIG": 1})
        with pytest.raises(NodesFailed, match="could not find Python"):
            needs.result(timeout=60)
        assert client.submit(who).result(timeout=30) == "cpu-0"
