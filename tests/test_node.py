"""``python -m dask_gridengine.node``: hello, worker, exit report."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.bootstrap.messages import Answer, Hello, NotNeeded, Rejected, Wait
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from tests.stage import Stage, client_of, stage
from tests.waiting import until


def run_one(
    folder: Path,
    answer: Callable[[Hello], Answer] | None = None,
    environment: dict[str, str] | None = None,
    **changes: Any,
) -> tuple[int, str, Stage]:
    """Run a node: its exit status, its log's last line, the stage."""

    async def main() -> tuple[int, str, Stage]:
        async with stage(folder, **changes) as on:
            on.answer = answer or on.answer
            on.connect(timeout=2.0)
            node = on.start_node(**(environment or {}))
            status = await node.ended(30)
            return status, node.last_line, on

    return asyncio.run(main())


def test_a_node_that_is_not_needed_ends_well(tmp_path: Path) -> None:
    """Its exit status is 0, and its log says why."""

    def leave(hello: Hello) -> Answer:
        return NotNeeded(
            process_token=hello.process_token, reason="no more workers are needed"
        )

    status, line, _ = run_one(tmp_path, leave)
    assert (status, "no more workers" in line) == (0, True)


def test_a_rejected_node_logs_the_reason(tmp_path: Path) -> None:
    """Its exit status is that of a rejection."""

    def refuse(hello: Hello) -> Answer:
        return Rejected(process_token=hello.process_token, reason="dask is too old")

    status, line, _ = run_one(tmp_path, refuse)
    assert status == EXIT_STATUS[Cause.REFUSED]
    assert "dask is too old" in line


async def test_a_node_without_an_answer_ends_in_time(tmp_path: Path) -> None:
    """It lists what it tried; its exit status has a value of its own."""
    async with stage(tmp_path) as on:
        on.connect(addresses=("127.0.0.1:1",), timeout=0.5)
        node = on.start_node()
        assert await node.ended(20) == EXIT_STATUS[Cause.UNREACHABLE]
        assert "127.0.0.1:1: connection refused" in node.last_line


async def test_a_node_without_its_file_logs_the_path(tmp_path: Path) -> None:
    """One line, and an exit status of its own."""
    async with stage(tmp_path) as on:
        (tmp_path / "connection.json").unlink()
        node = on.start_node()
        assert await node.ended(20) == EXIT_STATUS[Cause.UNREADABLE]
        assert str(tmp_path / "connection.json") in node.last_line
        assert on.hellos == []


def test_a_scratch_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is found before Dask is imported, and reported."""
    status, line, on = run_one(tmp_path, local_directory="/proc/nowhere")
    assert status == EXIT_STATUS[Cause.NO_SCRATCH]
    assert "/proc/nowhere" in line
    (report,) = on.reports
    assert report.cause == Cause.NO_SCRATCH.value


def test_a_broken_installation_is_reported(tmp_path: Path) -> None:
    """With the error that was raised while distributed was imported."""
    broken = tmp_path / "broken" / "distributed"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('libfoo.so.7: no such file')\n")
    status, line, on = run_one(tmp_path, environment={"PYTHONPATH": str(broken.parent)})
    assert status == EXIT_STATUS[Cause.NO_IMPORT]
    assert "libfoo.so.7" in line
    (report,) = on.reports
    assert "Traceback" in report.stderr


@pytest.mark.parametrize("nanny", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
async def test_a_signal_drains_a_node(
    number: signal.Signals, nanny: bool, tmp_path: Path
) -> None:
    """It moves its data, reports the signal, and ends with status 0."""
    async with stage(tmp_path, nanny=nanny) as on, client_of(on) as client:
        leaving, _ = on.start_node(1), on.start_node(2)
        address, _ = await on.worker("ge-1"), await on.worker("ge-2")
        data = client.submit(os.urandom, 8, workers=[address], pure=False)
        before = await data
        # Grid Engine and Slurm send them to all processes of a job.
        os.killpg(leaving.process.pid, number)
        assert await leaving.ended(30) == 0
        report = await on.exit_report()
        assert (report.cause, report.detail) == ("drained", number.name)
        assert (report.exit_status, report.signal) == (0 if nanny else None, None)
        assert await data == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
async def test_a_spawned_worker_ignores_the_grids_signals(
    number: signal.Signals, tmp_path: Path
) -> None:
    """A new Python process inherits no handler; yet its node drains it."""
    async with (
        stage(tmp_path, start_method="spawn") as on,
        client_of(on) as client,
    ):
        leaving, _ = on.start_node(1), on.start_node(2)
        address, _ = await on.worker("ge-1"), await on.worker("ge-2")
        data = client.submit(os.urandom, 8, workers=[address], pure=False)
        before = await data
        os.killpg(leaving.process.pid, number)
        assert await leaving.ended(30) == 0
        report = await on.exit_report()
        assert (report.exit_status, report.signal) == (0, None)
        assert await data == before


def send_and_wait(writer: Any) -> None:
    """Say that this process runs, and wait for its end."""
    writer.send("running")
    time.sleep(60)


def terminate_a_process() -> int | None:
    """Start a new Python from a task, terminate it, and return how it ended."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=send_and_wait, args=[writer])
    process.start()
    assert reader.poll(30)
    process.terminate()
    process.join(30)
    return process.exitcode


async def test_a_task_of_a_spawned_worker_can_terminate_what_it_starts(
    tmp_path: Path,
) -> None:
    """Only workers ignore SIGTERM, not processes that they spawn."""
    changes = {
        "config": {"distributed": {"worker": {"daemon": False}}},
        "import_path": [str(Path(__file__).parents[1])],  # of this module
    }
    async with (
        stage(tmp_path, start_method="spawn", **changes) as on,
        client_of(on) as client,
    ):
        on.start_node(1)
        await on.worker("ge-1")
        assert await client.submit(terminate_a_process) == -signal.SIGTERM


async def test_a_signal_drains_a_node_at_any_time(tmp_path: Path) -> None:
    """While it imports, forks, registers: an exception would be lost there."""
    loop = asyncio.get_running_loop()

    def answer(hello: Hello) -> Answer:
        delay = 0.02 + hello.index * 0.08
        loop.call_later(delay, os.kill, hello.pid, signal.SIGUSR1)
        return on.allocate(hello)

    async with stage(tmp_path) as on:
        on.answer = answer
        nodes = [on.start_node(index) for index in range(1, 9)]
        assert [await node.ended(30) for node in nodes] == [0] * len(nodes)
        await until(lambda: len(on.reports) == len(nodes), "all reports")
    assert {report.cause for report in on.reports} == {"drained"}
    assert all("Traceback" not in node.text() for node in nodes)


async def test_a_signal_before_there_is_work_ends_a_node(tmp_path: Path) -> None:
    """Also while it waits for an answer."""

    def wait(hello: Hello) -> Answer:
        return Wait(process_token=hello.process_token, seconds=30, reason="wait")

    async with stage(tmp_path) as on:
        on.answer = wait
        node = on.start_node()
        await until(lambda: on.hellos, "a hello", 20, node.text)
        os.kill(node.process.pid, signal.SIGTERM)
        assert await node.ended(10) == 0
        assert "SIGTERM" in node.last_line


def test_little_is_imported_before_the_hello() -> None:
    """Neither Dask nor anything else that takes long."""
    code = "import sys, dask_gridengine.node; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"dask", "distributed", "tornado", "asyncio", "psutil", "cryptography"}
    assert not heavy & set(loaded)
    later = {"fast_import", "run", "nanny"}
    assert not {f"dask_gridengine.worker.{name}" for name in later} & set(loaded)
    assert "dask_gridengine.bootstrap.client" in loaded
