"""How the process launcher is opened."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import psutil

from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.local.launcher import open_process
from dask_gridengine.launchers.local.process import available_slots
from tests.launchers.conftest import Ends
from tests.waiting import until


def test_it_says_how_many_slots_there_are(ends: Ends) -> None:
    """By default as many as CPUs; in words that fit the number."""

    async def main(slots: int | None) -> str:
        launcher = await open_process(ends, slots=slots)
        await launcher.aclose()
        assert launcher.kind == "process"
        return launcher.description

    assert asyncio.run(main(1)) == "1 slot of local processes"
    assert asyncio.run(main(3)) == "3 slots of local processes"
    assert asyncio.run(main(None)).startswith(str(available_slots()))


def test_a_killed_session_leaves_nothing(ends: Ends, tmp_path: Path) -> None:
    """Its nodes are reported, with the reason; what they had started is gone too."""

    async def main() -> None:
        launcher = await open_process(ends, slots=1, cleanup=tmp_path)
        script = f"echo $TMPDIR >{tmp_path}/x; setsid sleep 1000 & wait"
        request = NodeRequest(name="x", command=("/bin/sh", "-c", script))
        nodes = await launcher.submit(request, 2)
        (session,) = psutil.Process().children()
        await until(lambda: len(session.children(recursive=True)) == 2, "a node")
        left = session.children(recursive=True)
        session.kill()
        first, second = await ends.of(nodes)
        assert "SIGKILL" in first.reason
        assert "SIGKILL" in second.reason
        await until(lambda: not any(p.is_running() for p in left), "all gone")
        await launcher.aclose()

    asyncio.run(main())
    assert not Path((tmp_path / "x").read_text().strip()).parent.exists()


def test_it_runs_here_and_keeps_no_accounts(ends: Ends) -> None:
    """Whatever the options; of a node that is over there is only its end notice."""

    async def main() -> None:
        launcher = await open_process(ends, slots=1)
        assert await launcher.hosts("-q long.q") == {socket.gethostname()}
        assert await launcher.account(NodeId("1", 1)) is None
        (node,) = await launcher.submit(
            NodeRequest(name="x", command=("sleep", "9")), 1
        )
        await launcher.ask_about([node])
        await launcher.cancel([node])
        await ends.of([node])
        await launcher.aclose()

    asyncio.run(main())
