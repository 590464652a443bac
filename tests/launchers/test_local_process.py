"""The process launcher's child, and what it does when its parent ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until


@contextmanager
def user(
    shared: Path, ending: str
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """Start a user's Python and its child, with two running nodes and a queued one."""
    command = [sys.executable, "-m", "tests.launchers.user", "process", str(shared)]
    with subprocess.Popen(
        [*command, ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            child = psutil.Process(json.loads(process.stdout.readline())["child"])
            wait_until(lambda: len(nodes(child)) == 4, "two nodes and their sleeps")
            yield process, child
        finally:
            process.kill()


def nodes(child: psutil.Process) -> list[psutil.Process]:
    return child.children(recursive=True)


def wait_until_gone(processes: list[psutil.Process]) -> None:
    wait_until(
        lambda: not any(process.is_running() for process in processes),
        "all gone",
        last_seen=lambda: [str(process) for process in processes],
    )


@pytest.mark.parametrize(
    ("ending", "end"),
    [
        ("sleep", subprocess.Popen.kill),
        ("fork", subprocess.Popen.kill),
        ("exit", lambda process: process.stdin.close()),
    ],
)
def test_nothing_outlives_the_parent(
    shared: Path, ending: str, end: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    """The child kills every node, removes the cluster's directory and ends.

    Also when a fork of the parent holds the pipe open.
    """
    shared = shared / "dask-1"
    shared.mkdir()
    with user(shared, ending) as (parent, child):
        remaining = [child, *nodes(child)]
        forks = psutil.Process(parent.pid).children()
        forks.remove(child)
        end(parent)
        wait_until_gone(remaining)
        for fork in forks:
            fork.kill()
    assert not shared.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not help")
def test_nodes_die_with_a_killed_child(shared: Path) -> None:
    """The parent, which lives, kills the processes that they started."""
    with user(shared, "sleep") as (_, child):
        remaining = nodes(child)
        child.kill()
        wait_until_gone(remaining)
    (shared / "connection.json").unlink()


def test_sigterm_ends_the_child_and_its_nodes(shared: Path) -> None:
    """The directory stays for the living parent. Ctrl-C and hangups do nothing."""
    with user(shared, "sleep") as (_, child):
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGHUP)
        remaining = [child, *nodes(child)]
        assert len(remaining) == 5
        child.send_signal(signal.SIGTERM)
        wait_until_gone(remaining)
        assert (shared / "connection.json").exists()


def test_nodes_do_not_inherit_ignored_signals(shared: Path) -> None:
    """An ignored signal would stay ignored in every process of a node."""
    with user(shared, "sleep") as (_, child):
        for line in Path(f"/proc/{nodes(child)[0].pid}/status").read_text().split("\n"):
            if line.startswith("SigIgn"):
                ignored = int(line.split()[1], 16)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        assert not ignored & 1 << (number - 1), number
