"""Room and speed of a directory, by writing to it for a moment."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass

BLOCK = 4 * 2**20  # bytes
MOST = 64 * 2**20  # bytes written; less where that takes too long
SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """What was measured; sizes in bytes, speed in bytes a second."""

    free: int | None = None
    speed: float | None = None
    error: str = ""


def measure(place: str) -> Scratch:
    """Write up to 64 MB there for up to 3 s, and take them away again.

    Parameters
    ----------
    place
        A directory; made if it is not there, as a worker's is.
    """
    free = None
    try:
        os.makedirs(place, exist_ok=True)
        room = os.statvfs(place)
        free = room.f_bavail * room.f_frsize
        # Never so much that others' jobs on this host would feel it.
        most = min(MOST, max(BLOCK, free // 10))
        return Scratch(free=free, speed=_write(place, most))
    except OSError as exc:
        return Scratch(free=free, error=exc.strerror or str(exc))


def _write(place: str, most: int) -> float:
    # Not zeros, which some file systems do not store.
    block = os.urandom(BLOCK)
    began, written = time.monotonic(), 0
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        while written < most and time.monotonic() < began + SECONDS:
            written += file.write(block) or 0
            os.fsync(file.fileno())
    return written / max(1e-6, time.monotonic() - began)
