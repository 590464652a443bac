"""Processes that nodes leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dask_gridengine.launchers.local import orphans
from tests.waiting import wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not help")

# What a reaper does, in a process of its own: pytest itself must not become one.
REAPER = """
import os, subprocess, sys, time
from dask_gridengine.launchers.local import orphans
orphans.become_reaper()
lost = subprocess.Popen(
    ["sh", "-c", "setsid sleep 1000 >/dev/null & echo $!"],
    stdout=subprocess.PIPE,
    env={**os.environ, orphans.NODE_VARIABLE: "/here/1.1"},
)
pid = int(lost.stdout.readline())
lost.wait()
kept = subprocess.Popen(["sleep", "1000"])
for found in orphans.orphans({kept.pid}, prefix="/here"):
    print(*found, found[0] == pid)
orphans.kill(pid)
orphans.kill_group(kept.pid)
kept.kill()
kept.wait()
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to be killed."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


@linux
def test_an_orphan_becomes_a_child_of_the_reaper() -> None:
    """Also from a session of its own; with the mark of its node."""
    command = [sys.executable, "-c", REAPER]
    ran = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert ran.stdout.split()[1:] == [b"/here/1.1", b"True"]
    assert len(ran.stdout.splitlines()) == 1


@linux
def test_a_node_dies_with_the_launchers_child() -> None:
    """However that dies: the kernel kills the node."""
    program = (
        "import subprocess, time\n"
        "from dask_gridengine.launchers.local import orphans\n"
        "node = subprocess.Popen(['sleep', '1000'],"
        " preexec_fn=orphans.die_with_parent(), stdout=subprocess.DEVNULL)\n"
        "print(node.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        node = int(parent.stdout.readline())
        assert psutil.pid_exists(node)
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(node), "the node's end")


def test_killing_an_ended_process_is_not_an_error(
    sleeper: subprocess.Popen[bytes],
) -> None:
    """It may end in the moment before."""
    orphans.kill_group(sleeper.pid)
    assert sleeper.wait(timeout=10) == -signal.SIGKILL
    orphans.kill_group(sleeper.pid)
    orphans.kill(sleeper.pid)


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
