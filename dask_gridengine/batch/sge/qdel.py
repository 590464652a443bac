"""``qdel``: jobs, and many tasks of one array in one call."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from dask_gridengine.batch.base import Runner

#: What qdel says of a job, and of tasks, that there are not any more.
_GONE = ("does not exist", "comprises no tasks")


def delete_jobs(jobs: Collection[str], run: Runner) -> None:
    """Have these jobs deleted; those that are gone are passed over.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If there is no qdel, or it will not.
    """
    for job in jobs:  # one by one: qdel gives up at the first it does not know
        _delete(["qdel", job], run)


def delete_tasks(job: str, first: int, last: int, run: Runner) -> None:
    """Have these tasks of an array deleted; those that are gone are passed over.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If there is no qdel, or it will not.
    """
    _delete(["qdel", job, "-t", f"{first}-{last}"], run)


def _delete(command: list[str], run: Runner) -> None:
    try:
        run(command)
    except subprocess.CalledProcessError as exc:
        said = f"{exc.stdout}{exc.stderr}"
        if not any(gone in said for gone in _GONE):
            raise
