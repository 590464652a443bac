"""What tests run on workers, and how they observe a scheduler.

Light to import: every new worker imports it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def wait_for(path: str) -> str:
    """Run until a file appears."""
    while not os.path.exists(path):
        time.sleep(0.02)
    return "ended"


def mark_and_wait(mark: str, path: str) -> str:
    """Create a file, and run until another one appears."""
    Path(mark).touch()
    return wait_for(path)


def die_after(path: str, log: str) -> None:
    """Run until a file appears, add a line to a log, and end the worker process."""
    wait_for(path)
    with open(log, "a") as file:
        file.write("once\n")
    os._exit(1)


def task_key(_: object = None) -> str:
    """Key of the Dask task this runs in; items of one chunk have the same."""
    from distributed import get_worker

    return str(get_worker().get_current_task())


def workers_of(scheduler: Any) -> set[str]:
    """Addresses of a scheduler's workers; starts its cluster if need be."""
    return set(scheduler.client.scheduler_info(n_workers=-1)["workers"])


def requested_nodes(scheduler: Any) -> int:
    """How many nodes a scheduler wants at the moment; starts nothing."""
    cluster = scheduler.cluster
    return 0 if cluster is None else cluster.wanted
