"""Clusters seen from outside: alive, gone, or neither for sure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dask_gridengine.outside.sighting import (
    ALIVE,
    GONE,
    NO_GRID,
    SILENT,
    look,
    user_name,
)
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
    left_behind(tmp_path, "reused", pid=os.getpid(), started=1.0)
    lost, reused = look(tmp_path, no_jobs).clusters[::-1]
    for seen in (lost, reused):
        assert seen.state == GONE
        assert "is not there any more" in seen.why


def test_one_that_is_suspended_is_not_gone(tmp_path: Path) -> None:
    """Its process is there: silence is not death."""
    with deaf() as address, subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        left_behind(
            tmp_path, pid=process.pid, addresses=(address,), started=time.time()
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
    left_behind(tmp_path, host="elsewhere", addresses=(address,))
    (seen,) = look(tmp_path, no_jobs).clusters
    assert seen.state == SILENT
    assert why in seen.why


def test_another_host_that_refuses_may_be_a_firewall(tmp_path: Path) -> None:
    """Some say "connection refused" in the name of a host whose cluster lives."""
    port = closed_port().rpartition(":")[2]
    own = _address()
    left_behind(tmp_path, host="elsewhere", addresses=(f"{own}:{port}",))
    (seen,) = look(tmp_path, no_jobs).clusters
    assert seen.state == SILENT
    assert "connection refused" in seen.why


def test_jobs_are_their_cluster_s_and_without_one_their_own(tmp_path: Path) -> None:
    """What the grid still has is shown with the cluster it is of, known or not; a
    directory elsewhere is found by its jobs."""
    here = left_behind(tmp_path / "shared", "here")
    elsewhere = left_behind(tmp_path / "other", "elsewhere")
    nowhere = tmp_path / "removed" / "nowhere-x"
    jobs = {"7": here, "8": elsewhere, "9": nowhere}
    seen = look(tmp_path / "shared", FakeGrid(jobs, user_name())).clusters
    by_label = {cluster.label: cluster for cluster in seen}
    assert [job.id for job in by_label["here"].jobs] == ["7"]
    assert by_label["here"].tasks_left == {"qw": 3}
    assert by_label["elsewhere"].directories == (elsewhere,)
    assert by_label[nowhere.name].entry is None
    assert by_label[nowhere.name].state == GONE


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
