"""A grid on paper, at the seam where Grid Engine would be: it costs next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest


class Paper:
    """A launcher that queues all nodes, and ends each when it is cancelled."""

    kind, description = "drmaa", "paper"
    slots: int | None = None  # a grid's are not known

    def __init__(self, on_end: Callable[[EndNotice], None]) -> None:
        self.batch_system = GridEngine()
        self.calls = 0  # what a grid would have been asked
        self._on_end, self._job = on_end, 0

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        self.calls += 1
        self._job += 1
        return [NodeId(str(self._job), i + 1) for i in range(count)]

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        self.calls += 1
        loop = asyncio.get_running_loop()
        for node in nodes:
            loop.call_soon(self._on_end, EndNotice(node=node, cancelled=True))

    def end(self, node: NodeId) -> None:
        self._on_end(EndNotice(node=node, exit_status=0))

    async def recheck(self, nodes: Collection[NodeId]) -> None:
        self.calls += 1

    async def hosts(self, native: str) -> None:
        self.calls += 1

    async def queue_limit(self, queue: str) -> None:
        self.calls += 1

    async def array_running(self) -> None:
        self.calls += 1

    async def report(self, job: str, native: str) -> None:
        self.calls += 1

    async def suspended(self) -> None:
        self.calls += 1

    async def account(self, node: NodeId, timeout: float = 0.0) -> None:
        self.calls += 1

    async def aclose(self) -> None:
        """Nothing was started."""


@contextmanager
def paper() -> Iterator[None]:
    """Clusters get the launcher above, for as long as this lasts."""

    async def opened(kind: str, on_end: Callable[[EndNotice], None], **_: Any) -> Paper:
        return Paper(on_end)

    with mock.patch("dask_gridengine.cluster.pool_lifecycle.open_launcher", opened):
        yield


def say(what: str, measured: str, holds: bool | None = None) -> None:
    """One line: what, how much, and whether that is what was aimed at."""
    verdict = {True: "holds", False: "FALLS SHORT", None: ""}[holds]
    print(f"  {what:<44} {measured:>14}   {verdict}", flush=True)
