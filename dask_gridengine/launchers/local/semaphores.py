"""Names of POSIX semaphores that a node leaves when it is killed, and their removal.

A Nanny and its worker share semaphores, which `multiprocessing` names in /dev/shm and
unlinks when the Nanny exits. But Grid Engine ends a job by SIGKILL to all of it, and
the names would stay on the host for ever. So a node's are named after its process:
whoever comes later can tell whose they were.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PREFIX = "dask-ge"
SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps named semaphores, as sem.NAME


def name_after_process() -> None:
    """Have the semaphores this process makes from now on bear its process id."""
    from multiprocessing import process  # 5 ms that `remove_stale` does without

    # Without that setting this Python names them otherwise, and nothing is lost.
    config = getattr(process.current_process(), "_config", {})
    config["semprefix"] = f"/{PREFIX}-{os.getpid()}"


def remove_stale(pid: int | None = None) -> None:
    """Unlink semaphores of nodes that are gone.

    Parameters
    ----------
    pid
        Of a node that is known to be gone; by default all of this user's whose
        process does not exist any more.
    """
    for path in SHARED_MEMORY.glob(f"sem.{PREFIX}-*-*") if pid is None else _of(pid):
        with contextlib.suppress(OSError, ValueError):
            owner = int(path.name.split("-")[2])
            ours = path.stat().st_uid == os.getuid()
            if ours and (pid is not None or not Path(f"/proc/{owner}").exists()):
                path.unlink()


def _of(pid: int) -> Iterator[Path]:
    return SHARED_MEMORY.glob(f"sem.{PREFIX}-{pid}-*")
