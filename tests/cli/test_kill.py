"""``kill``: dead clusters are removed; a running cluster is closed only by its name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from distributed.core import Status

from dask_gridengine.batch.base import BatchSystem, write_directory
from dask_gridengine.batch.commands import user_name
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.batch.slurm import Slurm
from dask_gridengine.cli.discovery import ClusterInfo, discover
from dask_gridengine.cli.kill import end_cluster
from dask_gridengine.errors import LauncherError
from dask_gridengine.process_identity import ProcessIdentity
from tests.batch.commands import Commands
from tests.clusters import FakeGrid, deaf, discovered, left_behind, running, typed
from tests.waiting import wait_until


def only_cluster(shared: Path, grid: FakeGrid) -> ClusterInfo:
    (cluster,) = discovered(shared, grid).clusters
    return cluster


def test_dead_clusters_are_removed_after_confirmation(shared: Path) -> None:
    """They are listed first; without a confirmation they stay."""
    lost = left_behind(shared, launcher="process")
    where = ("--shared-directory", str(shared))
    ended = typed("kill", *where, answer="n\n")
    assert ended.exit_code == 1
    assert "lost" in ended.output
    assert lost.exists()
    ended = typed("kill", *where, answer="y\n")
    assert ended.exit_code == 0
    assert f"removed {lost}" in ended.output
    assert not lost.exists()
    assert "nothing to end" in typed("kill", *where).output


def test_a_running_cluster_is_closed_only_by_its_name(shared: Path) -> None:
    """Its manager closes it; when the command ends, the cluster is closed."""
    where = ("--shared-directory", str(shared))
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        assert "nothing to end" in typed("kill", "--yes", *where).output
        ended = typed("kill", "mine", "--yes", *where)
        assert ended.exit_code == 0, ended.output
        assert "mine: closed" in ended.output
        assert not list(shared.rglob("connection.json"))
        wait_until(lambda: cluster.status is Status.closed, "closed")


def test_an_unknown_name_is_an_error(shared: Path) -> None:
    """It is not ignored."""
    ended = typed("kill", "x", "--yes", "--shared-directory", str(shared))
    assert ended.exit_code == 1
    assert "'x'" in ended.output


def test_jobs_and_files_of_a_dead_cluster_are_deleted(tmp_path: Path) -> None:
    """Those of another cluster stay."""
    lost, other = left_behind(tmp_path), left_behind(tmp_path, "other")
    grid = FakeGrid({"7": lost, "8": other}, user_name())
    cluster = {c.label: c for c in discovered(tmp_path, grid).clusters}["lost"]
    assert "lost: deleted job 7" in [*end_cluster(cluster, run=grid)]
    assert grid.deleted == ["7"]
    assert not lost.exists()
    assert other.exists()
    # Repeating it does nothing, and is not an error.
    assert [*end_cluster(cluster, run=grid)] == ["lost: deleted job 7"]


def test_files_of_a_silent_cluster_stay(tmp_path: Path) -> None:
    """Its jobs are deleted; the output has the command that removes the files."""
    with subprocess.Popen(["sleep", "60"]) as process, deaf() as address:
        identity = ProcessIdentity.of(process.pid)
        lost = left_behind(tmp_path, process=identity, addresses=(address,))
        grid = FakeGrid({"7": lost}, user_name())
        steps = [*end_cluster(only_cluster(tmp_path, grid), run=grid)]
        process.kill()
    assert grid.deleted == ["7"]
    assert f"rm -r {lost}" in steps[-1]
    assert (lost / "connection.json").exists()


def test_jobs_that_do_not_name_their_cluster_are_deleted(tmp_path: Path) -> None:
    """No file is touched."""
    grid = FakeGrid({"7": tmp_path / "x"}, user_name(), silent=["7"])
    cluster = only_cluster(tmp_path, grid)
    assert [*end_cluster(cluster, run=grid)] == ["7: deleted job 7"]
    assert grid.deleted == ["7"]


def test_a_failing_qdel_is_an_error(tmp_path: Path) -> None:
    """It has qdel's message and what to type; the files that lead to the jobs stay."""
    lost = left_behind(tmp_path)
    cluster = only_cluster(tmp_path, FakeGrid({"7": lost}, user_name()))

    def denied(command: object) -> str:
        raise subprocess.CalledProcessError(1, "qdel", "", "no qmaster")

    with pytest.raises(LauncherError, match=r"(?s)no qmaster.*qdel 7"):
        list(end_cluster(cluster, run=denied))
    assert lost.exists()


def test_a_cluster_that_does_not_close_in_time_is_an_error(shared: Path) -> None:
    """The hint is the command that shows what it waits for."""
    with running(shared) as cluster:
        mine = only_cluster(shared, FakeGrid({}, user_name()))
        with pytest.raises(LauncherError, match="explain --cluster mine"):
            list(end_cluster(mine, timeout=0))
        wait_until(lambda: cluster.status is Status.closed, "closed")


SLURM = """7|RUNNING|2026-11-30T23:13:50|dask-gridengine:f335:{directory}|mine
7|COMPLETING|2026-11-30T23:13:50|dask-gridengine:f335:{directory}|mine
8|PENDING|2026-11-30T23:13:51|(null)|other
"""


def test_jobs_on_slurm_are_deleted(tmp_path: Path) -> None:
    """They are found by their comment; jobs of others stay."""
    lost = left_behind(tmp_path, batch_system="slurm")
    listing = SLURM.format(directory=write_directory(lost))
    run = Commands(squeue=listing, scancel="")
    (cluster,) = discover(tmp_path, run, [Slurm()]).clusters
    assert cluster.grid_states == {"running": 1, "completing": 1}
    steps = end_cluster(cluster, run=run)
    assert next(steps) == "lost: deleted job 7"
    run.answers["squeue"] = ""
    assert list(steps) == [f"lost: removed {lost}"]
    assert [line for line in run.run if "scancel" in line] == ["scancel 7"]


@pytest.mark.parametrize("stays", ["deleted jobs", "the list"])
def test_files_stay_while_jobs_may_run(
    tmp_path: Path, stays: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lead to the jobs: of a grid that cannot list them, or does not end them."""
    monkeypatch.setattr("dask_gridengine.cli.kill.DELETE_SECONDS", 0.0)
    lost = left_behind(tmp_path, batch_system="slurm")
    listing = SLURM.format(directory=write_directory(lost))
    run = Commands(squeue=listing, scancel="")
    systems: list[BatchSystem] = [Slurm()]
    if stays == "the list":
        systems = [BatchSystem(), GridEngine()]
    (cluster,) = discover(tmp_path, run, systems).clusters
    with pytest.raises(LauncherError):
        list(end_cluster(cluster, run=run))
    assert (lost / "connection.json").exists()
