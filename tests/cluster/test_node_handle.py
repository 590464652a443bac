"""One worker as SpecCluster sees it."""

from __future__ import annotations

import asyncio

import pytest
from distributed.core import Status

from dask_gridengine.cluster.node_handle import NodeHandle


def test_it_runs_from_the_start_and_stops_once() -> None:
    """Awaiting it waits for no node; closing it twice stops its node once."""
    stopped = []

    async def stop(name: str) -> None:
        stopped.append(name)

    async def main() -> None:
        handle = await NodeHandle("ge-3", stop)
        assert handle.status is Status.running
        await handle.close()
        await handle.close()
        assert handle.status is Status.closed
        await asyncio.wait_for(handle.finished(), 1)

    asyncio.run(main())
    assert stopped == ["ge-3"]


def test_closing_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong is logged, and the handle is closed all the same."""

    async def stop(name: str) -> None:
        raise RuntimeError("the grid is on fire")

    async def main() -> None:
        handle = NodeHandle("ge-3", stop)
        await handle.close()
        assert handle.status is Status.closed

    asyncio.run(main())
    assert "the grid is on fire" in caplog.text


def test_an_ended_node_is_not_stopped_again() -> None:
    """A handle whose node has gone closes without asking for anything."""

    async def stop(name: str) -> None:
        raise AssertionError(name)

    async def main() -> None:
        handle = NodeHandle("ge-3", stop)
        handle.ended()
        await handle.close()
        assert handle.status is Status.closed

    asyncio.run(main())
