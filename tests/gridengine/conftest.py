"""Schedulers and scripts that tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

import gridengine

#: Runs a script in a new Python; from its text, its arguments, and environment.
RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory in which the clusters of these tests keep their files."""
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture(autouse=True)
def configured(session_directory: Path) -> Iterator[None]:
    """Let every cluster of a test keep its files there."""
    with dask.config.set({"gridengine.shared-directory": str(session_directory)}):
        yield


@pytest.fixture(scope="module")
def warm(session_directory: Path) -> Iterator[gridengine.ProcessScheduler]:
    """Two workers for all tests of a module; mark those with keeps_cluster."""
    with (
        dask.config.set({"gridengine.shared-directory": str(session_directory)}),
        gridengine.ProcessScheduler(2) as scheduler,
    ):
        gridengine.map(abs, [-1, -2], scheduler=scheduler)
        scheduler.client.wait_for_workers(2, timeout=30)
        yield scheduler


@pytest.fixture
def fresh(session_directory: Path) -> Iterator[gridengine.ProcessScheduler]:
    """Two workers of a test's own, not started yet; nothing may be left of them."""
    before = set(session_directory.glob("*/connection.json"))
    with gridengine.ProcessScheduler(2) as scheduler:
        yield scheduler
    # A log may stay: it says why a worker did not start.
    assert set(session_directory.glob("*/connection.json")) <= before


@pytest.fixture
def local_options() -> dict[str, Any]:
    """Options of a GridEngineScheduler whose grid is two slots of this machine."""
    return {
        "launcher": "process",
        "slots": 2,
        "quiet": True,
        "scheduler_options": {"dashboard": False, "dashboard_address": ":0"},
    }


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[LocalCluster]:
    """A Dask cluster that is not ours: one worker in this process, with two threads."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address=":0",  # None would take the port of others, and warn
        scheduler_kwargs={"dashboard": False},
    ) as cluster:
        with Client(cluster, set_as_default=False) as client:
            # Start its threads, so that they do not look like a leak of a later test.
            client.gather(client.map(time.sleep, [0.1] * 4, pure=False))
        yield cluster


@pytest.fixture(scope="module")
def client(other_cluster: LocalCluster) -> Iterator[Client]:
    """A client of that cluster."""
    with Client(other_cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Run a script as a user does, in a Python that knows no grid."""

    def run(
        code: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code)
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "DASK_GRIDENGINE__SHARED_DIRECTORY": str(tmp_path / "shared"),
                **environment,
            },
        )

    return run
