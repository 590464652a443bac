"""Nodes that the grid has suspended keep their place, for a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.liveness import silent_for
from dask_gridengine.reconcile.suspensions import AGAIN, SILENT, Suspensions
from tests.simulated import Nodes


@dataclass
class Scene:
    """Two nodes that work, and what is thought of them."""

    found: frozenset[NodeId] | None = frozenset()
    timeout: float | None = None
    ttl: float | None = None
    asked: int = 0
    silent: list[str] = field(default_factory=list)
    changes: list[tuple[str, bool]] = field(default_factory=list)
    replaced: list[NodeRecord] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = Nodes()
        self.first, self.second = self.nodes.submit(2)
        for record in (self.first, self.second):
            self.nodes.arrive(record)
            self.nodes.work(record)
        fleet: Any = SimpleNamespace(
            registry=self.nodes.registry,
            launcher=self,
            options=SimpleNamespace(suspended_timeout=self.timeout),
            give_up=self._give_up,
        )
        self.suspensions = Suspensions(
            fleet,
            quiet=self._quiet,
            changed=lambda r: self.changes.append((str(r.id), r.suspended is not None)),
            cancel=self._cancel,
            expect_end=lambda: None,
            say=lambda text, level: self.said.append(text),
            ttl=self.ttl,
            clock=self.nodes.clock,
        )

    async def suspended(self) -> frozenset[NodeId] | None:
        self.asked += 1
        return self.found

    def _quiet(self, seconds: float) -> list[str]:
        self.limit = seconds
        return self.silent

    def _give_up(self, record: NodeRecord, why: Diagnosis) -> None:
        record.diagnosis = why
        self.nodes.registry.move(record, NodeState.DRAINING)

    async def _cancel(self, records: list[NodeRecord]) -> None:
        self.replaced += records

    async def look(self, *silent: NodeRecord, after: float = AGAIN) -> None:
        """Look once, so much later, and have the answer come."""
        self.nodes.clock.now += after
        await self.suspensions.look(silent)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def shown(self) -> list[str]:
        return [record.shown.value for record in self.nodes.registry]


def test_only_silent_nodes_are_asked_about() -> None:
    """While all speak, nothing is asked; nodes that speak are not suspended."""

    async def main() -> None:
        scene = Scene()
        scene.found = frozenset({scene.first.id, scene.second.id})
        await scene.look()
        assert scene.asked == 0
        scene.silent = ["ge-0"]
        await scene.look()
        assert scene.shown == ["suspended", "working"]
        assert scene.changes == [("7.1", True)]
        assert scene.nodes.registry.shown()[NodeState.SUSPENDED] == 1
        assert scene.nodes.registry.counts[NodeState.WORKING] == 2
        assert "7.1" in scene.said[0]

    asyncio.run(main())


@pytest.mark.parametrize("ttl", [None, 300.0, 8.0])
def test_the_grid_is_asked_sparingly(ttl: float | None) -> None:
    """Every half minute, or often enough for Dask's own limit of silence."""

    async def main() -> None:
        scene = Scene(ttl=ttl, silent=["ge-0"])
        again = 2.0 if ttl == 8.0 else AGAIN
        await scene.look()
        await scene.look(after=again / 2)
        assert scene.asked == 1
        await scene.look(after=again / 2)
        assert scene.asked == 2
        assert scene.limit == (2.0 if ttl == 8.0 else SILENT)

    asyncio.run(main())


def test_a_connection_that_is_lost_is_asked_about_at_once() -> None:
    """It is given up soon, so that cannot wait for half a minute."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"])
        await scene.look()
        scene.found = frozenset({scene.second.id})
        scene.nodes.registry.missing("ge-1", expected=False)
        await scene.look(scene.second, after=2.0)
        assert scene.shown == ["working", "suspended"]

    asyncio.run(main())


def test_a_grid_that_does_not_tell_changes_nothing() -> None:
    """Neither what is suspended nor what is not."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"])
        for found, state in ((None, "working"), ({NodeId("7", 1)}, "suspended")):
            scene.found = None if found is None else frozenset(found)
            await scene.look()
            assert scene.shown[0] == state
        scene.found = None
        await scene.look()
        assert scene.shown[0] == "suspended"

    asyncio.run(main())


@pytest.mark.parametrize("by", ["the grid", "its heartbeat", "its registration"])
def test_a_resumed_node_goes_on(by: str) -> None:
    """In the state that it was in; it was not silent all that time."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"])
        scene.nodes.registry.missing("ge-0", expected=False)
        scene.found = frozenset({scene.first.id})
        await scene.look()
        silent = silent_for(scene.first, scene.nodes.clock(), 15.0)
        await scene.look(after=1000.0)
        assert scene.shown[0] == "suspended"
        if by == "the grid":
            scene.found = frozenset()
            await scene.look()
        elif by == "its heartbeat":
            scene.suspensions.heard(scene.first)
        else:
            scene.nodes.registry.registered("ge-0")
            silent = None
        assert scene.shown[0] == "working"
        assert silent_for(scene.first, scene.nodes.clock(), 15.0) == silent
        assert not scene.nodes.registry.suspended

    asyncio.run(main())


def test_what_ends_is_not_suspended_any_more() -> None:
    """However it ends."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"])
        scene.found = frozenset({scene.first.id})
        await scene.look()
        scene.nodes.end(scene.first)
        assert scene.shown == ["gone", "working"]
        assert not scene.nodes.registry.suspended
        await scene.look()
        assert scene.shown == ["gone", "working"]

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_after_a_time_another_takes_its_place(timeout: float | None) -> None:
    """Or never; that is nobody's failure."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"], timeout=timeout)
        scene.found = frozenset({scene.first.id})
        await scene.look()
        await scene.look(after=3599.0)
        assert scene.replaced == []
        await scene.look(after=1.0)
        assert scene.replaced == ([] if timeout is None else [scene.first])
        if timeout:
            assert scene.first.diagnosis is not None
            assert scene.first.diagnosis.cause is Cause.SUSPENDED
            assert not scene.first.diagnosis.cause.is_failure

    asyncio.run(main())


def test_an_answer_is_not_waited_for_at_the_end() -> None:
    """However long the grid takes."""

    async def main() -> None:
        scene = Scene(silent=["ge-0"])
        await scene.suspensions.stop()

        async def hang() -> None:
            await asyncio.sleep(3600)

        scene.suspended = hang  # type: ignore[method-assign, assignment]
        await scene.look()
        await scene.suspensions.stop()
        assert scene.shown[0] == "working"

    asyncio.run(main())
