"""How long the grid lets each node run, from the request and from its queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from dask_gridengine.batch import batch_system
from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.grid_types import ArrayReport, NodeId, NodeRequest
from dask_gridengine.nodes.array_reports import ArrayReports
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.reconcile.walltime import WalltimeLimits


@dataclass
class Queues:
    """A launcher that knows the limits of queues, and one that is in force."""

    limits: dict[str, float | None]
    asked: list[str] = field(default_factory=list)
    in_force: float | None = None
    batch_system: BatchSystem = field(
        default_factory=lambda: batch_system("gridengine")
    )

    async def report(self, job: str, native: str) -> ArrayReport:
        return ArrayReport(walltime=self.in_force)

    async def queue_limit(self, queue: str) -> float | None:
        self.asked.append(queue)
        return self.limits.get(queue)


@dataclass
class Asked:
    """What `WalltimeLimits` uses of a pool."""

    request: NodeRequest
    launcher: Queues
    reports: ArrayReports


def walltimes(
    native: str = "",
    walltime: float | None = None,
    in_force: float | None = None,
    **queues: float | None,
) -> tuple[WalltimeLimits, Queues]:
    request = NodeRequest(name="x", command=(), native=native, walltime=walltime)
    launcher: Any = Queues(queues, in_force=in_force)
    reports = ArrayReports(NodeRegistry(), launcher, native)
    if in_force is None:
        reports.close()
    pool: Any = Asked(request, launcher, reports)
    return WalltimeLimits(pool), launcher


def node(queue: str = "", notify: float = 0.0) -> NodeRecord:
    return NodeRecord(
        id=NodeId("1", 1),
        state=NodeState.WORKING,
        since=0.0,
        submitted=0.0,
        queue=queue,
        notify=notify,
    )


def test_the_shorter_of_request_and_queue_counts() -> None:
    """A queue is asked about once, and until it has answered the request counts."""

    async def main() -> None:
        limits, launcher = walltimes("-l h_rt=100", long=3600.0, short=60.0)
        assert limits.of(node()) == 100
        assert limits.of(node("short")) == 100
        await asyncio.sleep(0)
        assert [limits.of(node(queue)) for queue in ("short", "long", "")] == [
            *[60, 100, 100]
        ]
        await asyncio.sleep(0)
        assert limits.of(node("long")) == 100
        assert launcher.asked == ["short", "long"]

    asyncio.run(main())


@pytest.mark.parametrize("in_force", [20.0, 200.0])
def test_the_request_in_force_counts(in_force: float) -> None:
    """A site's defaults, or its verifier, may say another than was asked for."""

    async def main() -> None:
        limits, _ = walltimes("-l h_rt=100", in_force=in_force)
        assert limits.of(node()) == 100
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert limits.of(node()) == in_force

    asyncio.run(main())


def test_without_any_limit_there_is_no_end() -> None:
    """Neither asked for, nor of the queue."""

    async def main() -> None:
        limits, _ = walltimes("-q a.q", **{"all.q": None})
        limits.of(node("all.q"))
        await asyncio.sleep(0)
        assert limits.of(node("all.q")) is None

    asyncio.run(main())


def test_local_processes_have_the_walltime_that_was_asked_for() -> None:
    """They have neither submit options nor queues."""
    limits, launcher = walltimes(walltime=30.0)
    assert limits.of(node()) == 30.0
    assert launcher.asked == []


@pytest.mark.parametrize(
    ("native", "signal", "notify", "seconds"),
    [
        ("-notify", "SIGUSR2", 10.0, 9.0),
        ("-notify", "SIGUSR1", 10.0, 9.0),
        ("-l s_rt=60", "SIGUSR1", 10.0, 30.0),
        ("", "SIGTERM", 10.0, 30.0),
        ("-notify", "SIGUSR2", 0.0, 30.0),
        ("-notify", "SIGUSR2", 60.0, 30.0),
    ],
)
def test_a_signal_says_how_long_a_node_has(
    native: str, signal: str, notify: float, seconds: float
) -> None:
    """The queue's notify where the grid will kill or suspend, else what is allowed."""
    limits, _ = walltimes(native)
    assert limits.after(signal, node(notify=notify), otherwise=30.0) == seconds
