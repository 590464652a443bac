"""The nodes of one cluster, on local processes, without Dask."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.bootstrap.messages import Allocation, Hello
from dask_gridengine.errors import OptionError, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.fleet import Callbacks, Fleet
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.worker.job_resources import versions
from tests.samples import allocation, exit_report
from tests.waiting import until


def unwanted(name: str, hello: Hello) -> Allocation:
    """An allocation whose worker finds no scheduler; a node that gets it ends soon."""
    return allocation(
        process_token=hello.process_token,
        bootstrap_address=hello.via,
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
        callbacks=Callbacks(make_allocation=unwanted, on_over=gone.append),
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

    class Refusing(Spy):
        async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
            raise SubmitError("unknown queue", count, request.native)

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        fleet.arrays._launcher = Refusing(fleet.launcher)
        with pytest.raises(SubmitError):
            await fleet.submit(["ge-0"])
        assert not fleet.registry.unbound
        assert fleet.admission.submitting == 0
        assert fleet.registry.alive == 0

    asyncio.run(with_fleet(shared, use))


def test_what_is_queued_while_it_closes_is_given_back(shared: Path) -> None:
    """Who closes it has not seen those nodes; they are no failures."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        submission = asyncio.create_task(fleet.submit(["ge-0", "ge-1"]))
        await asyncio.sleep(0)
        assert fleet.admission.submitting == 1
        await fleet.stop_admitting()
        assert fleet.registry.alive == 0
        await submission
        assert await fleet.wait_gone(30) == []
        assert [record.diagnosis and record.diagnosis.cause for record in gone] == [
            Cause.CANCELLED,
            Cause.CANCELLED,
        ]
        assert not fleet.registry.unbound
        assert len(fleet.failures) == 0

    asyncio.run(with_fleet(shared, use))


def test_ends_are_followed_and_alike_ones_counted_together(shared: Path) -> None:
    """Two nodes that fail alike are one reason with a count, and leave nothing.

    Who waits for them is woken by the last end, also by one after a farewell.
    """

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0", "ge-1"])
        assert await asyncio.wait_for(fleet.wait_gone(120), 30) == []
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
    head, *rest = log.read_text().splitlines()
    assert head.startswith("on "), "a node that says nothing can still be placed"
    assert "evidence" in rest
    assert "status 3" in rest[-1]


def test_withdrawn_names_give_their_places_back(shared: Path) -> None:
    """The newest queued nodes go, and none of them ever starts."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        names = [f"ge-{i}" for i in range(10)]
        await fleet.submit(names)
        await fleet.withdraw(names[2:], keep_places=False)
        assert list(fleet.registry.unbound) == names[:2]
        await fleet.wait_gone(30)
        started = [record for record in fleet.registry if record.arrived]
        assert len(started) <= 2
        assert {record.id.index for record in started} <= {1, 2}

    asyncio.run(with_fleet(shared, use))


def test_kept_places_serve_the_next_names(shared: Path) -> None:
    """A lull costs no place in the queue, and the next rise asks for no node."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        fleet.admission.ready = False  # nobody gets a name yet
        names = [f"ge-{i}" for i in range(10)]
        await fleet.submit(names)
        await fleet.withdraw(names[2:], keep_places=True)
        assert fleet.registry.expected == 10
        assert fleet.arrays.short(8) == 0
        assert fleet.arrays.short(9) == 1
        await fleet.submit(["ge-10", "ge-11"])
        assert len(fleet.registry.records) == 10
        assert list(fleet.registry.unbound) == ["ge-0", "ge-1", "ge-10", "ge-11"]
        await fleet.stop_admitting()

    asyncio.run(with_fleet(shared, use))


def test_a_node_asleep_at_the_door_is_replaced(shared: Path) -> None:
    """It has a place, but no use: another is asked for in its stead."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        why = Diagnosis(cause=Cause.NO_SCRATCH)
        fleet.blocklist.possible = frozenset({socket.gethostname(), "elsewhere"})
        for _ in range(FAILURE_LIMIT):
            fleet.blocklist.failed(socket.gethostname(), why, fleet.registry.clock())
        await fleet.submit(["ge-0"])
        await until(lambda: fleet.held == 1, "the node asleep", 10)
        assert fleet.arrays.short() == 1
        await fleet.stop_admitting()
        assert fleet.held == 0

    asyncio.run(with_fleet(shared, use))


def test_a_shut_host_is_left_out_of_the_next_array(shared: Path) -> None:
    """In the submit options, as Grid Engine takes them."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        asked: list[NodeRequest] = []

        class Asked(Spy):
            async def submit(
                self, request: NodeRequest, count: int
            ) -> Sequence[NodeId]:
                asked.append(request)
                return await super().submit(request, count)

        fleet.blocklist.possible = frozenset({"node1", "node2"})
        fleet.arrays._launcher = Asked(fleet.launcher)
        await fleet.submit(["ge-0"])
        for _ in range(FAILURE_LIMIT):
            why = Diagnosis(cause=Cause.NO_PYTHON)
            fleet.blocklist.failed("node1", why, fleet.registry.clock())
        await fleet.submit(["ge-1"])
        assert [request.native for request in asked] == ["", "-l h=!node1"]

    asyncio.run(with_fleet(shared, use))


class Spy:
    """A launcher in front of another."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        return await self._launcher.submit(request, count)


def test_only_the_right_incarnation_says_farewell(shared: Path) -> None:
    """A farewell of a stranger or of another process changes nothing."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0"])
        (record,) = fleet.registry
        fleet._on_exit_report(exit_report(job="1", index=1, process_token="f" * 16))
        fleet._on_exit_report(exit_report(job="77"))
        assert record.exit_report is None
        assert record.state is NodeState.QUEUED

    asyncio.run(with_fleet(shared, use))


def test_a_dismissed_fleet_takes_nobody_in(shared: Path) -> None:
    """Once the cluster closes, queued nodes are cancelled and nobody is bound."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit([f"ge-{i}" for i in range(4)])
        await fleet.stop_admitting()
        assert await fleet.wait_gone(30) == []
        assert all(record.worker is None for record in fleet.registry)

    asyncio.run(with_fleet(shared, use))


def test_local_processes_need_no_network(shared: Path) -> None:
    """On a laptop the door listens on loopback only."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        assert fleet.bind_host == "127.0.0.1"

    asyncio.run(with_fleet(shared, use))
    assert os.path.isdir(shared)


def test_a_log_that_was_never_written_keeps_no_directory(shared: Path) -> None:
    """Logs that may say more stay on close; where there is none nothing does."""

    async def use(fleet: Fleet, gone: list[NodeRecord]) -> None:
        await fleet.submit(["ge-0"])
        (record,) = fleet.registry
        record.diagnosis = Diagnosis(cause=Cause.UNKNOWN)
        await fleet.cancel([record])
        assert fleet.exits.logs_to_keep()
        assert await fleet.wait_gone(30) == []
        for log in fleet.log_directory.glob("*.log"):
            log.unlink()

    asyncio.run(with_fleet(shared, use))
    assert list(shared.iterdir()) == []
