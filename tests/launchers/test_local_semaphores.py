"""POSIX semaphores that killed nodes leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dask_gridengine.launchers.local.semaphores import (
    PREFIX,
    SHARED_MEMORY,
    remove_stale,
)

MAKE = """
import multiprocessing, os, sys
from dask_gridengine.launchers.local.semaphores import name_after_process
name_after_process()
queue = multiprocessing.get_context("spawn").Queue()
print("made", flush=True)
sys.stdin.read()
"""


def names(pid: int) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"sem.{PREFIX}-{pid}-*"))


@pytest.mark.parametrize("named", [True, False])
def test_semaphores_of_a_killed_process_are_removed(named: bool) -> None:
    """Those of a live process stay."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"made\n"
        assert names(node.pid)
        remove_stale()
        assert names(node.pid), "they belong to a process that lives"
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
    assert names(node.pid)
    remove_stale(node.pid if named else None)
    assert names(node.pid) == []
