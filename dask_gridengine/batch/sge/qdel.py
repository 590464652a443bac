"""Deletion of jobs with ``qdel``."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from dask_gridengine.batch.base import Runner

#: Parts of qdel's messages if a job, or its tasks, have ended already.
_GONE = ("does not exist", "comprises no tasks")


def delete_jobs(jobs: Collection[str], run: Runner) -> None:
    """Delete jobs, and ignore those that have ended; raise what `run` raises."""
    for job in jobs:  # one call each: qdel stops at the first job it does not know
        _delete(["qdel", job], run)


def delete_tasks(job: str, first: int, last: int, run: Runner) -> bool:
    """Delete a range of an array in one call; see `BatchSystem.delete_tasks`."""
    _delete(["qdel", job, "-t", f"{first}-{last}"], run)
    return True


def _delete(command: list[str], run: Runner) -> None:
    try:
        run(command)
    except subprocess.CalledProcessError as exc:
        message = f"{exc.stdout}{exc.stderr}"
        if not any(gone in message for gone in _GONE):
            raise
