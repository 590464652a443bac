"""``python -m dask_gridengine.node``: hello, worker, farewell."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.bootstrap.messages import Answer, Hello, NotNeeded, Rejected, Wait
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from tests.loops import in_loop
from tests.stage import Stage, client_of, stage
from tests.waiting import until


def run_one(
    folder: Path,
    answer: Callable[[Hello], Answer] | None = None,
    environment: dict[str, str] | None = None,
    **changes: Any,
) -> tuple[int, str, Stage]:
    """Start a node that ends by itself: its exit status, its last line, the stage."""

    async def main() -> tuple[int, str, Stage]:
        async with stage(folder, **changes) as on:
            on.answer = answer or on.answer
            on.connect(timeout=2.0)
            node = on.start_node(**(environment or {}))
            status = await node.ended(30)
            return status, node.last_line, on

    return asyncio.run(main())


def test_a_node_that_is_told_to_leave_ends_well(tmp_path: Path) -> None:
    """Nobody needs it: exit status 0, and the log says why."""

    def leave(hello: Hello) -> Answer:
        return NotNeeded(
            process_token=hello.process_token, reason="there are workers enough"
        )

    status, said, _ = run_one(tmp_path, leave)
    assert (status, "workers enough" in said) == (0, True)


def test_a_node_that_is_refused_says_why(tmp_path: Path) -> None:
    """Its exit status is that of a refusal, its log holds the reason."""

    def refuse(hello: Hello) -> Answer:
        return Rejected(process_token=hello.process_token, reason="dask is too old")

    status, said, _ = run_one(tmp_path, refuse)
    assert status == EXIT_STATUS[Cause.REFUSED]
    assert "dask is too old" in said


def test_a_node_waits_as_it_is_told(tmp_path: Path) -> None:
    """It comes back after the time it was given, as the same process."""
    asked: list[Hello] = []

    def answer(hello: Hello) -> Answer:
        asked.append(hello)
        me = hello.process_token
        if len(asked) < 3:
            return Wait(process_token=me, seconds=0.05, reason="wait")
        return NotNeeded(process_token=me, reason="enough")

    status, _, _ = run_one(tmp_path, answer)
    assert status == 0
    assert len({hello.process_token for hello in asked}) == 1


@in_loop
async def test_a_node_without_a_door_gives_up_in_time(tmp_path: Path) -> None:
    """It lists what it tried, and its exit status says that it found no way."""
    async with stage(tmp_path) as on:
        on.connect(addresses=("127.0.0.1:1",), timeout=0.5)
        node = on.start_node()
        assert await node.ended(20) == EXIT_STATUS[Cause.UNREACHABLE]
        assert "127.0.0.1:1: connection refused" in node.last_line


@in_loop
async def test_a_node_without_its_file_says_where_it_looked(tmp_path: Path) -> None:
    """The connection file is not there: one line, and a status of its own."""
    async with stage(tmp_path) as on:
        node = on.start_node()
        assert await node.ended(20) == EXIT_STATUS[Cause.UNREADABLE]
        assert str(tmp_path / "connection.json") in node.last_line
        assert on.hellos == []


def test_a_scratch_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is found out before Dask is imported, and the farewell says so."""
    status, said, on = run_one(tmp_path, local_directory="/proc/nowhere")
    assert status == EXIT_STATUS[Cause.NO_SCRATCH]
    assert "/proc/nowhere" in said
    (exit_report,) = on.farewells
    assert exit_report.cause == Cause.NO_SCRATCH.value


def test_a_broken_installation_is_in_the_farewell(tmp_path: Path) -> None:
    """A distributed that cannot be imported ends the node with its own words."""
    broken = tmp_path / "broken" / "distributed"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('libfoo.so.7: no such file')\n")
    status, said, on = run_one(tmp_path, environment={"PYTHONPATH": str(broken.parent)})
    assert status == EXIT_STATUS[Cause.NO_IMPORT]
    assert "libfoo.so.7" in said
    (exit_report,) = on.farewells
    assert "Traceback" in exit_report.stderr


@pytest.mark.parametrize("nanny", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@in_loop
async def test_a_signal_drains_a_node(
    number: signal.Signals, nanny: bool, tmp_path: Path
) -> None:
    """It hands its data over, says which signal it was, and ends with status 0."""
    async with stage(tmp_path, nanny=nanny) as on, client_of(on) as client:
        on.connect()
        leaving, _ = on.start_node(1), on.start_node(2)
        address, _ = await on.worker("ge-1"), await on.worker("ge-2")
        data = client.submit(os.urandom, 8, workers=[address], pure=False)
        before = await data
        if number is signal.SIGTERM:
            os.kill(leaving.process.pid, number)
        else:  # Grid Engine sends these to the whole group
            os.killpg(leaving.process.pid, number)
        assert await leaving.ended(30) == 0
        exit_report = await on.exit_report()
        assert (exit_report.cause, exit_report.detail) == ("drained", number.name)
        assert await data == before


@in_loop
async def test_a_spawned_worker_outlives_the_courtesy_signals(tmp_path: Path) -> None:
    """It is executed anew and inherits no handler; yet its node drains it in peace."""
    async with (
        stage(tmp_path, start_method="spawn") as on,
        client_of(on) as client,
    ):
        on.connect()
        leaving, _ = on.start_node(1), on.start_node(2)
        address, _ = await on.worker("ge-1"), await on.worker("ge-2")
        data = client.submit(os.urandom, 8, workers=[address], pure=False)
        before = await data
        os.killpg(leaving.process.pid, signal.SIGUSR2)
        assert await leaving.ended(30) == 0
        exit_report = await on.exit_report()
        assert (exit_report.exit_status, exit_report.signal) == (0, None)
        assert await data == before


@in_loop
async def test_a_signal_is_obeyed_whenever_it_comes(tmp_path: Path) -> None:
    """While it imports, forks, registers: an exception there would be lost."""
    loop = asyncio.get_running_loop()

    def answer(hello: Hello) -> Answer:
        delay = 0.02 + hello.index * 0.08
        loop.call_later(delay, os.kill, hello.pid, signal.SIGUSR1)
        return on.allocate(hello)

    async with stage(tmp_path) as on:
        on.answer = answer
        on.connect()
        nodes = [on.start_node(index) for index in range(1, 9)]
        assert [await node.ended(30) for node in nodes] == [0] * len(nodes)
        await until(lambda: len(on.farewells) == len(nodes), "all farewells")
    assert {said.cause for said in on.farewells} == {"drained"}
    assert all("Traceback" not in node.said() for node in nodes)


def test_what_is_no_array_task_is_no_node(tmp_path: Path) -> None:
    """Started by hand it ends at once, and names the variable that is missing."""
    status, said, on = run_one(tmp_path, environment={"SGE_TASK_ID": "undefined"})
    assert status not in (0, 99, 100)
    assert "undefined" in said
    assert on.hellos == []


@in_loop
async def test_a_signal_before_there_is_work_ends_a_node(tmp_path: Path) -> None:
    """A node that waits at the door goes at once."""

    def wait(hello: Hello) -> Answer:
        return Wait(process_token=hello.process_token, seconds=30, reason="wait")

    async with stage(tmp_path) as on:
        on.answer = wait
        on.connect()
        node = on.start_node()
        await until(lambda: on.hellos, "a hello", 20, node.said)
        os.kill(node.process.pid, signal.SIGTERM)
        assert await node.ended(10) == 0
        assert "SIGTERM" in node.last_line


def test_the_way_to_the_hello_is_light() -> None:
    """Before its hello a node imports neither Dask nor anything else that is heavy."""
    code = "import sys, dask_gridengine.node; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"dask", "distributed", "tornado", "asyncio", "psutil", "cryptography"}
    assert not heavy & set(loaded)
    later = {"light", "life", "nanny"}
    assert not {f"dask_gridengine.worker.{name}" for name in later} & set(loaded)
    assert "dask_gridengine.bootstrap.client" in loaded
