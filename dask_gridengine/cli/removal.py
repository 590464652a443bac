"""Ending a user's forgotten clusters: through their manager, or what is left of them.

Only what `sighting` has found is touched: clusters whose connection file this user
owns, and jobs of this user that bear our marks.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.qdel import delete_jobs
from dask_gridengine.batch.sge.qstat import marked_jobs_of, user_name
from dask_gridengine.cli.client import ask_cluster
from dask_gridengine.cli.discovery import (
    ALIVE,
    GONE,
    ClusterInfo,
    host_runner,
)
from dask_gridengine.errors import GridEngineError, LauncherError
from dask_gridengine.launchers.child import remove_shared_directory

LOOK_AGAIN = 0.3  # seconds between looks whether it is over
DELETED_SECONDS = 15.0  # for deleted jobs to be gone from the grid's list


def end(
    seen: ClusterInfo,
    *,
    now: bool = False,
    seconds: float = 120.0,
    run: Runner | None = None,
) -> Iterator[str]:
    """End one cluster; yields what is done, in sentences, as it is done.

    Parameters
    ----------
    seen
        As `look` has found it.
    now
        Whether tasks that run are not to be waited for.
    seconds
        A manager that lives has to close its cluster.
    run
        Runs qdel and qstat; this host's by default.

    Raises
    ------
    LauncherError
        If jobs cannot be deleted, or something is left; the message says what.
    """
    run = run or host_runner()
    if seen.state == ALIVE and seen.entry is not None:
        yield from _through_manager(seen, "close" if now else "drain", seconds)
        return
    yield from _without_manager(seen, run)


def _through_manager(seen: ClusterInfo, how: str, seconds: float) -> Iterator[str]:
    assert seen.entry is not None
    connection = seen.entry.connection
    try:
        ask_cluster(connection, how)
    except GridEngineError as exc:
        raise LauncherError(f"{seen.label} was not told to end: {exc}") from exc
    waits = " when the tasks that run are done" if how == "drain" else ""
    yield f"{seen.label}: its manager on {connection.host} closes it{waits}"
    deadline = time.monotonic() + seconds
    # Connection files are removed last but for logs: then all is over.
    while seen.entry.open:
        if time.monotonic() > deadline:
            raise LauncherError(
                f"{seen.label} is not closed after {seconds:g} s\n"
                f"  what to do: dask gridengine explain --cluster {seen.label}"
            )
        time.sleep(LOOK_AGAIN)
    yield f"{seen.label}: closed"


def _without_manager(seen: ClusterInfo, run: Runner) -> Iterator[str]:
    if seen.jobs:
        ids = [job.id for job in seen.jobs]
        try:
            delete_jobs(ids, run)
        except (OSError, subprocess.SubprocessError) as exc:
            words = getattr(exc, "stderr", "") or getattr(exc, "stdout", "") or str(exc)
            raise LauncherError(
                f"could not delete jobs {', '.join(ids)}: {words.strip()}\n"
                f"  what to do: qdel {' '.join(ids)}"
            ) from exc
        yield f"{seen.label}: deleted job {', '.join(ids)}"
        yield from _await_gone(seen, ids, run)
    if seen.state == GONE:
        for directory in seen.directories:
            there = directory.exists()
            remove_shared_directory(directory)
            if there and not directory.exists():
                yield f"{seen.label}: removed {directory}"
        return
    if not seen.directories:
        return
    places = " ".join(map(shlex.quote, map(str, seen.directories)))
    yield (
        f"{seen.label}: left {places} alone, because its manager may live:"
        f" {seen.why}. If you know that it does not: rm -r {places}"
    )


def _await_gone(seen: ClusterInfo, ids: list[str], run: Runner) -> Iterator[str]:
    deadline = time.monotonic() + DELETED_SECONDS
    while True:
        try:
            there = {job.id for job in marked_jobs_of(user_name(), run)}
        except (OSError, subprocess.SubprocessError):
            there = set(ids)
        left = [job for job in ids if job in there]
        if not left:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(LOOK_AGAIN)
    yield (
        f"{seen.label}: job {', '.join(left)} is still in the grid's list; where its"
        f" host is lost, it stays so: qdel -f {' '.join(left)}"
    )
