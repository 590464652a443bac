"""Processes that nodes leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from dask_gridengine.launchers.local import orphans


def test_the_remains_of_a_killed_child_are_removed(tmp_path: Path) -> None:
    """Its directory, and every process with its mark; others are not touched."""
    directory, other = tmp_path / "dask-1", tmp_path / "dask-12"
    (directory / "1.1").mkdir(parents=True)
    remaining, kept = (
        subprocess.Popen(
            ["sleep", "1000"], env={**os.environ, orphans.NODE_VARIABLE: mark}
        )
        for mark in (f"{directory}/1.1", f"{other}/1.1")
    )
    orphans.remove_remains(directory)
    assert remaining.wait(timeout=10) == -signal.SIGKILL
    assert not directory.exists()
    assert kept.poll() is None
    kept.kill()
    kept.wait()
