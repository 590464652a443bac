"""The DRMAA session's day, with a grid of the test's own making behind it."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.errors import DrmCommunicationError, LauncherError, SubmitError
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.session import SessionLauncher
from dask_gridengine.launchers.supervisor import SessionProgram
from tests.launchers.conftest import Ends
from tests.waiting import until, wait_until

REQUEST = NodeRequest(name="x", command=("sleep", "1"))


@dataclass
class Grid:
    """The files by which the fake grid is driven."""

    directory: Path

    @property
    def deleted(self) -> list[str]:
        path = self.directory / "deleted"
        return path.read_text().split() if path.exists() else []

    @property
    def asked(self) -> list[str]:
        path = self.directory / "asked"
        return path.read_text().split() if path.exists() else []

    def end(self, node: NodeId, status: int) -> None:
        new = self.directory / "new"
        new.write_text(str(status))
        new.rename(self.directory / f"end-{node}")

    def program(self, *arguments: str) -> SessionProgram:
        return SessionProgram(
            kind="drmaa",
            module="tests.launchers.fake_grid",
            arguments=("--contact", str(self.directory), *arguments),
            describe=lambda ready: ready["system"],
            advise=lambda failed: "",
            nodes_outlive_it=True,
        )

    @asynccontextmanager
    async def launcher(self, ends: Ends) -> AsyncIterator[SessionLauncher]:
        launcher = await SessionLauncher.open(self.program(), ends)
        try:
            yield launcher
        finally:
            await launcher.aclose(timeout=4)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    """A grid without jobs."""
    return Grid(tmp_path)


def test_ends_are_passed_on(grid: Grid, ends: Ends) -> None:
    """As the grid tells them, within a second."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = await launcher.submit(REQUEST, 3)
            grid.end(nodes[1], 7)
            (end,) = await ends.of([nodes[1]], timeout=2)
            assert end == EndNotice(node=nodes[1], exit_status=7)

    asyncio.run(main())


def test_silent_nodes_are_asked_about(grid: Grid, ends: Ends) -> None:
    """Before it would be their turn, which comes after half an hour; and only they."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = await launcher.submit(REQUEST, 400)
            silent = {str(node) for node in nodes[300:302]}
            await launcher.ask_about(nodes[300:302])
            await until(lambda: silent <= set(grid.asked), "questions", 10)
            assert len(set(grid.asked) - silent) < 10

    asyncio.run(main())


@pytest.mark.parametrize(
    ("native", "down", "error", "told"),
    [
        ("-q nowhere", False, SubmitError, 'unknown queue "nowhere"'),
        ("-q cheese", False, LauncherError, "out of cheese"),
        ("", True, DrmCommunicationError, "unable to contact qmaster"),
    ],
)
def test_what_cannot_be_submitted_is_told_in_the_grids_words(
    grid: Grid, ends: Ends, native: str, down: bool, error: type, told: str
) -> None:
    """As the kind of error it is; the session lives on."""
    request = NodeRequest(name="x", command=("sleep",), native=native)

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            if down:
                (grid.directory / "down").touch()
            with pytest.raises(error, match=told):
                await launcher.submit(request, 1)
            (grid.directory / "down").unlink(missing_ok=True)
            assert await launcher.submit(REQUEST, 1)

    asyncio.run(main())


def test_a_submission_without_answer_is_looked_for(grid: Grid, ends: Ends) -> None:
    """The master may have queued it; it is found by its mark and deleted."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            (grid.directory / "down").touch()
            with pytest.raises(DrmCommunicationError):
                await launcher.submit(REQUEST, 1)
            (grid.directory / "down").unlink()
            await until(lambda: "77" in grid.deleted, "its deletion", 10)

    asyncio.run(main())
    sought = (grid.directory / "sought").read_text().split()
    assert set(sought[0::2]) == {REQUEST.name}
    assert len(set(sought[1::2])) == 1


def test_closing_deletes_everything_and_waits_until_it_is_gone(
    grid: Grid, ends: Ends
) -> None:
    """Arrays by their ids, then whatever else the session ever queued."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = [node for _ in "12" for node in await launcher.submit(REQUEST, 500)]
        assert all(end.cancelled for end in await ends.of(nodes))

    asyncio.run(main())
    assert grid.deleted == ["1", "2", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]


def test_ends_are_passed_on_while_many_are_deleted(grid: Grid, ends: Ends) -> None:
    """Deletions one by one take their time, and take it in turns."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = await launcher.submit(REQUEST, 201)
            await launcher.cancel(nodes[:100])
            grid.end(nodes[200], 5)
            await ends.of([nodes[200]])
            assert len(ends.seen) < 100
            await ends.of(nodes[:100])

    asyncio.run(main())


def test_a_deletion_during_an_outage_is_made_up_for(
    grid: Grid, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is not bothered; people are told, once for each turn of events."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = await launcher.submit(REQUEST, 2)
            (grid.directory / "down").touch()
            await launcher.cancel(nodes)
            await until(lambda: "does not answer" in caplog.text, "a note")
            assert ends.seen == []
            (grid.directory / "down").unlink()
            assert all(end.cancelled for end in await ends.of(nodes))
            assert "answers again" in caplog.text
        assert len(caplog.records) == 2

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


def test_closing_is_bounded_when_jobs_do_not_go(grid: Grid, ends: Ends) -> None:
    """The grid has taken the deletions on; a node whose host is gone may take long."""
    (grid.directory / "stubborn").touch()

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            nodes = await launcher.submit(REQUEST, 1)
            (session,) = psutil.Process().children()
        await ends.of(nodes)
        assert not session.is_running()

    start = time.monotonic()
    asyncio.run(main())
    assert 2 < time.monotonic() - start < 5


def test_closing_during_an_outage_leaves_the_deletion_to_the_session(
    grid: Grid, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on by itself, and says so before."""

    async def main() -> int:
        async with grid.launcher(ends) as launcher:
            await launcher.submit(REQUEST, 2)
            (session,) = psutil.Process().children()
            (grid.directory / "down").touch()
        return session.pid

    session = asyncio.run(main())
    assert f"not deleted yet: job 1; process {session} goes on" in caplog.text
    assert psutil.pid_exists(session)
    (grid.directory / "down").unlink()
    wait_until(lambda: not psutil.pid_exists(session), "its end")
    assert "1" in grid.deleted


USER = """
import asyncio, os, signal, sys
from pathlib import Path
import psutil
from dask_gridengine.launchers.session import SessionLauncher
from tests.launchers.test_drmaa_service import REQUEST, Grid
async def main():
    program = Grid(Path(sys.argv[1])).program("--cleanup", sys.argv[2])
    launcher = await SessionLauncher.open(program, print)
    await launcher.submit(REQUEST, 3)
    print(psutil.Process().children()[0].pid, flush=True)
    if os.fork() == 0:
        signal.pause()
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.mark.parametrize("down", [False, True])
def test_nothing_outlives_the_parent(grid: Grid, shared: Path, down: bool) -> None:
    """It deletes every job, also when the master is away at first, and tidies up.

    A fork of the parent that holds the pipe open makes no difference.
    """
    shared = shared / "dask-1"
    (shared / "logs").mkdir(parents=True)
    (shared / "connection.json").touch()
    command = [sys.executable, "-c", USER, str(grid.directory), str(shared)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        session = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: len(psutil.Process(parent.pid).children()) == 2, "the fork")
        fork = psutil.Process(parent.pid).children()[-1]
        if down:
            (grid.directory / "down").touch()
        parent.kill()
        if down:
            time.sleep(1)  # not for something to happen, but for nothing to
            assert session.is_running()
            assert (shared / "connection.json").exists()
            (grid.directory / "down").unlink()
        wait_until(lambda: not session.is_running(), "the session's end")
        fork.kill()
    assert grid.deleted == ["1", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]
    assert not shared.exists()


def test_sigterm_deletes_everything_but_the_directory(
    grid: Grid, ends: Ends, shared: Path
) -> None:
    """The parent lives and has use for that; it gets another session."""
    (shared / "connection.json").touch()

    async def main() -> None:
        program = grid.program("--cleanup", str(shared))
        launcher = await SessionLauncher.open(program, ends)
        await launcher.submit(REQUEST, 2)
        (session,) = psutil.Process().children()
        session.terminate()
        await until(lambda: not session.is_running(), "its end")
        assert grid.deleted == ["1", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]
        assert (shared / "connection.json").exists()
        assert await launcher.submit(REQUEST, 1)
        await launcher.aclose(timeout=1)

    asyncio.run(main())
    (shared / "connection.json").unlink()


def test_ctrl_c_and_hangups_are_not_for_it(grid: Grid, ends: Ends) -> None:
    """They are for the program in the terminal, which will say if it goes."""

    async def main() -> None:
        async with grid.launcher(ends) as launcher:
            (session,) = psutil.Process().children()
            session.send_signal(signal.SIGINT)
            session.send_signal(signal.SIGHUP)
            nodes = await launcher.submit(REQUEST, 1)
            await launcher.cancel(nodes)
            await ends.of(nodes)

    asyncio.run(main())


def test_an_unknown_request_is_answered(grid: Grid, ends: Ends) -> None:
    """A parent of another version hears of it, instead of waiting for ever."""

    async def main() -> dict[str, Any]:
        async with grid.launcher(ends) as launcher:
            session = await launcher._session()
            return await asyncio.wait_for(session.ask("dance"), timeout=5)

    assert asyncio.run(main())["text"] == "no such request: 'dance'"
