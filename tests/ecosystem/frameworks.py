"""Programs that make a cluster themselves, from its class and options."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

from tests.waiting import until


def need(module: str) -> None:
    """Skip a test of what is in an environment of its own."""
    if not importlib.util.find_spec(module):
        pytest.skip(f"no {module} here; `ci/test ecosystem` installs it and runs this")


def prefect_flow(options: dict[str, Any], directory: Path) -> None:
    """A flow's tasks run in workers of the cluster that its task runner has made."""
    need("prefect_dask")
    keywords = json.dumps({**options, "jobs": 1}, default=str)
    settings = {
        "PREFECT_HOME": str(directory),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "200",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # it waits for a name server
        "DO_NOT_TRACK": "1",
    }
    flow = subprocess.run(
        [sys.executable, "-m", "tests.ecosystem.flow", keywords],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=550,
    )
    assert flow.returncode == 0, flow.stdout
    assert "[0, 1, 4, 9]" in flow.stdout


def jupyterlab_extension(options: dict[str, Any]) -> None:
    """The extension starts, scales, adapts and closes a cluster, as its buttons do."""
    need("dask_labextension")
    factory = {
        "module": "dask_gridengine",
        "class": "GridEngineCluster",
        "args": [],
        "kwargs": {key.replace("_", "-"): value for key, value in options.items()},
    }
    settings = {"labextension.factory": factory, "labextension.default.workers": 1}

    async def click() -> None:
        from dask_labextension.manager import DaskClusterManager

        async with DaskClusterManager() as manager:
            name = (await manager.start_cluster())["id"]

            def workers() -> int:
                return int(manager.get_cluster(name)["workers"])

            await until(lambda: workers() == 1, "a worker", 60, workers)
            await manager.scale_cluster(name, 2)
            await until(lambda: workers() == 2, "two workers", 60, workers)
            model = manager.adapt_cluster(name, 3, 4)
            assert model["adapt"] == {"minimum": 3, "maximum": 4}
            await until(lambda: workers() == 3, "three workers", 60, workers)
            await manager.close_cluster(name)
            assert manager.list_clusters() == []

    with dask.config.set(settings):
        asyncio.run(click())
