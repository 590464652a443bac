"""The states of clusters: a cluster is only "gone" if there is a proof."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dask_gridengine.batch.commands import user_name
from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.cli.discovery import (
    ALIVE,
    GONE,
    NO_GRID,
    SILENT,
    UNKNOWN,
    discover,
)
from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import FakeGrid, deaf, discovered, left_behind, running


def no_jobs(command: object) -> str:
    return "<job_info></job_info>"


def test_a_cluster_that_answers_is_alive(shared: Path) -> None:
    """It reports the states of its nodes."""
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        (seen,) = discovered(shared, no_jobs).clusters
        assert (seen.state, seen.label, seen.why) == (ALIVE, "mine", "")
        assert seen.status["states"] == {"working": 1}
    assert discovered(shared, no_jobs).clusters == ()


def test_a_cluster_with_pools_is_listed_once(shared: Path) -> None:
    """Each pool has a connection file."""
    with running(shared, pools={"cpu": {}, "big": {}}):
        (seen,) = discovered(shared, no_jobs).clusters
        assert (seen.state, seen.name, len(seen.directories)) == (ALIVE, "mine", 2)


def test_a_cluster_whose_process_has_ended_is_gone(tmp_path: Path) -> None:
    """On its own host the process table is a proof, also if the id is used again."""
    left_behind(tmp_path)
    ours = ProcessIdentity.of()
    left_behind(tmp_path, "reused", process=replace(ours, started=ours.started - 1))
    lost, reused = discovered(tmp_path, no_jobs).clusters[::-1]
    for seen in (lost, reused):
        assert seen.state == GONE
        assert "has ended" in seen.why


def test_a_suspended_cluster_is_not_gone(tmp_path: Path) -> None:
    """Its process exists; silence does not prove that it has ended."""
    with deaf() as address, subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        left_behind(
            tmp_path,
            process=ProcessIdentity.of(process.pid),
            addresses=(address,),
        )
        (seen,) = discovered(tmp_path, no_jobs).clusters
        process.kill()
    assert seen.state == SILENT
    assert "suspended or busy" in seen.why


@pytest.mark.parametrize(
    ("address", "answer"),
    [("192.0.2.1:4711", ""), ("127.0.0.1:1", "connection refused")],
)
def test_silence_of_another_host_proves_nothing(
    tmp_path: Path, address: str, answer: str
) -> None:
    """Some firewalls even refuse connections to a host whose cluster runs."""
    process = ProcessIdentity(boot="another", namespace="pid:[1]", pid=7, started=1)
    left_behind(tmp_path, host="elsewhere", addresses=(address,), process=process)
    (seen,) = discovered(tmp_path, no_jobs).clusters
    assert seen.state == SILENT
    assert "elsewhere does not answer" in seen.why
    assert f"{address}: {answer}" in seen.why


def test_jobs_are_listed_with_their_cluster(tmp_path: Path) -> None:
    """A cluster with another shared directory, or without a file, is found by them."""
    here = left_behind(tmp_path / "shared", "here")
    elsewhere = left_behind(tmp_path / "other", "elsewhere")
    nowhere = tmp_path / "nowhere-x"
    jobs = {"7": here, "8": elsewhere, "9": nowhere}
    seen = discovered(tmp_path / "shared", FakeGrid(jobs, user_name())).clusters
    by_label = {cluster.label: cluster for cluster in seen}
    assert [job.id for job in by_label["here"].jobs] == ["7"]
    assert dict(by_label["here"].grid_states) == {"qw": 3}
    assert by_label["elsewhere"].directories == (elsewhere,)
    assert by_label[nowhere.name].entry is None
    assert by_label[nowhere.name].state == GONE


def test_jobs_that_lead_to_no_cluster_are_unknown(tmp_path: Path) -> None:
    """It proves nothing if the directory is not mounted, or has no valid file, or the
    job does not name it."""
    unreadable = left_behind(tmp_path, "unreadable")
    (unreadable / FILE_NAME).write_text("{")
    jobs = {"7": tmp_path / "not mounted" / "x-1", "8": unreadable, "9": tmp_path / "y"}
    seen = discovered(tmp_path, FakeGrid(jobs, user_name(), silent=["9"])).clusters
    assert {cluster.state for cluster in seen} == {UNKNOWN}
    assert sorted(job.id for cluster in seen for job in cluster.jobs) == ["7", "8", "9"]
    # Labelled with the job id: a running cluster may have the same name.
    assert "9" in {cluster.label for cluster in seen}
    assert "y" not in {cluster.name for cluster in seen}


@pytest.mark.parametrize("name", ["it's a folder", "a,b=c", "ä%20"])
def test_unusual_characters_in_a_path(tmp_path: Path, name: str) -> None:
    """The jobs belong to the cluster, also if the path is a link."""
    lost = left_behind(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / name)
    for shared in (tmp_path / name, tmp_path / "link"):
        (seen,) = discovered(shared, FakeGrid({"7": lost}, user_name())).clusters
        assert (seen.state, [job.id for job in seen.jobs]) == (GONE, ["7"])


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root makes PID namespaces"
)
def test_one_in_another_pid_namespace_is_not_gone(tmp_path: Path) -> None:
    """Its process id means nothing here, although the host's name is the same."""
    made = (
        "from pathlib import Path; import os, sys;"
        " from tests.clusters import left_behind;"
        " from dask_gridengine.process_identity import ProcessIdentity;"
        " left_behind(Path(sys.argv[1]), process=ProcessIdentity.of());"
        " print(os.getpid(), flush=True); sys.stdin.read()"
    )
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", made]
    with subprocess.Popen(
        [*inside, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        started = process.stdout.readline()
        if not started:
            pytest.skip("no PID namespace can be made here")
        (seen,) = discovered(tmp_path, no_jobs).clusters
        assert (seen.state, seen.entry is not None) == (SILENT, True)
        assert "container" in seen.why
        process.communicate(b"")
    (seen,) = discovered(tmp_path, no_jobs).clusters
    assert seen.state == SILENT  # no proof from here that it has ended


def test_the_reason_why_no_jobs_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No grid, no qstat, or a qstat that fails."""
    monkeypatch.delenv("SGE_ROOT", raising=False)
    monkeypatch.delenv("DRMAA_LIBRARY_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SGE_CELL", "none")
    assert discover(tmp_path).grid_problem == NO_GRID
    monkeypatch.setenv("SGE_ROOT", str(tmp_path))
    assert "No such file" in discover(tmp_path).grid_problem

    def failing(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "x\nno qmaster\n")

    assert discovered(tmp_path, failing).grid_problem == "qstat failed: no qmaster"
