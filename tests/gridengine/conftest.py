"""Schedulers that tests share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

import gridengine


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clusters of these tests keep their files."""
    return tmp_path_factory.mktemp("clusters")


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
    with (
        dask.config.set({"gridengine.shared-directory": str(session_directory)}),
        gridengine.ProcessScheduler(2) as scheduler,
    ):
        yield scheduler
    # A log may stay, where it says why a worker did not start.
    assert set(session_directory.glob("*/connection.json")) <= before


@pytest.fixture(scope="module")
def somebodys() -> Iterator[LocalCluster]:
    """A Dask cluster that is not ours: one worker in this process, with two threads."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address=":0",  # None would take the port of others, and warn
        scheduler_kwargs={"dashboard": False},
    ) as cluster:
        with Client(cluster, set_as_default=False) as client:
            # Its threads come with its first tasks, and are no leak of a later test.
            client.gather(client.map(time.sleep, [0.1] * 4, pure=False))
        yield cluster


@pytest.fixture(scope="module")
def client(somebodys: LocalCluster) -> Iterator[Client]:
    """A client of that cluster."""
    with Client(somebodys, set_as_default=False) as client:
        yield client
