"""A pool that is opened and closed, on local processes, without a scheduler."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
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
from tests.samples import exit_report

Use = Callable[[NodePool], Awaitable[None]]


async def opened(shared: Path, use: Use, **given: Any) -> None:
    """Open a pool, use it, and close it twice."""
    cluster: Any = FakeCluster()
    # A node that gets its allocation finds no scheduler, and ends soon.
    cluster.scheduler.address = cluster.scheduler.contact_address = "tcp://127.0.0.1:1"
    options = {"launcher": "process", "slots": 2, "shared_directory": shared, **given}
    pool = await open_pool(cluster, "", Options.resolve(options))
    pool.receive()
    try:
        await use(pool)
    finally:
        await stop_admitting(pool)
        await close_pool(pool)
        await close_pool(pool)


async def submitted(pool: NodePool, count: int) -> None:
    pool.scale(count, by_user=True)
    assert await pool.reconcile() is None


NOWHERE = {"local_directory": "/proc/nowhere"}


def causes(pool: NodePool) -> list[Cause | None]:
    return [r.diagnosis and r.diagnosis.cause for r in pool.registry]


def test_it_opens_and_closes_without_a_trace(shared: Path) -> None:
    """While it is open there is a connection file; afterwards there is nothing."""

    async def use(pool: NodePool) -> None:
        assert (pool.directory / FILE_NAME).exists()

    asyncio.run(opened(shared, use))
    assert list(shared.iterdir()) == []


def test_an_opening_that_fails_leaves_nothing(shared: Path) -> None:
    """A wrong interface is found before anything is submitted, and cleaned up."""

    async def use(pool: NodePool) -> None:
        raise AssertionError("it opened")

    with pytest.raises(OptionError, match="ib9"):
        asyncio.run(opened(shared, use, interface="ib9"))
    assert list(shared.iterdir()) == []


def test_a_connection_file_that_cannot_be_written_leaves_nothing(
    shared: Path,
) -> None:
    """As on a full disk; the error has the path and the option to change."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(
            OptionError, match=rf"{FILE_NAME}(.*\n)*.*shared_directory="
        ):
            asyncio.run(opened(shared, use=never, jobs=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not any(shared.iterdir())


async def never(pool: NodePool) -> None:
    raise AssertionError("it was opened")


def test_similar_ends_are_counted_together(shared: Path) -> None:
    """Two nodes that fail alike are one reason with a count, and leave nothing."""

    async def use(pool: NodePool) -> None:
        await submitted(pool, 2)
        assert await wait_gone(pool, 30) == []
        assert causes(pool) == [Cause.NO_SCRATCH, Cause.NO_SCRATCH]
        (reason,) = pool.failures.reasons()
        assert reason.startswith("2 nodes (e.g. node 1.")
        assert pool.wanted == 2, "successors are desired"

    asyncio.run(opened(shared, use, **NOWHERE))
    assert list(shared.iterdir()) == []


def test_a_log_that_says_more_is_kept(shared: Path) -> None:
    """The log of a node that ended in an unknown way outlives the cluster."""

    async def use(pool: NodePool) -> None:
        await submitted(pool, 1)
        assert await wait_gone(pool, 30) == []

    asyncio.run(opened(shared, use, job_script_prologue=["echo evidence", "exit 3"]))
    (log,) = shared.rglob("*.log")
    head, *rest = log.read_text().splitlines()
    assert head.startswith("on "), "a node that says nothing can still be placed"
    assert "evidence" in rest
    assert "status 3" in rest[-1]


def test_a_missing_log_keeps_no_directory(shared: Path) -> None:
    """Logs that may say more stay on close; where there is none nothing does."""

    async def use(pool: NodePool) -> None:
        await submitted(pool, 1)
        (record,) = pool.registry
        record.diagnosis = Diagnosis(cause=Cause.UNKNOWN)
        await pool.cancel([record])
        assert pool.exits.logs_to_keep()
        assert await wait_gone(pool, 30) == []
        for log in pool.log_directory.glob("*.log"):
            log.unlink()

    asyncio.run(opened(shared, use))
    assert list(shared.iterdir()) == []


def test_a_smaller_number_gives_queue_places_back(shared: Path) -> None:
    """The newest queued nodes go, and none of them ever starts."""

    async def use(pool: NodePool) -> None:
        pool.admission.ready = False  # no node gets a name yet
        await submitted(pool, 10)
        pool.scale(2, by_user=True)
        await pool.give_back_places()
        assert pool.names == ["ge-0", "ge-1"]
        started = [record for record in pool.registry if record.arrived]
        assert {record.id.index for record in started} <= {1, 2}
        ended = [r.id.index for r in pool.registry if r.cancelled]
        assert ended == [*range(3, 11)]

    asyncio.run(opened(shared, use))


def test_kept_places_serve_the_next_names(shared: Path) -> None:
    """A lull costs no queue place, and the next rise submits no node."""

    async def use(pool: NodePool) -> None:
        pool.admission.ready = False
        await submitted(pool, 10)
        pool.drop_names(pool.names[2:])
        assert pool.registry.expected == 10
        pool.add_names(2)
        assert await pool.reconcile() is None
        assert len(pool.registry.records) == 10
        assert pool.waiting == ["ge-0", "ge-1", "ge-10", "ge-11"]

    asyncio.run(opened(shared, use))


def test_only_the_process_of_a_node_reports_its_exit(shared: Path) -> None:
    """A report of a stranger or of another process changes nothing."""

    async def use(pool: NodePool) -> None:
        pool.admission.ready = False
        await submitted(pool, 1)
        (record,) = pool.registry
        for report in (
            exit_report(job="1", index=1, process_token="f" * 16),
            exit_report(job="77"),
        ):
            assert not pool.exits.on_exit_report(report)
        assert record.exit_report is None

    asyncio.run(opened(shared, use))


def test_after_the_end_began_no_node_is_admitted(shared: Path) -> None:
    """Queued nodes are cancelled, also those whose submission is under way."""

    async def use(pool: NodePool) -> None:
        await submitted(pool, 4)
        pool.scale(6, by_user=True)
        late = asyncio.create_task(pool.reconcile())
        await asyncio.sleep(0)
        assert pool.arrays.in_flight == 2
        await stop_admitting(pool)
        await late
        assert await wait_gone(pool, 30) == []
        assert all(record.state is NodeState.GONE for record in pool.registry)
        assert set(causes(pool)) == {Cause.CANCELLED}
        assert len(pool.failures) == 0

    asyncio.run(opened(shared, use))
