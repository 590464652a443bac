"""The DRMAA launcher's child process, with a fake grid or without one."""

from __future__ import annotations

import asyncio
import json
import os
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
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.channel import ChildProgram
from dask_gridengine.launchers.drmaa.discovery import (
    INSTALL_LIBRARY,
    STATIC_TLS_TUNABLE,
)
from dask_gridengine.launchers.drmaa.launcher import DrmaaLauncher
from dask_gridengine.launchers.drmaa.process import INSTALL_PACKAGE
from dask_gridengine.launchers.supervisor import ChildSupervisor
from tests.launchers.conftest import Ends, newest_child
from tests.waiting import until, wait_until

MODULE = "dask_gridengine.launchers.drmaa.process"
FAKE_DRMAA = """
import os, sys
sys.stderr.write(repr(os.environ.get("GLIBC_TUNABLES")))
class DrmaaException(Exception): pass
class DrmCommunicationException(DrmaaException): pass
errors = sys.modules[__name__]
class Session:
    def initialize(self, contact):
        raise {error}
"""


def run_session(place: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """Run it with a ``drmaa`` package from `place`; return its message and stderr."""
    path = os.pathsep.join([str(place), *sys.path])
    command = [sys.executable, "-m", MODULE, "--parent", str(os.getpid())]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        timeout=20,
        check=True,
    )
    (line,) = ran.stdout.splitlines()
    return json.loads(line), ran.stderr.decode()


@pytest.mark.parametrize(
    ("module", "advice", "text"),
    [
        (
            "raise ModuleNotFoundError('No module named drmaa')",
            INSTALL_PACKAGE,
            "No module",
        ),
        ("raise OSError('static TLS block')", INSTALL_LIBRARY, "static TLS block"),
        ("raise RuntimeError('no libdrmaa')", INSTALL_LIBRARY, "no libdrmaa"),
        (
            FAKE_DRMAA.format(error="DrmCommunicationException('code 2: no route')"),
            None,
            "no route",
        ),
        (
            FAKE_DRMAA.format(error="DrmaaException('code 1: set SGE_ROOT')"),
            None,
            "set SGE_ROOT",
        ),
        (
            FAKE_DRMAA.format(error="SystemExit").replace(
                "raise SystemExit", "self.drmsInfo, self.contact = 'SLURM 22.05.8', ''"
            ),
            None,
            "squeue",
        ),
    ],
)
def test_the_only_message_has_the_problem_and_advice(
    tmp_path: Path, module: str, advice: str | None, text: str
) -> None:
    """The parent knows what to type if the grid itself does not work."""
    (tmp_path / "drmaa.py").write_text(module)
    message, _ = run_session(tmp_path, PATH=str(tmp_path))  # without squeue
    assert message["error"] == "internal"
    assert message.get("advice") == advice
    assert text in message["text"]
    assert "code" not in message["text"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (STATIC_TLS_TUNABLE, None),
        (f"glibc.malloc.check=1:{STATIC_TLS_TUNABLE}", "glibc.malloc.check=1"),
        (
            f"{STATIC_TLS_TUNABLE}:{STATIC_TLS_TUNABLE}",
            STATIC_TLS_TUNABLE,
        ),  # the user has set it as well
    ],
)
def test_the_tunable_for_glibc_does_not_reach_the_jobs(
    tmp_path: Path, before: str, after: str | None
) -> None:
    """Only ours is removed from the environment that ``-V`` copies."""
    (tmp_path / "drmaa.py").write_text(FAKE_DRMAA.format(error="DrmaaException()"))
    _, errors = run_session(tmp_path, GLIBC_TUNABLES=before)
    assert errors == repr(after)


REQUEST = NodeRequest(name="x", command=("sleep", "1"))


@dataclass
class Grid:
    """The files that control the fake grid."""

    directory: Path

    def calls(self, log: str) -> list[str]:
        path = self.directory / log
        return path.read_text().split() if path.exists() else []

    def end(self, node: NodeId, status: int) -> None:
        new = self.directory / "new"
        new.write_text(str(status))
        new.rename(self.directory / f"end-{node}")

    async def open(self, ends: Ends, cleanup: Path | None = None) -> Launcher:
        program = ChildProgram(
            kind="drmaa",
            module="tests.launchers.fake_grid",
            advice="",
            arguments=("--contact", str(self.directory)),
            cleanup=cleanup,
            nodes_survive=True,
        )
        return DrmaaLauncher(await ChildSupervisor.open(program, ends))

    @asynccontextmanager
    async def launcher(self, ends: Ends) -> AsyncIterator[Launcher]:
        launcher = await self.open(ends)
        try:
            yield launcher
        finally:
            await launcher.aclose(timeout=4)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    """A grid without jobs."""
    return Grid(tmp_path)


async def test_ends_are_reported(grid: Grid, ends: Ends) -> None:
    """As the grid reports them, within a second."""
    async with grid.launcher(ends) as launcher:
        assert launcher.description == ("Grid Engine through DRMAA (SGE 8.1.9 (fake))")
        nodes = await launcher.submit(REQUEST, 3)
        grid.end(nodes[1], 7)
        (end,) = await ends.of([nodes[1]], timeout=2)
        assert end == EndNotice(node=nodes[1], exit_status=7)


@pytest.mark.parametrize(
    ("native", "down", "error", "text"),
    [
        ("-q nowhere", False, SubmitError, 'unknown queue "nowhere"'),
        ("-q cheese", False, LauncherError, "out of cheese"),
        ("", True, DrmCommunicationError, "unable to contact qmaster"),
    ],
)
async def test_a_failed_submission_has_the_grids_text(
    grid: Grid, ends: Ends, native: str, down: bool, error: type, text: str
) -> None:
    """And the type of the problem; the next submission works."""
    request = NodeRequest(name="x", command=("sleep",), native=native)
    async with grid.launcher(ends) as launcher:
        if down:
            (grid.directory / "down").touch()
        with pytest.raises(error, match=text):
            await launcher.submit(request, 1)
        (grid.directory / "down").unlink(missing_ok=True)
        assert await launcher.submit(REQUEST, 1)


async def test_an_unacknowledged_submission_is_found_and_deleted(
    grid: Grid, ends: Ends
) -> None:
    """The master may have queued it."""
    async with grid.launcher(ends) as launcher:
        (grid.directory / "down").touch()
        with pytest.raises(DrmCommunicationError):
            await launcher.submit(REQUEST, 1)
        (grid.directory / "down").unlink()
        await until(lambda: "77" in grid.calls("deleted"), "its deletion", 10)
    searched = grid.calls("searched")
    assert set(searched[0::2]) == {REQUEST.name}
    assert len(set(searched[1::2])) == 1


async def test_closing_deletes_everything_and_waits_for_its_end(
    grid: Grid, ends: Ends
) -> None:
    """Arrays by their ids, then all other jobs of the session."""
    async with grid.launcher(ends) as launcher:
        nodes = [node for _ in "12" for node in await launcher.submit(REQUEST, 500)]
    assert all(end.cancelled for end in await ends.of(nodes))
    assert grid.calls("deleted") == ["1", "2", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]


async def test_a_deletion_during_an_outage_is_retried(
    grid: Grid, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets no error; the outage and its end are logged once each."""
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


async def test_closing_is_bounded_when_jobs_do_not_end(grid: Grid, ends: Ends) -> None:
    """The grid has accepted the deletions; a node on a lost host may take long."""
    (grid.directory / "stubborn").touch()
    start = time.monotonic()
    async with grid.launcher(ends) as launcher:
        nodes = await launcher.submit(REQUEST, 1)
        child = newest_child()
    await ends.of(nodes)
    assert not child.is_running()
    assert 2 < time.monotonic() - start < 5


def test_closing_during_an_outage_leaves_the_deletion_to_the_child(
    grid: Grid, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on after its parent, and a warning tells of it."""

    async def main() -> int:
        async with grid.launcher(ends) as launcher:
            await launcher.submit(REQUEST, 2)
            child = newest_child()
            (grid.directory / "down").touch()
        return child.pid

    child = asyncio.run(main())
    assert f"not deleted yet: job 1; process {child}" in caplog.text
    assert psutil.pid_exists(child)
    (grid.directory / "down").unlink()
    wait_until(lambda: not psutil.pid_exists(child), "its end")
    assert "1" in grid.calls("deleted")


USER = """
import asyncio, os, signal, sys
from pathlib import Path
import psutil
from tests.launchers.test_drmaa_process import REQUEST, Grid
async def main():
    launcher = await Grid(Path(sys.argv[1])).open(print, Path(sys.argv[2]))
    await launcher.submit(REQUEST, 3)
    print(psutil.Process().children()[0].pid, flush=True)
    if os.fork() == 0:
        signal.pause()
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.mark.parametrize("down", [False, True])
def test_nothing_outlives_the_parent(grid: Grid, shared: Path, down: bool) -> None:
    """Every job is deleted, also after an outage, and the cluster's directory.

    A fork of the parent that holds the pipe open makes no difference.
    """
    shared = shared / "dask-1"
    (shared / "logs").mkdir(parents=True)
    (shared / "connection.json").touch()
    command = [sys.executable, "-c", USER, str(grid.directory), str(shared)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: len(psutil.Process(parent.pid).children()) == 2, "the fork")
        fork = psutil.Process(parent.pid).children()[-1]
        if down:
            (grid.directory / "down").touch()
        parent.kill()
        if down:
            time.sleep(1)  # nothing may happen in this time
            assert child.is_running()
            assert (shared / "connection.json").exists()
            (grid.directory / "down").unlink()
        wait_until(lambda: not child.is_running(), "the child's end")
        fork.kill()
    assert grid.calls("deleted") == ["1", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]
    assert not shared.exists()


async def test_sigterm_deletes_all_jobs_but_not_the_directory(
    grid: Grid, ends: Ends, shared: Path
) -> None:
    """The parent lives and uses the directory; it starts another child."""
    (shared / "connection.json").touch()
    launcher = await grid.open(ends, cleanup=shared)
    await launcher.submit(REQUEST, 2)
    child = newest_child()
    child.terminate()
    await until(lambda: not child.is_running(), "its end")
    assert grid.calls("deleted") == ["1", "DRMAA_JOB_IDS_SESSION_ALL", "exit"]
    assert (shared / "connection.json").exists()
    assert await launcher.submit(REQUEST, 1)
    await launcher.aclose(timeout=1)
    (shared / "connection.json").unlink()
