"""Remove the POSIX semaphores of killed nodes.

A Nanny and its worker share semaphores, which `multiprocessing` creates in /dev/shm and
unlinks when the Nanny exits. Grid Engine ends a job by SIGKILL to all its processes,
and the semaphores would stay on the host for ever. So they are named after the node's
process, and a later node can find those whose process is gone.

A node imports this before its hello, so it imports nothing large.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PREFIX = "dask-ge"
SHARED_MEMORY = Path("/dev/shm")  # Linux keeps named semaphores here, as sem.NAME


def name_after_process() -> None:
    """Put this process's id into the names of semaphores that it will create."""
    from multiprocessing import process  # takes 5 ms, which `remove_stale` saves

    # A Python without this setting uses other names, and nothing is lost.
    config = getattr(process.current_process(), "_config", {})
    config["semprefix"] = f"/{PREFIX}-{os.getpid()}"


def remove_stale(pid: int | None = None) -> None:
    """Unlink the semaphores of a node that is gone, by default of all such nodes.

    Without a process id, unlinks this user's semaphores whose process does not exist.
    """
    owner_pattern = "*" if pid is None else pid
    for path in SHARED_MEMORY.glob(f"sem.{PREFIX}-{owner_pattern}-*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int(path.name.split("-")[2])
            ours = path.stat().st_uid == os.getuid()
            if ours and (pid is not None or not Path(f"/proc/{owner}").exists()):
                path.unlink()
