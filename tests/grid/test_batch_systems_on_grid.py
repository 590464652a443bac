"""A real grid, treated as an unknown batch system: with DRMAA alone."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.launchers.base import Launcher
from tests.grid.conftest import Cell
from tests.nannies import watched
from tests.waiting import wait_until

pytestmark = pytest.mark.grid


def test_an_unknown_grid_works(
    grid: Cell, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes are identified without variables of the grid, ends are noticed, lost nodes
    are replaced, and scaling down and closing delete the right jobs."""
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", "plain")
    with (
        GridEngineCluster(jobs=3, **options) as cluster,
        Client(cluster) as client,
    ):
        watched(client, 3, timeout=60)
        assert isinstance(launcher := cluster.pool().launcher, Launcher)
        assert "This grid through DRMAA (" in launcher.description
        assert client.gather(client.map(abs, range(-9, 0))) == list(range(9, 0, -1))
        # An array of one each, as the grid has it.
        assert len({row.id.job for row in cluster.jobs()}) == 3
        victim = min(client.run(os.getpid).items())[1]
        node = next(row for row in cluster.jobs() if row.worker)
        os.kill(node.pid, signal.SIGKILL)
        wait_until(
            lambda: len(cluster.jobs()) == 4 and cluster.counts.get("working") == 3,
            "another in its place",
            60,
            cluster.explain,
        )
        assert "SIGKILL" in cluster.explain(str(node.id))
        assert "qacct" not in cluster.explain()
        cluster.scale(1)
        wait_until(
            lambda: len(grid.qstat().splitlines()[2:]) == 1, "one job", 30, grid.qstat
        )
        assert client.submit(abs, -victim).result(timeout=30) == victim
    assert grid.qstat() == ""
