"""The launcher of local processes."""

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


def test_the_description_has_the_number_of_slots(ends: Ends) -> None:
    """By default that of the CPUs this process may use."""

    async def main(slots: int | None) -> str:
        launcher = await open_process(ends, slots=slots)
        await launcher.aclose()
        assert launcher.kind == "process"
        assert launcher.slots == (slots or available_slots())
        return launcher.description

    assert asyncio.run(main(1)) == "1 slot of local processes"
    assert asyncio.run(main(3)) == "3 slots of local processes"
    assert asyncio.run(main(None)).startswith(str(available_slots()))


def test_a_killed_child_leaves_nothing(ends: Ends, tmp_path: Path) -> None:
    """Its nodes are reported, with the reason; processes they started are killed."""

    async def main() -> None:
        launcher = await open_process(ends, slots=1, cleanup=tmp_path)
        script = f"echo $TMPDIR >{tmp_path}/x; setsid sleep 1000 & wait"
        request = NodeRequest(name="x", command=("/bin/sh", "-c", script))
        nodes = await launcher.submit(request, 2)
        (child,) = psutil.Process().children()
        await until(lambda: len(child.children(recursive=True)) == 2, "a node")
        remains = child.children(recursive=True)
        child.kill()
        first, second = await ends.of(nodes)
        assert "SIGKILL" in first.reason
        assert "SIGKILL" in second.reason
        await until(lambda: not any(p.is_running() for p in remains), "all gone")
        await launcher.aclose()

    asyncio.run(main())
    assert not Path((tmp_path / "x").read_text().strip()).parent.exists()


def test_nodes_run_on_this_host_and_have_no_accounting(ends: Ends) -> None:
    """With any options."""

    async def main() -> None:
        launcher = await open_process(ends, slots=1)
        assert await launcher.hosts("-q long.q") == {socket.gethostname()}
        assert await launcher.account(NodeId("1", 1)) is None
        (node,) = await launcher.submit(
            NodeRequest(name="x", command=("sleep", "9")), 1
        )
        await launcher.recheck([node])
        await launcher.cancel([node])
        await ends.of([node])
        await launcher.aclose()

    asyncio.run(main())
