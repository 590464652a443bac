"""The executor of local processes, through the process launcher.

It collects all children of its process, so it cannot run in pytest's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.local.launcher import open_process
from tests.launchers.conftest import Ends, newest_child
from tests.waiting import until

linux = pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not help")


def shell(script: str, **fields: Any) -> NodeRequest:
    return NodeRequest(name="x", command=("/bin/sh", "-c", script), **fields)


@asynccontextmanager
async def open_executor(ends: Ends, slots: int = 2) -> AsyncIterator[Launcher]:
    launcher = await open_process(ends, slots=slots)
    try:
        yield launcher
    finally:
        await launcher.aclose()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=60))


async def pid_in(path: Path) -> int:
    """The process id a node has written to a file."""

    def read() -> str:
        return path.read_text() if path.exists() else ""

    await until(lambda: read().endswith("\n"), f"a process id in {path}")
    return int(read())


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", {"exit_status": 0}),
        ("exit 3", {"exit_status": 3}),
        ("exec /no/such/command", {"exit_status": 127}),
        ("kill -9 $$", {"signal": "SIGKILL"}),
        ("kill -USR1 $$", {"signal": "SIGUSR1"}),
    ],
)
async def test_an_end_has_an_exit_status_or_a_signal(
    ends: Ends, script: str, expected: dict[str, Any]
) -> None:
    """Never both."""
    async with open_executor(ends) as grid:
        nodes = await grid.submit(shell(script), 1)
        (end,) = await ends.of(nodes)
        assert replace(end, ran=None, peak_memory=0) == EndNotice(
            node=nodes[0], **expected
        )


async def test_an_end_has_running_time_and_memory(ends: Ends) -> None:
    """The largest process counts; a node that never ran has neither."""
    script = "import time; block = b'x' * 300_000_000; time.sleep(0.3)"
    big = NodeRequest(name="x", command=(sys.executable, "-c", script))
    async with open_executor(ends, slots=1) as grid:
        (node,) = await grid.submit(big, 1)
        (queued,) = await grid.submit(shell("exit 0"), 1)
        (dropped,) = await grid.submit(shell("exit 0"), 1)
        await grid.cancel([dropped])
        end, after, never = await ends.of([node, queued, dropped])
        assert end.ran is not None
        assert after.ran is not None
        assert end.ran >= 0.3
        assert end.peak_memory > 300_000_000 > after.peak_memory > 0
        assert (never.ran, never.peak_memory) == (None, 0)


async def test_a_node_has_the_environment_of_a_job(ends: Ends, tmp_path: Path) -> None:
    """Grid Engine's variables and the requested ones; TMPDIR is its own."""
    seen = tmp_path / "seen"
    script = f'env -0 >{seen}; stat -c %a "$TMPDIR" >{seen}.mode; touch "$TMPDIR/x"'
    async with open_executor(ends) as grid:
        await grid.submit(shell("exit 0"), 1)
        request = shell(script, slots=2, environment={"A": "x=y z", "TMPDIR": "/"})
        await ends.of(await grid.submit(request, 1))
    variables = dict(
        pair.split("=", 1) for pair in seen.read_text().split("\0") if "=" in pair
    )
    expected_env = {
        "A": "x=y z",
        "JOB_ID": "2",
        "JOB_NAME": "x",
        "SGE_TASK_ID": "1",
        "SGE_TASK_FIRST": "1",
        "SGE_TASK_LAST": "1",
        "NSLOTS": "2",
        "NHOSTS": "1",
        "HOSTNAME": socket.gethostname(),
        "QUEUE": "local",
        "PATH": os.environ["PATH"],
    }
    assert {name: variables.get(name) for name in expected_env} == expected_env
    assert Path(f"{seen}.mode").read_text() == "700\n"
    assert not Path(variables["TMPDIR"]).exists()
    assert not Path(variables["TMPDIR"]).parent.exists()


async def test_no_more_nodes_run_than_there_are_slots(
    ends: Ends, tmp_path: Path
) -> None:
    """Strictly first in, first out: a wide node is not overtaken by narrow ones."""
    order = tmp_path / "order"
    wide = shell(f"echo wide >>{order}", slots=3)
    narrow = shell(f"echo narrow >>{order}")
    gate = shell(f"while [ ! -e {tmp_path}/open ]; do sleep 0.02; done")
    async with open_executor(ends, slots=3) as grid:
        nodes = [
            *await grid.submit(gate, 1),
            *await grid.submit(wide, 1),
            *await grid.submit(narrow, 2),
        ]
        assert ends.seen == []
        (tmp_path / "open").touch()
        await ends.of(nodes)
    assert order.read_text().split() == ["wide", "narrow", "narrow"]


async def test_a_node_of_more_slots_than_there_are_runs_alone(
    ends: Ends, tmp_path: Path
) -> None:
    """It has the slots it requested; other nodes run before and after it."""
    alone = f"mkdir {tmp_path}/run && echo $NSLOTS && rmdir {tmp_path}/run"
    async with open_executor(ends) as grid:
        wide = await grid.submit(shell(f"exec >>{tmp_path}/out; {alone}", slots=3), 3)
        narrow = await grid.submit(shell(f"mkdir {tmp_path}/run", slots=1), 1)
        assert [end.exit_status for end in await ends.of([*wide, *narrow])] == [0] * 4
    assert (tmp_path / "out").read_text().split() == ["3"] * 3


async def test_a_walltime_ends_a_node_and_all_it_started(
    ends: Ends, tmp_path: Path
) -> None:
    """SIGKILL, as h_rt does; the reason says so."""
    script = f"sleep 1000 & echo $! >{tmp_path}/pid; wait"
    async with open_executor(ends) as grid:
        start = time.monotonic()
        nodes = await grid.submit(shell(script, walltime=0.4), 1)
        (end,) = await ends.of(nodes)
        assert end.signal == "SIGKILL"
        assert "walltime of 0.4 s" in end.reason
        assert end.ran is not None
        assert end.ran >= 0.4
        assert 0.3 < time.monotonic() - start < 5
        pid = await pid_in(tmp_path / "pid")
        await until(lambda: not psutil.pid_exists(pid), "its child's end")


async def test_part_of_an_array_can_be_cancelled(ends: Ends) -> None:
    """Running nodes by SIGKILL; the others go on."""
    async with open_executor(ends) as grid:
        nodes = await grid.submit(shell("sleep 1000"), 4)
        running, queued = nodes[0], nodes[3]
        await grid.cancel([running, queued, NodeId("99", 1)])
        first, last = await ends.of([running, queued])
        assert (first.signal, first.cancelled) == ("SIGKILL", True)
        assert last == EndNotice(node=queued, cancelled=True)
        assert len(ends.seen) == 2


@linux
async def test_a_process_that_left_its_node_is_found(
    ends: Ends, tmp_path: Path
) -> None:
    """In a session of its own and without its parent; it ends with its node."""
    script = (
        f"(setsid sh -c 'sleep 1000 & echo $! >{tmp_path}/pid; wait' >/dev/null &);"
        " sleep 1000"
    )
    async with open_executor(ends) as grid:
        nodes = await grid.submit(shell(script), 1)
        other = await grid.submit(shell("exit 0"), 1)
        await ends.of(other)
        pid = await pid_in(tmp_path / "pid")
        assert psutil.pid_exists(pid), "a daemon of a live node was killed"
        await grid.cancel(nodes)
        await until(lambda: not psutil.pid_exists(pid), "the daemon's end")


async def test_closing_leaves_nothing(ends: Ends, tmp_path: Path) -> None:
    """Queued and running nodes, their processes and their directories."""
    script = f"sleep 1000 & echo $TMPDIR $! >{tmp_path}/$SGE_TASK_ID; wait"
    async with open_executor(ends) as grid:
        nodes = await grid.submit(shell(script), 4)
        await until(lambda: len(list(tmp_path.iterdir())) == 2, "two running")
    assert all(end.cancelled for end in await ends.of(nodes))
    for path in tmp_path.iterdir():
        directory, pid = path.read_text().split()
        assert not Path(directory).parent.exists()
        assert not psutil.pid_exists(int(pid))


async def test_a_killed_child_leaves_nothing(ends: Ends, tmp_path: Path) -> None:
    """Its nodes are reported, with the reason; processes they started are killed."""
    launcher = await open_process(ends, slots=1, cleanup=tmp_path)
    script = f"echo $TMPDIR >{tmp_path}/x; setsid sleep 1000 & wait"
    request = NodeRequest(name="x", command=("/bin/sh", "-c", script))
    nodes = await launcher.submit(request, 2)
    child = newest_child()
    await until(lambda: len(child.children(recursive=True)) == 2, "a node")
    remains = child.children(recursive=True)
    child.kill()
    first, second = await ends.of(nodes)
    assert "SIGKILL" in first.reason
    assert "SIGKILL" in second.reason
    await until(lambda: not any(p.is_running() for p in remains), "all gone")
    await launcher.aclose()
    assert not Path((tmp_path / "x").read_text().strip()).parent.exists()
