"""Find and kill processes that a node leaves behind.

On Linux the child makes itself the reaper of its descendants: a process that loses its
parent becomes the child's own. Elsewhere orphans are found by their environment.
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

#: Marks every process of a node; its value, a path, names the node.
NODE_VARIABLE = "GRIDENGINE_NODE"

GENERATIONS = 5  # a process may start another one before it is killed itself

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None) if _LINUX else None


def become_reaper() -> None:
    """Become the parent of orphans among our descendants; Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> Callable[[], None] | None:
    """Return a ``preexec_fn`` that makes a process die with this one; Linux only.

    The kernel watches the thread that forks, not the process, so this is for
    single-threaded parents.
    """
    if _libc is None:
        return None
    libc, parent = _libc, os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os._exit(1)

    return in_child


def orphans(nodes: Container[int], *, prefix: str) -> Iterator[tuple[int, str | None]]:
    """Yield each process that has lost its node: its id, and the mark of that node.

    `nodes` are the process ids of running nodes, `prefix` begins all marks of theirs.
    """
    found = psutil.Process().children() if _LINUX else _marked_orphans(prefix)
    for process in found:
        if process.pid not in nodes:
            yield process.pid, _mark(process)


def remove_remains(directory: Path) -> None:
    """Kill the processes that a killed child left behind, and remove its directory."""
    for _ in range(GENERATIONS):
        remaining = [
            process.pid
            for process in psutil.process_iter()
            if (_mark(process) or "").startswith(f"{directory}/")
        ]
        for pid in remaining:
            kill(pid)
        if not remaining:
            break
    shutil.rmtree(directory, ignore_errors=True)


def kill(pid: int) -> None:
    """Send SIGKILL to a process, unless it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Send SIGKILL to the process group of a leader, which may itself be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _marked_orphans(prefix: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        if (_mark(process) or "").startswith(prefix) and process.ppid() == 1:
            yield process


def _mark(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(NODE_VARIABLE)
    except (psutil.Error, OSError):
        return None
    return mark
