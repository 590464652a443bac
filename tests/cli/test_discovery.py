"""Clusters seen from outside: alive, gone, or neither for sure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dask_gridengine.batch.sge.qstat import user_name
from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.cli.discovery import (
    ALIVE,
    GONE,
    NO_GRID,
    SILENT,
    UNKNOWN,
    look,
)
from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import FakeGrid, closed_port, deaf, left_behind, running


def no_jobs(command: object) -> str:
    return "<job_info></job_info>"


def test_one_that_answers_is_alive(shared: Path) -> None:
    """And tells how its nodes stand."""
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        (seen,) = look(shared, no_jobs).clusters
        assert (seen.state, seen.label, seen.why) == (ALIVE, "mine", "")
        assert seen.status["states"] == {"working": 1}
    assert look(shared, no_jobs).clusters == ()


def test_pools_are_seen_once(shared: Path) -> None:
    """A cluster with several kinds of nodes has several doors, and is one."""
    with running(shared, pools={"cpu": {}, "big": {}}):
        (seen,) = look(shared, no_jobs).clusters
        assert (seen.state, seen.name, len(seen.directories)) == (ALIVE, "mine", 2)


def test_one_whose_process_is_not_there_is_gone(tmp_path: Path) -> None:
    """On its own host the process table is proof, of a process reused as well."""
    left_behind(tmp_path)
    ours = ProcessIdentity.of()
    left_behind(tmp_path, "reused", process=replace(ours, started=ours.started - 1))
    lost, reused = look(tmp_path, no_jobs).clusters[::-1]
    for seen in (lost, reused):
        assert seen.state == GONE
        assert "is not there any more" in seen.why


def test_one_that_is_suspended_is_not_gone(tmp_path: Path) -> None:
    """Its process is there: silence is not death."""
    with deaf() as address, subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        left_behind(
            tmp_path,
            process=ProcessIdentity.of(process.pid),
            addresses=(address,),
        )
        (seen,) = look(tmp_path, no_jobs).clusters
        process.kill()
    assert seen.state == SILENT
    assert "suspended or busy" in seen.why


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:4711", "it can be asked on elsewhere only"),
        ("192.0.2.1:4711", "elsewhere does not answer"),
    ],
)
def test_silence_of_another_host_proves_nothing(
    tmp_path: Path, address: str, why: str
) -> None:
    """One that listens on its loopback is not asked on ours."""
    process = ProcessIdentity(boot="another", namespace="pid:[1]", pid=7, started=1)
    left_behind(tmp_path, host="elsewhere", addresses=(address,), process=process)
    (seen,) = look(tmp_path, no_jobs).clusters
    assert seen.state == SILENT
    assert why in seen.why


def test_another_host_that_refuses_may_be_a_firewall(tmp_path: Path) -> None:
    """Some say "connection refused" in the name of a host whose cluster lives."""
    port = closed_port().rpartition(":")[2]
    own = _address()
    process = ProcessIdentity(boot="another", namespace="pid:[1]", pid=7, started=1)
    left_behind(
        tmp_path, host="elsewhere", addresses=(f"{own}:{port}",), process=process
    )
    (seen,) = look(tmp_path, no_jobs).clusters
    assert seen.state == SILENT
    assert "connection refused" in seen.why


def test_jobs_are_their_cluster_s_and_without_one_their_own(tmp_path: Path) -> None:
    """What the grid still has is shown with the cluster it is of, known or not; a
    directory elsewhere is found by its jobs."""
    here = left_behind(tmp_path / "shared", "here")
    elsewhere = left_behind(tmp_path / "other", "elsewhere")
    nowhere = tmp_path / "nowhere-x"
    jobs = {"7": here, "8": elsewhere, "9": nowhere}
    seen = look(tmp_path / "shared", FakeGrid(jobs, user_name())).clusters
    by_label = {cluster.label: cluster for cluster in seen}
    assert [job.id for job in by_label["here"].jobs] == ["7"]
    assert by_label["here"].tasks_left == {"qw": 3}
    assert by_label["elsewhere"].directories == (elsewhere,)
    assert by_label[nowhere.name].entry is None
    assert by_label[nowhere.name].state == GONE


def test_jobs_that_lead_to_no_cluster_are_unknown(tmp_path: Path) -> None:
    """A directory that cannot be seen, or without a readable connection file, or that
    the job does not name, proves no death."""
    unreadable = left_behind(tmp_path, "unreadable")
    (unreadable / FILE_NAME).write_text("{")
    jobs = {"7": tmp_path / "not mounted" / "x-1", "8": unreadable, "9": tmp_path / "y"}
    seen = look(tmp_path, FakeGrid(jobs, user_name(), silent=["9"])).clusters
    assert {cluster.state for cluster in seen} == {UNKNOWN}
    assert sorted(job.id for cluster in seen for job in cluster.jobs) == ["7", "8", "9"]
    # Called by its number: its name may be that of a cluster that lives.
    assert "9" in {cluster.label for cluster in seen}
    assert "y" not in {cluster.name for cluster in seen}


@pytest.mark.parametrize("name", ["it's a folder", "a,b=c", "ä%20"])
def test_odd_letters_in_a_path_hide_no_cluster(tmp_path: Path, name: str) -> None:
    """Its jobs are shown with it, and nothing else is; also through a link."""
    lost = left_behind(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / name)
    for shared in (tmp_path / name, tmp_path / "link"):
        (seen,) = look(shared, FakeGrid({"7": lost}, user_name())).clusters
        assert (seen.state, [job.id for job in seen.jobs]) == (GONE, ["7"])


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root makes PID namespaces"
)
def test_one_in_another_pid_namespace_is_not_gone(tmp_path: Path) -> None:
    """Its process id means nothing here, though the host's name is the same."""
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
        said = process.stdout.readline()
        if not said:
            pytest.skip("no PID namespace can be made here")
        (seen,) = look(tmp_path, no_jobs).clusters
        assert (seen.state, seen.entry is not None) == (SILENT, True)
        assert "container" in seen.why
        process.communicate(b"")
    (seen,) = look(tmp_path, no_jobs).clusters
    assert seen.state == SILENT  # from here this cannot be told


def test_without_a_grid_it_says_why_no_jobs_were_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Grid Engine, no qstat and one that fails are told apart."""
    monkeypatch.delenv("SGE_ROOT", raising=False)
    monkeypatch.setenv("SGE_CELL", "none")
    assert look(tmp_path).grid == NO_GRID
    monkeypatch.setenv("SGE_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look(tmp_path).grid == "there is no qstat here"

    def failing(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "x\nno qmaster\n")

    assert look(tmp_path, failing).grid == "qstat failed: no qmaster"


def _address() -> str:
    """One of this host's that is not its loopback; or that, under another name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            own = str(probe.getsockname()[0])
        except OSError:
            own = "127.0.0.1"
    if own.startswith("127.") or sys.platform != "linux":
        pytest.skip("this host has no network")
    return own
