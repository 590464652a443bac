"""The command line on a real grid: list, explain and close a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine import GridEngineCluster, connect
from tests.clusters import DASK
from tests.grid.conftest import Cell
from tests.waiting import wait_until

pytestmark = [pytest.mark.grid, pytest.mark.timeout(120)]

NO_PAGE = "scheduler-options={'dashboard_address': ':0'}"


class Shell:
    """The command line of a user with this shared directory."""

    def __init__(self, shared: Path) -> None:
        self._environment = {
            **os.environ,
            "DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared),
            "DASK_GRIDENGINE__MEMORY": "500 MB",
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [DASK, "gridengine", *arguments],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def type(self, *arguments: str) -> str:
        return subprocess.run(
            [DASK, "gridengine", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def clusters(self) -> dict[str, dict[str, Any]]:
        return {c["cluster"]: c for c in json.loads(self.type("ps", "--json"))}


@pytest.fixture
def shell(grid: Cell, shared: Path) -> Shell:
    return Shell(shared)


@pytest.fixture
def manager(shell: Shell) -> Iterator[subprocess.Popen[bytes]]:
    """``up`` with two working nodes."""
    with shell.start("up", "--jobs=2", "--name=mine", "-o", NO_PAGE) as process:
        try:
            wait_until(
                lambda: working(shell) == 2, "two working nodes", 30, shell.clusters
            )
            yield process
        finally:
            process.kill()


def working(shell: Shell) -> int:
    status = shell.clusters().get("mine", {}).get("status") or {}
    return int(status.get("states", {}).get("working", 0))


def test_a_cluster_of_another_process(
    shell: Shell, manager: subprocess.Popen[bytes], shared: Path
) -> None:
    """Other processes can explain its nodes, connect a client, and close it."""
    (job,) = shell.clusters()["mine"]["jobs"]
    assert "worked" in shell.type("explain", f"{job['id']}.1")
    assert "Registered to" in shell.type("logs", f"{job['id']}.1")
    with connect("mine", shared_directory=shared, set_as_default=False) as client:
        assert client.submit(sum, [1, 2, 3]).result() == 6
    assert "mine: closed" in shell.type("kill", "mine", "--yes")
    assert manager.wait(20) == 0


def test_its_manager_was_killed(
    shell: Shell, manager: subprocess.Popen[bytes], shared: Path
) -> None:
    """Its launcher deletes its jobs; ``kill`` removes its files."""
    manager.kill()
    manager.wait()
    shell.type("kill", "--yes")
    wait_until(lambda: shell.clusters() == {}, "no cluster", 20, shell.clusters)
    wait_until(lambda: not list(shared.iterdir()), "no file", 10)


@pytest.mark.parametrize(
    ("folder", "batch_system"),
    [("it's a folder", "gridengine"), ("plain", "plain")],
)
@pytest.mark.timeout(300)
def test_only_what_is_dead_is_deleted(
    grid: Cell,
    options: dict[str, Any],
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    batch_system: str,
) -> None:
    """``kill`` without a name deletes no job of a running cluster, for any path and any
    batch system; ``ps`` lists each cluster once."""
    place = shared / folder
    options |= {
        "shared_directory": place,
        "job_extra_directives": ["-h"],  # all stay queued
        "job_script_prologue": ["# a comment"],
    }
    held = [f"-ojob_extra_directives={options['job_extra_directives']!r}"]
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", batch_system)
    shell = Shell(place)
    with (
        GridEngineCluster(jobs=2, name="living", **options) as cluster,
        shell.start("up", "--jobs=2", "--name=dead", "-o", NO_PAGE, *held) as manager,
    ):
        try:
            wait_until(lambda: " dead " in grid.qstat(), "its jobs", 90, grid.qstat)
            # Its launcher as well, which would delete its jobs and be restarted.
            manager.send_signal(signal.SIGSTOP)
            for process in psutil.Process(manager.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            manager.kill()
            manager.wait()
            seen = shell.clusters()
            assert {name: seen[name]["manager"] for name in seen} == {
                "living": "alive",
                "dead": "gone",
            }
            mine = {row.id.job.partition(".")[0] for row in cluster.jobs()}
            dead = {job["id"] for job in seen["dead"]["jobs"]}
            assert {job["id"] for job in seen["living"]["jobs"]} == mine
            assert "dead: deleted job" in shell.type("kill", "--yes")
            wait_until(
                lambda: (
                    not dead & {row.split()[0] for row in grid.qstat().splitlines()[2:]}
                ),
                "the dead one's jobs are gone",
                30,
                grid.qstat,
            )
            assert mine <= {row.split()[0] for row in grid.qstat().splitlines()[2:]}
        finally:
            manager.kill()
            subprocess.run(["qdel", "dead"], check=False, capture_output=True)
    place.rmdir()


def test_its_manager_hangs(
    grid: Cell, shell: Shell, manager: subprocess.Popen[bytes]
) -> None:
    """Its jobs are only deleted by its name, and its files stay."""
    manager.send_signal(signal.SIGSTOP)
    assert shell.clusters()["mine"]["manager"] == "silent"
    assert "nothing to end" in shell.type("kill", "--yes")
    assert "may still run" in shell.type("kill", "mine", "--yes")
    assert grid.qstat() == ""
    manager.send_signal(signal.SIGCONT)
    wait_until(lambda: shell.clusters()["mine"]["manager"] == "alive", "it goes on", 20)
    manager.send_signal(signal.SIGTERM)
    assert manager.wait(30) == 0
