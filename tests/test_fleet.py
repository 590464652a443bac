"""The nodes of one cluster, on local processes, without Dask."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.allocation import Allocation, Hello
from dask_gridengine.causes import Cause
from dask_gridengine.config import Options
from dask_gridengine.credentials import FILE_NAME
from dask_gridengine.errors import OptionError, SubmitError
from dask_gridengine.fleet import Callbacks, Fleet
from dask_gridengine.granted import versions
from dask_gridengine.nodes import NodeRecord, NodeState
from tests.samples import allocation, farewell


def unwanted(name: str, hello: Hello) -> Allocation:
    """An allocation whose worker finds no scheduler; a node that gets it ends soon."""
    return allocation(
        incarnation=hello.incarnation,
        door=hello.via,
        name=name,
        scheduler="tcp://127.0.0.1:1",
        local_directory="/proc/nowhere",
    )


async def with_fleet(
    shared: Path,
    use: Callable[[Fleet, list[NodeRecord]], Awaitable[None]],
    **given: Any,
) -> None:
    gone: list[NodeRecord] = []
    options = Options.resolve(
        {"launcher": "process", "slots": 2, "shared_directory": shared, **given}
    )
    fleet = Fleet(
        options,
        versions=versions(),
        callbacks=Callbacks(make_allocation=unwanted, on_gone=gone.append),
    )
    await fleet.open()
    fleet.receive()
    try:
        await use(fleet, gone)
    finally:
        await fleet.aclose()
        await fleet.aclose()


def test_it_opens_and_closes_without_a_trace(shared: Path) -> None:
    """While it is open there is a connection file; afterwards there is nothing."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        assert fleet.directory is not None
        assert (fleet.directory / FILE_NAME).exists()

    asyncio.run(with_fleet(shared, use))
    assert list(shared.iterdir()) == []


def test_an_opening_that_fails_leaves_nothing(shared: Path) -> None:
    """A wrong interface is found before anything is submitted, and cleaned up."""
    with pytest.raises(OptionError, match="ib9"):
        asyncio.run(with_fleet(shared, _never, interface="ib9"))
    assert list(shared.iterdir()) == []


async def _never(fleet: Fleet, gone: list[NodeRecord]) -> None:
    raise AssertionError("it opened")


def test_a_refused_submission_leaves_the_door_as_it_was(shared: Path) -> None:
    """No node is expected after a refusal, and no name waits."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        with pytest.raises(SubmitError):
            await fleet.submit(["ge-0"])
        assert not fleet.roster.unbound
        assert fleet.door.submitting == 0
        assert fleet.roster.alive == 0

    asyncio.run(with_fleet(shared, use, cores=3))


def test_ends_are_followed_and_alike_ones_counted_together(shared: Path) -> None:
    """Two nodes that fail alike are one reason with a count, and leave nothing."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0", "ge-1"])
        assert await fleet.wait_gone(30) == []
        assert [record.diagnosis and record.diagnosis.cause for record in gone] == [
            Cause.NO_SCRATCH,
            Cause.NO_SCRATCH,
        ]
        (reason,) = fleet.failures.reasons()
        assert reason.startswith("2 nodes (e.g. node 1.")

    asyncio.run(with_fleet(shared, use))
    assert list(shared.iterdir()) == []


def test_a_log_that_says_more_is_kept(shared: Path) -> None:
    """The log of a node that ended in an unknown way outlives the cluster."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0"])
        assert await fleet.wait_gone(30) == []

    asyncio.run(
        with_fleet(shared, use, job_script_prologue=["echo evidence", "exit 3"])
    )
    (log,) = shared.rglob("*.log")
    assert log.read_text() == "evidence\n"


def test_withdrawn_names_give_their_places_back(shared: Path) -> None:
    """The newest queued nodes go, and none of them ever starts."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        names = [f"ge-{i}" for i in range(10)]
        await fleet.submit(names)
        await fleet.withdraw(names[2:])
        assert list(fleet.roster.unbound) == names[:2]
        await fleet.wait_gone(30)
        started = [record for record in fleet.roster if record.arrived]
        assert len(started) <= 2
        assert {record.id.index for record in started} <= {1, 2}

    asyncio.run(with_fleet(shared, use))


def test_only_the_right_incarnation_says_farewell(shared: Path) -> None:
    """A farewell of a stranger or of another process changes nothing."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0"])
        (record,) = fleet.roster
        fleet._on_farewell(farewell(job="1", index=1, incarnation="f" * 16))
        fleet._on_farewell(farewell(job="77"))
        assert record.farewell is None
        assert record.state is NodeState.QUEUED

    asyncio.run(with_fleet(shared, use))


def test_a_dismissed_fleet_takes_nobody_in(shared: Path) -> None:
    """Once the cluster closes, queued nodes are cancelled and nobody is bound."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit([f"ge-{i}" for i in range(4)])
        await fleet.dismiss()
        assert await fleet.wait_gone(30) == []
        assert all(record.worker is None for record in fleet.roster)

    asyncio.run(with_fleet(shared, use))


def test_local_processes_need_no_network(shared: Path) -> None:
    """On a laptop the door listens on loopback only."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        assert fleet.bind_host == "127.0.0.1"

    asyncio.run(with_fleet(shared, use))
    assert os.path.isdir(shared)
