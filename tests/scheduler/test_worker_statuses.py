"""Statuses of workers, as the cluster object has them."""

from __future__ import annotations

from typing import Any

import pytest

from dask_gridengine import GridEngineCluster
from tests.waiting import wait_until


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "security": False}


def test_statuses_of_workers_are_those_of_now(options: dict[str, Any]) -> None:
    """In the cluster's ``scheduler_info``, also of workers that come later."""

    def statuses() -> list[str]:
        return [w["status"] for w in cluster.scheduler_info["workers"].values()]

    with GridEngineCluster(jobs=1, **options) as cluster:
        wait_until(lambda: statuses() == ["running"], "it runs", 30, statuses)
        cluster.scale(2)
        wait_until(lambda: statuses() == ["running"] * 2, "both run", 30, statuses)
