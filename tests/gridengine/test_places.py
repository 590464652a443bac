"""Somebody's client as a place to run on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import gridengine
from dask_gridengine import GridEngineCluster, NodesFailed
from gridengine.places import ClientPlace, in_task
from gridengine.schedulers import DASK_SCHEDULER
from gridengine.tally import Tally
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


def test_slots_are_the_threads_of_its_workers(client: Client) -> None:
    """As many items run at the same time as its workers have threads."""
    place = ClientPlace(client)
    assert place.slots() == 2
    assert place.tally() == Tally(workers=1, wanted=1, queued=0)


def test_results_come_directly_where_that_is_possible(client: Client) -> None:
    """Workers that answer from here are asked; one look is enough to know."""
    assert ClientPlace(client).direct is True


def test_what_the_client_was_told_holds(somebodys: LocalCluster) -> None:
    """direct_to_workers=False, as behind a gateway, is respected."""
    with Client(somebodys, set_as_default=False, direct_to_workers=False) as client:
        assert ClientPlace(client).direct is False
        assert gridengine.map(abs, range(-5, 0), client=client) == [5, 4, 3, 2, 1]


def test_a_closed_client_is_no_place(somebodys: LocalCluster) -> None:
    """The error says that it was closed."""
    client = Client(somebodys, set_as_default=False)
    place = ClientPlace(client)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        place.check()


def test_an_asynchronous_client_is_refused(somebodys: LocalCluster) -> None:
    """map blocks, and would block the client's own loop; the error says what to do."""

    async def use() -> Any:
        async with Client(
            somebodys.scheduler_address, asynchronous=True, set_as_default=False
        ) as client:
            return gridengine.map(abs, [1], client=client)

    with pytest.raises(TypeError, match="asynchronous"):
        asyncio.run(use())


def test_in_task(client: Client) -> None:
    """A task knows that it is one; this thread is none."""
    assert not in_task()
    assert client.submit(in_task, pure=False).result() is True


def test_the_cluster_of_a_client_is_asked(session_directory: Path) -> None:
    """Where it says that no worker will come, a map says so too, and does not wait."""
    with (
        GridEngineCluster(
            jobs=3,
            launcher="process",
            python="/nowhere/python",
            shared_directory=session_directory,
            quiet=True,
            scheduler_options=DASK_SCHEDULER,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert ClientPlace(client).cluster is cluster
        wait_until(lambda: cluster.stuck() is not None, "its end", 20, cluster.explain)
        with pytest.raises(NodesFailed, match="/nowhere/python"):
            gridengine.map(abs, [1, 2], client=client)
