"""What jobs do in tests. Light to import: every new worker imports it anew."""

from __future__ import annotations

import os
import time
from pathlib import Path


def wait_for(path: str) -> str:
    """Run until a file appears."""
    while not os.path.exists(path):
        time.sleep(0.02)
    return "ended"


def mark_and_wait(mark: str, path: str) -> str:
    """Say that it runs by a file, and run until another appears."""
    Path(mark).touch()
    return wait_for(path)


def die_after(path: str, log: str) -> None:
    """Run until a file appears, then end the worker process; add a line to a log."""
    wait_for(path)
    with open(log, "a") as file:
        file.write("once\n")
    os._exit(1)
