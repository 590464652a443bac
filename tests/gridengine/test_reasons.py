"""What is told of a trouble: by our own clusters, and where there is none of ours."""

from __future__ import annotations

import asyncio
import time

import pytest
from distributed import Client, KilledWorker
from distributed.core import Status
from distributed.scheduler import WorkerState

import gridengine
from dask_gridengine.scheduler.exception_notes import PATIENCE, annotate
from gridengine import reasons
from gridengine.places import ClientPlace

pytestmark = pytest.mark.keeps_cluster


def killed(worker: str) -> KilledWorker:
    """What Dask raises for a task that was running on a worker when that died."""
    state = WorkerState(
        address="tcp://127.0.0.1:1",
        status=Status.closed,
        pid=0,
        name=worker,
        memory_limit=0,
        local_directory="",
        nanny=None,
        server_id="",
    )
    return KilledWorker("f-1", state, 0)


def test_our_clusters_explain(warm: gridengine.ProcessScheduler) -> None:
    """What their nodes are at, as a note too; a closed one says nothing."""
    assert reasons.explain(warm).startswith("2 nodes requested: 2 working")
    error = reasons.noted(asyncio.TimeoutError("late"), warm)
    assert "2 nodes requested" in error.__notes__[0]  # type: ignore[attr-defined]
    with gridengine.ProcessScheduler(1) as closed:
        assert reasons.explain(closed) == ""


def test_others_do_not(client: Client) -> None:
    """Of somebody's cluster there is only what the exception says itself."""
    place, error = ClientPlace(client), killed("a")
    assert reasons.explain(place) == ""
    assert not hasattr(reasons.noted(ValueError(), place), "__notes__")
    assert reasons.of_deaths(place, [error], time.monotonic()) == str(error)
    annotate(error, "it ran into its walltime")
    told = reasons.of_deaths(place, [error], time.monotonic())
    assert told == "it ran into its walltime"


def test_no_word_is_waited_for_in_vain(warm: gridengine.ProcessScheduler) -> None:
    """A cause that does not become known is given up, counted from the death."""
    assert warm.cluster is not None
    name = next(row.worker for row in warm.cluster.jobs() if row.worker)
    error = killed(name)
    began = time.monotonic()
    told = reasons.of_deaths(warm, [error], began - PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert "not known yet" in told
    assert name in told
