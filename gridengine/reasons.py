"""What our own clusters can say of a trouble: why workers died, what nodes are at.

A cluster is ours if it is in this process. Of somebody else's nothing is known here but
what the exception itself has to say.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from distributed import KilledWorker
from distributed.core import Status

from dask_gridengine import GridEngineCluster
from dask_gridengine.scheduler.exception_notes import (
    LOOK_AGAIN,
    PATIENCE,
    PREFIX,
    annotate,
)


def explain(place: Any) -> str:
    """What the cluster of a place says of all its nodes; "" if that is not ours.

    Never raises. Safe in any thread but the cluster's.
    """
    cluster = _ours(place)
    with contextlib.suppress(Exception):  # a reporter must never be what fails
        return cluster.explain() if cluster is not None else ""
    return ""


def noted(error: BaseException, place: Any) -> BaseException:
    """The same error, with a note on what the nodes of a place are at."""
    annotate(error, explain(place))
    return error


def of_deaths(place: Any, errors: Sequence[BaseException], since: float) -> str:
    """Why the workers died of whose deaths these errors tell, for people.

    The cause is often known only a moment after the death: this waits for it, but not
    longer than until `PATIENCE` seconds after it.

    Parameters
    ----------
    place
        Where they died.
    errors
        What came back for the work that they had, the last one last.
    since
        When that came, by `time.monotonic`.
    """
    cluster = _ours(place)
    killed = [error for error in errors if isinstance(error, KilledWorker)]
    if cluster is None or not killed:
        return _own_words(errors[-1])
    scheduler = cluster.scheduler
    while scheduler.failure_info.explain(killed[-1]) is None:
        if time.monotonic() - since >= PATIENCE:
            break
        time.sleep(LOOK_AGAIN)
    names: dict[str, None] = {}
    for error in killed:
        known = [error.last_worker.name, *scheduler.suspects_of(error.task)]
        names.update(dict.fromkeys(known))
    return str(scheduler.failure_info.deaths([*names])) or _own_words(errors[-1])


def _ours(place: Any) -> GridEngineCluster | None:
    cluster = getattr(place, "cluster", None)
    if isinstance(cluster, GridEngineCluster) and cluster.status is Status.running:
        return cluster
    return None


def _own_words(error: BaseException) -> str:
    """What its scheduler has put on it, or else its message."""
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    told = [note.removeprefix(PREFIX) for note in notes if note.startswith(PREFIX)]
    return "\n".join(told) or str(error)
