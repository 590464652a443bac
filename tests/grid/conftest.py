"""The cell, for tests on its master host."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import wait_until

CI_GRID = Path(__file__).parents[2] / "ci" / "grid"


class Cell:
    """The commands of a user on the master host."""

    hosts = ("node1", "node2")

    @property
    def directory(self) -> Path:
        """Directory of the cell's files; ``private`` in it differs on each host."""
        return Path(os.environ["SGE_ROOT"]).parent

    def qstat(self, *arguments: str) -> str:
        """Return what qstat prints; "" when the queue is empty."""
        return self.run("qstat", *arguments)

    def run(self, *command: str) -> str:
        """Run a command here and return what it prints."""
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def control(self, *arguments: str) -> str:
        """Run ``ci/grid ARGUMENTS`` and return what it prints."""
        return self.run(str(CI_GRID), *arguments)

    def nodes(self) -> list[list[str]]:
        """Return the command lines of all nodes, on each host of the cell."""
        root = os.environ["SGE_ROOT"]  # another cell on this machine has another
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            line = process.info["cmdline"] or []
            if (process.info["environ"] or {}).get("SGE_ROOT") != root:
                continue
            if "dask_gridengine.node" in line or "multiprocessing" in " ".join(line):
                found.append(line)
        return found


@pytest.fixture
def grid() -> Iterator[Cell]:
    """A cell whose queue is empty before the test, and must be empty afterwards."""
    if shutil.which("qstat") is None or "SGE_ROOT" not in os.environ:
        pytest.fail("no Grid Engine here; type: ci/grid run gridmaster pytest -m grid")
    cell = Cell()
    assert cell.qstat() == "", "an earlier test has left jobs"
    # After a restart of qmaster a host is unknown to it for half a minute.
    wait_until(
        lambda: cell.qstat("-f", "-qs", "u") == "",
        "all hosts known to qmaster",
        60,
        lambda: cell.qstat("-f"),
    )
    yield cell
    wait_until(lambda: cell.qstat() == "", "an empty queue", 30, cell.qstat)
    wait_until(lambda: not cell.nodes(), "no node process left", 30, cell.nodes)


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    """Options of a cluster whose files a test can read."""
    return {
        "launcher": "drmaa",
        "memory": "500 MB",
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
        "death_timeout": 20,
    }
