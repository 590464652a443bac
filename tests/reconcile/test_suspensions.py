"""Nodes that the grid has suspended keep their place, for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dask
import pytest

from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.monitor import silent_for
from dask_gridengine.reconcile.suspensions import AGAIN, SILENT
from tests.pools import FakeCluster, FakeLauncher, bearing, make_pool
from tests.simulated import Clock


class Scene:
    """Two nodes that work, and a grid that suspends what a test says."""

    def __init__(
        self,
        *,
        silent: Sequence[str] = (),
        timeout: float | None = None,
        ttl: float | None = None,
    ) -> None:
        self.clock = Clock()
        self.launcher, self.cluster = FakeLauncher(found=frozenset()), FakeCluster()
        with dask.config.set(
            {
                "distributed.scheduler.worker-ttl": ttl,
                "gridengine.suspended-timeout": timeout,
            }
        ):
            self.pool = make_pool(
                cluster=self.cluster,
                launcher=self.launcher,
                clock=self.clock,
                log_directory="/shared/logs",
            )
        self.cluster.scheduler.silent_workers = list(silent)
        self.first, self.second = (bearing(self.pool, f"ge-{i}", i + 1) for i in (0, 1))
        self.registry = self.pool.registry
        self.suspensions = self.pool.monitor.suspensions

    async def check(self, *silent: NodeRecord, after: float = AGAIN) -> None:
        """Check once, so much later, and have the answer come."""
        self.clock.now += after
        await self.suspensions.check(silent)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def shown(self) -> list[str]:
        return [record.shown.value for record in self.registry]


async def test_only_silent_nodes_are_asked_about() -> None:
    """While all nodes send heartbeats, the grid is not queried."""
    scene = Scene()
    scene.launcher.found = frozenset({scene.first.id, scene.second.id})
    await scene.check()
    assert scene.launcher.suspended_requests == 0
    scene.cluster.scheduler.silent_workers = ["ge-0"]
    await scene.check()
    assert scene.shown == ["suspended", "working"]
    assert scene.cluster.scheduler.changes == [(["ge-0"], True)]
    assert scene.registry.shown()[NodeState.SUSPENDED] == 1
    assert scene.registry.counts[NodeState.WORKING] == 2
    assert "12.1" in scene.pool.reconciler.decisions[0]


@pytest.mark.parametrize("ttl", [None, 300.0, 8.0])
async def test_the_grid_is_asked_sparingly(ttl: float | None) -> None:
    """Every half minute, or often enough for Dask's own limit of silence."""
    scene = Scene(ttl=ttl, silent=["ge-0"])
    again = 2.0 if ttl == 8.0 else AGAIN
    await scene.check()
    await scene.check(after=again / 2)
    assert scene.launcher.suspended_requests == 1
    await scene.check(after=again / 2)
    assert scene.launcher.suspended_requests == 2
    assert scene.cluster.scheduler.limit == (2.0 if ttl == 8.0 else SILENT)


async def test_a_connection_that_is_lost_is_asked_about_at_once() -> None:
    """It would be declared lost sooner than in half a minute."""
    scene = Scene(silent=["ge-0"])
    await scene.check()
    scene.launcher.found = frozenset({scene.second.id})
    scene.registry.missing("ge-1", expected=False)
    await scene.check(scene.second, after=2.0)
    assert scene.shown == ["working", "suspended"]


async def test_a_grid_that_does_not_answer_changes_nothing() -> None:
    """Neither of suspended nodes nor of others."""
    scene = Scene(silent=["ge-0"])
    for found, state in ((None, "working"), ({NodeId("12", 1)}, "suspended")):
        scene.launcher.found = None if found is None else frozenset(found)
        await scene.check()
        assert scene.shown[0] == state
    scene.launcher.found = None
    await scene.check()
    assert scene.shown[0] == "suspended"


@pytest.mark.parametrize("by", ["the grid", "its heartbeat", "its registration"])
async def test_a_resumed_node_goes_on(by: str) -> None:
    """In the state that it was in; it was not silent all that time."""
    scene = Scene(silent=["ge-0"])
    scene.registry.missing("ge-0", expected=False)
    scene.launcher.found = frozenset({scene.first.id})
    await scene.check()
    silent = silent_for(scene.first, scene.clock(), 15.0)
    await scene.check(after=1000.0)
    assert scene.shown[0] == "suspended"
    if by == "the grid":
        scene.launcher.found = frozenset()
        await scene.check()
    elif by == "its heartbeat":
        scene.suspensions.heard(scene.first)
    else:
        scene.registry.registered("ge-0")
        silent = None
    assert scene.shown[0] == "working"
    assert silent_for(scene.first, scene.clock(), 15.0) == silent
    assert not scene.registry.suspended


@pytest.mark.parametrize("timeout", [None, 3600.0])
async def test_a_node_suspended_for_too_long_is_replaced(timeout: float | None) -> None:
    """Or never; it is no failure."""
    scene = Scene(silent=["ge-0"], timeout=timeout)
    scene.launcher.found = frozenset({scene.first.id})
    await scene.check()
    await scene.check(after=3599.0)
    assert scene.launcher.cancelled == []
    await scene.check(after=1.0)
    gone = [] if timeout is None else [scene.first.id]
    assert scene.launcher.cancelled == gone
    assert len(scene.pool.names) == 2, "another is desired instead"
    assert scene.pool.reconciler.free == len(gone)
    if timeout:
        assert scene.first.diagnosis is not None
        assert scene.first.diagnosis.cause is Cause.SUSPENDED
        assert not scene.first.diagnosis.cause.is_failure


async def test_closing_does_not_wait_for_an_answer() -> None:
    """However long the grid takes."""
    scene = Scene(silent=["ge-0"])
    await scene.suspensions.stop()

    async def hang() -> None:
        await asyncio.sleep(3600)

    scene.launcher.suspended = hang  # type: ignore[method-assign, assignment]
    await scene.check()
    await scene.suspensions.stop()
    assert scene.shown[0] == "working"
