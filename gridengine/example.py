"""One function over a few numbers: here, on this machine's processes, on the grid.

    python -m gridengine.example

Where there is no Grid Engine the last part says so, and runs on local processes too.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import time
from collections.abc import Callable

import gridengine

NUMBERS = [1, 2, 3, 4, 5]


def root(x: float) -> tuple[float, str]:
    """The square root, and the process and host that found it."""
    return math.sqrt(x), f"process {os.getpid()} on {socket.gethostname()}"


def show(title: str, compute: Callable[[], list[tuple[float, str]]]) -> None:
    """Run one way of mapping, and say what came of it, where and how fast."""
    print(f"\n{title}")
    started = time.perf_counter()
    results = compute()
    seconds = time.perf_counter() - started
    for x, (y, where) in zip(NUMBERS, results, strict=True):
        print(f"  sqrt({x}) = {y:.3f}  by {where}")
    print(f"  in {seconds:.2f} s")


def main() -> None:
    """Map three times."""
    print(f"The square roots of {NUMBERS}; this is process {os.getpid()}.")
    show("The builtin map", lambda: list(map(root, NUMBERS)))

    for title, make in (
        ("gridengine.map with a ProcessScheduler", gridengine.ProcessScheduler),
        ("gridengine.map with a GridEngineScheduler", gridengine.GridEngineScheduler),
    ):
        with make() as scheduler:
            remotely = functools.partial(gridengine.map, root, NUMBERS, scheduler)
            show(f"{title}, which starts its workers", remotely)
            show(f"{title}, once more on the same workers", remotely)


if __name__ == "__main__":
    main()
