"""Whether the workers can be reached from here: real servers, and what is said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from distributed.core import Server

from dask_gridengine import reaching, wayback
from dask_gridengine.wayback import WayBack
from tests.test_arrival import black_hole
from tests.waiting import until


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and for loopback, too, which is all that a test may be sure of."""
    monkeypatch.setattr(wayback, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(reaching, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(wayback, "_local", lambda address: "::1" in address)


def test_a_host_behind_a_wall_is_told_once() -> None:
    """Which, where, what came back, and what to type; until a worker of it answers."""
    noted: list[str] = []

    async def main() -> None:
        failed: dict[str, str] = {}
        ways = WayBack(failed, noted.append)
        with black_hole() as wall:
            for _ in range(2):
                ways.look("node1", f"tcp://{wall}", {})
                await until(lambda: not ways._tasks, "it has looked", 10)
        assert [*failed] == ["node1"]
        assert noted == [*failed.values()]
        assert "workers on node1 cannot be reached from here" in noted[0]
        assert f"{wall}: no answer in 0.3 s" in noted[0]
        assert "worker_port=" in noted[0]
        async with Server({}) as server:
            await server.listen("tcp://127.0.0.1:0")
            ways.look("node1", server.address, {})
            await until(lambda: not failed, "it is fine now", 10)
        await ways.aclose()

    asyncio.run(main())


def test_one_worker_of_each_host_is_tried() -> None:
    """A thousand workers are not a thousand connections; local ones are none."""

    async def main() -> None:
        looked: list[Any] = []

        async def serve(comm: Any) -> str:
            return "OK"

        async with Server({"hello": serve}) as server:
            await server.listen("tcp://127.0.0.1:0")
            ways = WayBack({}, looked.append)
            for host in ("node1", "node1", "node2"):
                ways.look(host, server.address, {})
            ways.look("node3", "tcp://[::1]:9", {})
            assert len(ways._tasks) == 2
            await until(lambda: not ways._tasks, "it has looked", 10)
        assert not looked

    asyncio.run(main())


def test_closing_does_not_wait_for_an_answer() -> None:
    """Whoever closes a cluster does not want to know any more."""

    async def main() -> None:
        ways = WayBack({}, print)
        with black_hole() as wall:
            ways.look("node1", f"tcp://{wall}", {})
            await asyncio.wait_for(ways.aclose(), 0.25)
        assert not ways.failed

    asyncio.run(main())
