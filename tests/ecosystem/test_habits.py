"""Features of Dask and of libraries on it, on a cluster of local processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from tests.ecosystem import data, futures, libraries, measuring, plugins
from tests.ecosystem.habits import OPTIONS, WORKERS, Habit, Site

#: These do not restart workers, and so can share a cluster.
GENTLE: list[Habit] = [
    measuring.report,
    measuring.task_stream,
    measuring.profile,
    measuring.memory,
    measuring.versions,
    futures.completed,
    futures.resources,
    futures.missing_resource,
    futures.actors,
    futures.queue,
    futures.variable,
    futures.event,
    futures.lock,
    futures.semaphore,
    futures.events_of_workers,
    data.scattered,
    data.published,
    data.nested,
    data.forgotten,
    data.dumped,
    libraries.joblib_backend,
    libraries.joblib_scattered,
    libraries.scikit_learn,
    libraries.xgboost,
    libraries.lightgbm,
    libraries.dask_ml,
    libraries.xarrays,
    plugins.scheduler_plugin,
]

#: These start or restart workers.
RESTARTING: list[Habit] = [
    plugins.worker_plugin,
    plugins.nanny_plugin,
    plugins.environ_plugin,
    plugins.upload_file,
    plugins.upload_directory,
    plugins.restart,
    data.shut_down,  # the last
]


@contextlib.contextmanager
def local(directory: Path) -> Iterator[Site]:
    """Two workers on this host, and room for a third."""
    cluster = GridEngineCluster(
        launcher="process",
        slots=WORKERS + 1,
        shared_directory=directory / "shared",
        scheduler_options={"dashboard_address": ":0"},
        quiet=True,
        **OPTIONS,
    )
    with cluster, Client(cluster) as client:
        site = Site(cluster, client, directory)
        site.settled()
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with local(tmp_path_factory.mktemp("site")) as site:
        yield site


def name_of(habit: Habit) -> str:
    return habit.__name__


@pytest.mark.keeps_cluster
@pytest.mark.parametrize("habit", GENTLE, ids=name_of)
def test_habit(habit: Habit, site: Site) -> None:
    """It works as on any Dask cluster; the function's docstring has the details."""
    habit(site)


@pytest.mark.parametrize("habit", RESTARTING, ids=name_of)
def test_habit_that_restarts_workers(habit: Habit, tmp_path: Path) -> None:
    """It works as on any Dask cluster; the function's docstring has the details."""
    with local(tmp_path) as site:
        habit(site)
