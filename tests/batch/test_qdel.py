"""Deletion with ``qdel``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dask_gridengine.batch.sge.qdel import delete_jobs, delete_tasks
from tests.clusters import FakeGrid


def test_deleting_what_is_gone_is_no_error(tmp_path: Path) -> None:
    """The next job is deleted; another error is raised."""
    grid = FakeGrid({"8": tmp_path / "mine"}, "ann")
    delete_jobs(["7", "8"], grid)
    assert (grid.deleted, grid.jobs) == (["7", "8"], {})

    def denied(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "denied: not your job")

    with pytest.raises(subprocess.CalledProcessError):
        delete_jobs(["9"], denied)


@pytest.mark.parametrize(
    "gone",
    [
        'denied: job "9" does not exist',
        'job "9" task id range "10-20:1" comprises no tasks',
    ],
)
def test_tasks_that_are_gone_are_ignored(gone: str) -> None:
    """By the messages of Son of Grid Engine 8.1.9; another error is raised."""
    commands = []

    def failing(command: list[str]) -> str:
        commands.append(command)
        raise subprocess.CalledProcessError(1, command, f"{gone}\n", "")

    delete_tasks("9", 10, 20, failing)
    assert commands == [["qdel", "9", "-t", "10-20"]]
    gone = "denied: not your job"
    with pytest.raises(subprocess.CalledProcessError):
        delete_tasks("9", 10, 20, failing)
