"""A pool that is opened and closed, on local processes, without a scheduler."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.cluster.pool_lifecycle import (
    close_pool,
    open_pool,
    stop_admitting,
    wait_gone,
)
from dask_gridengine.errors import OptionError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.options import Options
from tests.pools import FakeCluster


@asynccontextmanager
async def opened(shared: Path, **given: Any) -> AsyncIterator[NodePool]:
    """Open a pool, and close it twice."""
    cluster: Any = FakeCluster()
    # A node that gets its allocation finds no scheduler, and ends soon.
    cluster.scheduler.address = cluster.scheduler.contact_address = "tcp://127.0.0.1:1"
    options = {"launcher": "process", "slots": 2, "shared_directory": shared, **given}
    pool = await open_pool(cluster, "", Options.resolve(options))
    cluster.pools.append(pool)
    pool.receive()
    try:
        yield pool
    finally:
        await stop_admitting(pool)
        await close_pool(pool)
        await close_pool(pool)


async def submitted(pool: NodePool, count: int) -> None:
    pool.scale(count, by_user=True)
    assert await pool.reconcile() is None


def files(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


async def test_it_opens_and_closes_without_a_trace(shared: Path) -> None:
    """While it is open there is a connection file; afterwards there is nothing."""
    async with opened(shared) as pool:
        assert (pool.directory / FILE_NAME).exists()
    assert files(shared) == []


async def test_an_opening_that_fails_leaves_nothing(shared: Path) -> None:
    """A wrong interface is found before anything is submitted, and cleaned up."""
    with pytest.raises(OptionError, match="ib9"):
        async with opened(shared, interface="ib9"):
            raise AssertionError("it opened")
    assert files(shared) == []


async def test_a_connection_file_that_cannot_be_written_leaves_nothing(
    shared: Path,
) -> None:
    """As on a full disk; the error has the path and the option to change."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        message = rf"{FILE_NAME}(.*\n)*.*shared_directory="
        with pytest.raises(OptionError, match=message):
            async with opened(shared, jobs=1):
                raise AssertionError("it opened")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(shared) == []


async def test_a_log_that_says_more_is_kept(shared: Path) -> None:
    """The log of a node that ended in an unknown way outlives the cluster."""
    prologue = ["echo evidence", "exit 3"]
    async with opened(shared, job_script_prologue=prologue) as pool:
        await submitted(pool, 1)
        assert await wait_gone(pool, 30) == []
    (log,) = (file for file in files(shared) if file.suffix == ".log")
    head, *rest = log.read_text().splitlines()
    assert head.startswith("on "), "the host is known of a node that sends nothing"
    assert "evidence" in rest
    assert "status 3" in rest[-1]


async def test_a_missing_log_keeps_no_directory(shared: Path) -> None:
    """Logs that may say more stay on close; without logs nothing stays."""
    async with opened(shared) as pool:
        await submitted(pool, 1)
        (record,) = pool.registry
        record.diagnosis = Diagnosis(cause=Cause.UNKNOWN)
        await pool.cancel([record])
        assert pool.exits.logs_to_keep()
        assert await wait_gone(pool, 30) == []
        for log in pool.log_directory.glob("*.log"):
            log.unlink()
    assert files(shared) == []


async def test_a_smaller_number_gives_queue_places_back(shared: Path) -> None:
    """The newest queued nodes go, and none of them ever starts."""
    async with opened(shared) as pool:
        pool.admission.ready = False  # no node gets a name yet
        await submitted(pool, 10)
        pool.scale(2, by_user=True)
        await pool.give_back_places()
        assert pool.names == ["ge-0", "ge-1"]
        started = [record for record in pool.registry if record.arrived]
        assert {record.id.index for record in started} <= {1, 2}
        ended = [r.id.index for r in pool.registry if r.cancelled]
        assert ended == [*range(3, 11)]


async def test_kept_places_serve_the_next_names(shared: Path) -> None:
    """A lull costs no queue place, and the next rise submits no node."""
    async with opened(shared) as pool:
        pool.admission.ready = False
        await submitted(pool, 10)
        pool.drop_names(pool.names[2:])
        assert pool.registry.expected == 10
        pool.add_names(2)
        assert await pool.reconcile() is None
        assert len(pool.registry.records) == 10
        assert pool.waiting == ["ge-0", "ge-1", "ge-10", "ge-11"]


async def test_after_the_end_began_no_node_is_admitted(shared: Path) -> None:
    """Queued nodes are cancelled, also those whose submission is under way."""
    async with opened(shared) as pool:
        await submitted(pool, 4)
        pool.scale(6, by_user=True)
        late = asyncio.create_task(pool.reconcile())
        await asyncio.sleep(0)
        assert pool.arrays.in_flight == 2
        await stop_admitting(pool)
        await late
        assert await wait_gone(pool, 30) == []
        assert all(record.state is NodeState.GONE for record in pool.registry)
        causes = {r.diagnosis.cause for r in pool.registry if r.diagnosis}
        assert causes == {Cause.CANCELLED}
        assert len(pool.failures) == 0
