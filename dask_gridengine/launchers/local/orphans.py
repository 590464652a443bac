"""Processes a node leaves behind, and how not to leave any ourselves.

On Linux the session makes itself the reaper of its descendants: whoever loses its
parent becomes the session's own child. Elsewhere they are found by their environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import psutil

MARK = "GRIDENGINE_NODE"  # its value names one node of one session

GENERATIONS = 5  # a process may start another before it is killed itself

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None) if _LINUX else None


def become_reaper() -> None:
    """Have orphans among our descendants given to us; Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def dies_with_parent() -> Callable[[], None] | None:
    """For `Popen`'s ``preexec_fn``: SIGKILL when this process goes; Linux only.

    The kernel watches the thread that forks, not the process, so this is for
    single-threaded parents.
    """
    if _libc is None:
        return None
    libc, parent = _libc, os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before the kernel was told
            os._exit(1)

    return in_child


def orphans(nodes: Container[int], *, prefix: str) -> Iterator[tuple[int, str | None]]:
    """Process id and mark of every process that lost the node it came from.

    Parameters
    ----------
    nodes
        Process ids of the nodes that run.
    prefix
        What the marks of this session begin with.
    """
    found = psutil.Process().children() if _LINUX else _marked_and_lost(prefix)
    for process in found:
        if process.pid not in nodes:
            yield process.pid, _submission_id(process)


def remove_remains(directory: Path) -> None:
    """Kill what a session that was killed left behind, and remove its directory.

    Parameters
    ----------
    directory
        What the marks of that session begin with.
    """
    for _ in range(GENERATIONS):
        left = [
            process.pid
            for process in psutil.process_iter()
            if (_submission_id(process) or "").startswith(f"{directory}/")
        ]
        for pid in left:
            kill(pid)
        if not left:
            break
    shutil.rmtree(directory, ignore_errors=True)


def kill(pid: int) -> None:
    """SIGKILL, unless it is gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """SIGKILL to the process group of a leader, which may itself be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _marked_and_lost(prefix: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        if (_submission_id(process) or "").startswith(prefix) and process.ppid() == 1:
            yield process


def _submission_id(process: psutil.Process) -> str | None:
    try:
        submission_id: str | None = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
    return submission_id
