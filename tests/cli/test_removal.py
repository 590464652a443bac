"""Ending clusters, alive or gone; nothing else is touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from distributed.core import Status

from dask_gridengine.batch.sge.qstat import user_name
from dask_gridengine.cli.discovery import look
from dask_gridengine.cli.removal import end
from dask_gridengine.errors import LauncherError
from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import FakeGrid, deaf, left_behind, running
from tests.waiting import wait_until


def test_a_manager_that_lives_closes_its_cluster(shared: Path) -> None:
    """It gives its nodes back and tidies up; when that is said, it is so."""
    grid = FakeGrid({}, user_name())
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        (seen,) = look(shared, grid).clusters
        said = list(end(seen, run=grid))
        assert said[-1] == "mine: closed"
        assert not list(shared.rglob("connection.json"))
        wait_until(lambda: cluster.status is Status.closed, "closed")
    assert grid.deleted == []


def test_what_is_left_of_one_that_is_gone_is_deleted(tmp_path: Path) -> None:
    """Its jobs, and its files; nobody else's."""
    lost, other = left_behind(tmp_path), left_behind(tmp_path, "other")
    grid = FakeGrid({"7": lost, "8": other}, user_name())
    seen = {c.label: c for c in look(tmp_path, grid).clusters}["lost"]
    said = "\n".join(end(seen, run=grid))
    assert "lost: deleted job 7" in said
    assert grid.deleted == ["7"]
    assert not lost.exists()
    assert other.exists()
    # Once more does nothing, and is no error.
    assert list(end(seen, run=grid)) == ["lost: deleted job 7"]


def test_files_of_one_that_may_live_are_left(tmp_path: Path) -> None:
    """Only its jobs go; what to type if it is dead is said."""
    with subprocess.Popen(["sleep", "60"]) as process, deaf() as address:
        lost = left_behind(
            tmp_path,
            process=ProcessIdentity.of(process.pid),
            addresses=(address,),
        )
        grid = FakeGrid({"7": lost}, user_name())
        (seen,) = look(tmp_path, grid).clusters
        said = "\n".join(end(seen, run=grid))
        process.kill()
    assert grid.deleted == ["7"]
    assert f"rm -r {lost}" in said
    assert (lost / "connection.json").exists()


def test_jobs_of_an_unknown_cluster_end_by_their_name_alone(tmp_path: Path) -> None:
    """No file is touched, because none is known to be theirs."""
    grid = FakeGrid({"7": tmp_path / "x"}, user_name(), silent=["7"])
    (seen,) = look(tmp_path, grid).clusters
    assert list(end(seen, run=grid)) == ["7: deleted job 7"]
    assert grid.deleted == ["7"]


def test_a_grid_that_will_not_delete_is_told(tmp_path: Path) -> None:
    """With its words and what to type; the files stay, for they lead to the jobs."""
    lost = left_behind(tmp_path)
    grid = FakeGrid({"7": lost}, user_name())
    (seen,) = look(tmp_path, grid).clusters

    def denied(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "no qmaster")

    with pytest.raises(LauncherError, match=r"(?s)no qmaster.*qdel 7"):
        list(end(seen, run=denied))
    assert lost.exists()


def test_who_does_not_close_in_time_is_told(shared: Path) -> None:
    """With the question that says why."""
    with running(shared) as cluster:
        (seen,) = look(shared, FakeGrid({}, user_name())).clusters
        with pytest.raises(LauncherError, match="explain --cluster mine"):
            list(end(seen, seconds=0))
        wait_until(lambda: cluster.status is Status.closed, "closed")
