"""Limits of time and memory, the grid's and Dask's: errors name the limit."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from distributed.scheduler import KilledWorker

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from tests.chaos.conftest import (
    counted,
    explained,
    healed,
    none_in_vain,
    runs,
    states,
    working,
)
from tests.chaos.tasks import family, swell

WALLTIME = 5.0  # seconds; a node needs one to start


def notes(exception: BaseException) -> str:
    return "\n".join(getattr(exception, "__notes__", []))


def test_the_walltime_of_a_node_is_over(options: dict[str, Any], book: Path) -> None:
    """Its tasks run elsewhere, it is replaced, and the hint is walltime=.

    As where nodes may not leave before, or cannot.
    """
    options["drain_before_walltime"] = False
    with (
        GridEngineCluster(jobs=1, walltime=WALLTIME, **options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 1)
        (victim,) = working(cluster)
        assert victim.arrived is not None
        time.sleep(max(0.0, victim.arrived + WALLTIME - 1 - time.time()))
        result = client.submit(counted, 0, path=str(book), seconds=2.5)
        assert result.result(timeout=30) == 0
        none_in_vain(book, 1, victims=[victim.worker])
        explanation = explained(cluster, Cause.WALLTIME)
        assert "walltime=7.5" in explanation
        assert len(runs(book)[0]) == len(cluster.jobs()) == 2


def test_dask_s_memory_limit(options: dict[str, Any], book: Path) -> None:
    """The task's error has the limit and what to request; the node continues."""
    options["scheduler_options"]["allowed_failures"] = 0
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        healed(cluster, 1)
        with pytest.raises(KilledWorker) as caught:
            client.submit(swell, 2_000_000_000).result(timeout=60)
        assert "ran into the memory limit" in notes(caught.value)
        assert "memory='750 MB'" in notes(caught.value)
        assert client.submit(counted, 0, path=str(book)).result(timeout=30) == 0
        none_in_vain(book, 1, victims=())
        assert "memory='750 MB'" in explained(cluster, Cause.MEMORY)
        assert states(cluster) == [f"{cluster.jobs()[0].id} working"]


@pytest.mark.grid
def test_the_grid_s_memory_limit_is_the_task_s_error(
    grid_options: dict[str, Any], book: Path
) -> None:
    """Under h_vmem one large allocation raises in the task; the node continues."""
    options = {**grid_options, "memory": "1 GB", "memory_resource": "h_vmem"}
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        healed(cluster, 1)
        with pytest.raises(MemoryError):
            client.submit(bytearray, 2_000_000_000).result(timeout=30)
        assert client.submit(counted, 0, path=str(book)).result(timeout=30) == 0
        assert states(cluster) == [f"{cluster.jobs()[0].id} working"]


@pytest.mark.grid
def test_the_grid_s_memory_limit_ends_a_node(
    grid_options: dict[str, Any], book: Path
) -> None:
    """If all processes together exceed it, the cause is memory, with a hint."""
    options = {**grid_options, "memory": "1 GB", "memory_resource": "h_vmem"}
    options["scheduler_options"]["allowed_failures"] = 0
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        healed(cluster, 1)
        with pytest.raises(KilledWorker) as caught:
            client.submit(family, 4, 400_000_000, 20.0).result(timeout=60)
        assert "ran into the memory limit" in notes(caught.value)
        healed(cluster, 1)
        assert client.submit(counted, 0, path=str(book)).result(timeout=30) == 0
        none_in_vain(book, 1, victims=())
        explanation = explained(cluster, Cause.MEMORY)
        assert "the grid's limit" in explanation
        with_advice = re.search(r"memory='(\d+) GB'", explanation)
        assert with_advice is not None
        assert int(with_advice[1]) >= 2  # more than was used, however much that was
        assert len(cluster.jobs()) == 2
