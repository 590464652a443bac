"""Features of Dask and of libraries on it, on a real Grid Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from tests.ecosystem.habits import OPTIONS, Site
from tests.ecosystem.test_habits import GENTLE, RESTARTING
from tests.grid.conftest import Cell

pytestmark = [pytest.mark.grid, pytest.mark.timeout(300)]


def test_all_habits_on_one_cluster(
    grid: Cell, options: dict[str, Any], tmp_path: Path
) -> None:
    """One after the other on the same workers of a grid, as in a long notebook."""
    options["scheduler_options"] = {"dashboard_address": ":0"}
    options["memory"] = "1 GB"  # dask-ml brings numba
    with (
        GridEngineCluster(**{**options, **OPTIONS}) as cluster,
        Client(cluster) as client,
    ):
        site = Site(cluster, client, tmp_path)
        for habit in (*GENTLE, *RESTARTING):
            site.settled()
            try:
                habit(site)
            except Exception as exc:
                message = f"the habit {habit.__name__}: {exc!r}\n{cluster.explain()}"
                raise AssertionError(message) from exc
