"""Tasks for the tests of faults. Nodes import this module, so it imports little."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from distributed import get_worker

STEP = 25_000_000  # bytes


def slow_identity(x: int, seconds: float = 0.1) -> int:
    """Return `x` after some seconds."""
    time.sleep(seconds)
    return x


def counted(x: int, path: str, seconds: float = 0.0) -> int:
    """Record in a file which worker runs this, then call `slow_identity`.

    A line for each run, written at once, so several may write; read with `runs`.
    """
    _enter(x, path)
    return slow_identity(x, seconds)


def finished(x: int, path: str, done: str, seconds: float = 0.0) -> int:
    """Call `counted`, then record in another file which worker has finished it."""
    result = counted(x, path, seconds)
    _enter(x, done)
    return result


def _enter(x: int, path: str) -> None:
    line = f"{x} {get_worker().name}\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def runs(path: str | Path) -> dict[int, list[str]]:
    """Return the workers that began `counted` of each number, in order."""
    found: dict[int, list[str]] = defaultdict(list)
    if Path(path).exists():
        for line in Path(path).read_text().splitlines():
            number, name = line.split()
            found[int(number)].append(name)
    return dict(found)


class Fatal:
    """A result that kills the worker that sends it, with its node; but only once.

    Parameters
    ----------
    value
        What arrives in the end.
    mark
        A path where nothing is yet; it tells that this has happened.
    """

    def __init__(self, value: int, submission_id: str) -> None:
        self.value, self.submission_id = value, submission_id

    def __reduce__(self) -> tuple[type[Fatal], tuple[int, str]]:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.submission_id)
            os.killpg(0, signal.SIGKILL)
        return Fatal, (self.value, self.submission_id)


def fatal(x: int, book: str, submission_id: str) -> Fatal:
    """Return a `Fatal` result, and record the run."""
    return Fatal(counted(x, book), submission_id)


def swell(size: int) -> int:
    """Allocate memory in steps that a Nanny notices; return the number of bytes."""
    held = []
    for _ in range(size // STEP):
        held.append(b"x" * STEP)  # zeros would take no memory
        time.sleep(0.05)
    return len(held) * STEP


def family(children: int, size: int, seconds: float) -> list[int]:
    """Run child processes that allocate `size` bytes each; return exit statuses."""
    code = f"import time; held = b'x' * {size}; time.sleep({seconds})"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(children)]
    return [child.wait() for child in started]
