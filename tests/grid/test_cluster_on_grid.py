"""A Dask cluster on a real Grid Engine, end to end."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

from dask_gridengine import (
    GridEngineCluster,
    LauncherUnavailable,
    NodesFailed,
    SubmitError,
)
from tests.grid.conftest import Cell
from tests.waiting import wait_until

pytestmark = pytest.mark.grid


def test_eight_workers_from_one_array_on_both_hosts(
    grid: Cell, options: dict[str, Any], shared: Path
) -> None:
    """One array in qstat, both hosts used, results equal to numpy's and pandas's."""
    with GridEngineCluster(jobs=8, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(8, timeout=60)
        assert len({line.split()[0] for line in grid.qstat().splitlines()[2:]}) == 1
        assert set(client.run(socket.gethostname).values()) == set(grid.hosts)
        x = np.arange(10_000.0).reshape(100, 100)
        ours = da.from_array(x, chunks=(25, 25))
        np.testing.assert_allclose((ours @ ours.T).compute(), x @ x.T)
        frame = pd.DataFrame({"k": np.arange(1000) % 7, "v": np.arange(1000.0)})
        mean = dd.from_pandas(frame, npartitions=8).groupby("k").v.mean().compute()
        pd.testing.assert_series_equal(
            mean.sort_index(), frame.groupby("k").v.mean(), check_index_type=False
        )
    assert grid.qstat() == ""
    assert list(shared.iterdir()) == []


def test_a_hundred_jobs_queue_and_scale_down_starts_none(
    grid: Cell, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs beyond the slots queue; scale(1) takes them back without starting one.

    Nothing was computed, so no data is reported as lost, whichever node registers.
    """
    slots = 2 * int(grid.run("qconf", "-sq", "all.q").split("slots")[1].split()[0])
    with GridEngineCluster(jobs=slots + 10, **options) as cluster:
        cluster.wait_for_workers(1, timeout=60)
        cluster.scale(1)
        wait_until(
            lambda: sum(n.state.value == "gone" for n in cluster.jobs()) == slots + 9,
            "all nodes gone but one",
            60,
            lambda: [node.state.value for node in cluster.jobs()],
        )
        queued = cluster.jobs()[slots:]
        assert all(node.arrived is None for node in queued)
        assert len(cluster.workers) == 1
    assert "is lost" not in caplog.text


KILLED = """
import sys
from dask_gridengine import GridEngineCluster
if __name__ == "__main__":
    cluster = GridEngineCluster(
        jobs=60, launcher="drmaa", shared_directory=sys.argv[1], quiet=True,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
    )
    cluster.wait_for_workers(4, timeout=60)
    print("up", flush=True)
    sys.stdin.read()
"""


def test_kill_9_of_python_empties_the_queue(grid: Cell, shared: Path) -> None:
    """Within 30 s nothing queues, nothing runs and no file is left."""
    user = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(shared)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        user.send_signal(signal.SIGKILL)
        user.wait(10)
    wait_until(lambda: grid.qstat() == "", "an empty queue", 30, grid.qstat)
    wait_until(lambda: not grid.nodes(), "no node process left", 30, grid.nodes)
    wait_until(lambda: not list(shared.iterdir()), "no file left", 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_courtesy_signal_drains_a_node(
    grid: Cell, options: dict[str, Any], number: signal.Signals
) -> None:
    """A node that gets a warning signal moves its data before it ends."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        futures = client.map(lambda i: os.urandom(8), range(10), pure=False)
        before = client.gather(futures)
        leaving = cluster.jobs()[0]
        # To the whole group, as Grid Engine sends -notify and s_rt.
        os.killpg(os.getpgid(leaving.pid), number)
        wait_until(
            lambda: cluster.jobs()[0].state.value == "gone",
            "node gone",
            30,
            cluster.jobs,
        )
        assert f"drained: {number.name}" in cluster.explain(str(leaving.id))
        assert client.gather(futures) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"queue": "nowhere.q"}, r"nowhere\.q.*Hint: queue: .*all\.q"),
        ({"resource_spec": "unicorns=3"}, r"unicorns.*resource_spec"),
        ({"cores": 2, "parallel_environment": "nope"}, r"nope.*parallel_environment"),
        ({"cores": 99, "parallel_environment": "smp"}, r"suitable queues.*cores="),
    ],
)
def test_a_rejected_submission_has_the_grids_message(
    grid: Cell,
    options: dict[str, Any],
    shared: Path,
    change: dict[str, Any],
    reason: str,
) -> None:
    """The constructor raises with the grid's reason, and nothing is left behind."""
    with pytest.raises(SubmitError) as caught:
        GridEngineCluster(**{"jobs": 2, **options, **change})
    assert re.search(reason, str(caught.value), re.DOTALL), caught.value
    assert list(shared.iterdir()) == []


def test_the_error_of_an_unreachable_qmaster(
    grid: Cell, options: dict[str, Any], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the host of the qmaster, and what to check."""
    monkeypatch.setenv("SGE_QMASTER_PORT", "6999")
    with pytest.raises(LauncherUnavailable, match=r"(?s)gridmaster.*qhost"):
        GridEngineCluster(jobs=1, **options)
    assert list(shared.iterdir()) == []


def test_the_error_of_a_missing_libdrmaa(
    grid: Cell, options: dict[str, Any], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a wrong DRMAA_LIBRARY_PATH, and launcher='drmaa' does not fall back."""
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", "/nowhere/libdrmaa.so")
    with pytest.raises(LauncherUnavailable, match=r"(?s)/nowhere/libdrmaa\.so"):
        GridEngineCluster(jobs=1, **options)
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"python": "/nowhere/python"}, r"could not find Python.*not found.*python="),
        ({"local_directory": "/proc/no"}, r"scratch directory.*local_directory="),
        (
            {"contact_address": "127.0.0.1"},
            r"could not reach.*127.0.0.1.*refused.*interface=",
        ),
    ],
)
def test_the_error_of_nodes_that_cannot_start(
    grid: Cell, options: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    """wait_for_workers raises with the reason and what to type."""
    options = {**options, "death_timeout": 2, **change}
    with (
        GridEngineCluster(jobs=2, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(2, timeout=60)
    assert re.search(reason, str(caught.value), re.DOTALL), caught.value


def test_a_shared_directory_that_is_not_shared(
    grid: Cell, options: dict[str, Any], tmp_path: Path
) -> None:
    """The nodes can see neither the log nor the connection file; the error says so."""
    private = grid.directory / "private"
    with (
        GridEngineCluster(jobs=1, **{**options, "shared_directory": private}) as one,
        pytest.raises(
            NodesFailed, match=r"(?s)could not write (its|their) log.*shared_dir"
        ),
    ):
        one.wait_for_workers(1, timeout=60)
    options = {**options, "shared_directory": private, "log_directory": tmp_path}
    with (
        GridEngineCluster(jobs=1, **options) as other,
        pytest.raises(NodesFailed, match=r"shared_directory="),
    ):
        other.wait_for_workers(1, timeout=60)


def test_slots_and_walltime_are_as_requested(
    grid: Cell, options: dict[str, Any]
) -> None:
    """cores become slots of the parallel environment, and the worker's threads."""
    with (
        GridEngineCluster(
            jobs=1, cores=3, parallel_environment="smp", walltime="00:10:00", **options
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        (info,) = cluster.scheduler_info["workers"].values()
        assert info["nthreads"] == 3
        assert client.submit(os.getenv, "NSLOTS").result() == "3"
        job = cluster.jobs()[0].id.job
        assert "h_rt=600" in grid.qstat("-j", job)


def test_nothing_of_the_session_leaks_into_jobs(
    grid: Cell, options: dict[str, Any]
) -> None:
    """The variable that lets libdrmaa be loaded is not set in the jobs."""
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        assert client.submit(os.getenv, "GLIBC_TUNABLES").result(timeout=60) is None


WHERE = """
import socket
from distributed import Client
from dask_gridengine import GridEngineCluster
with GridEngineCluster(1, quiet=True) as cluster, Client(cluster) as client:
    assert "SGE" in cluster.launcher_description, cluster.launcher_description
    print(client.submit(socket.gethostname).result(timeout=60))
"""


@pytest.mark.parametrize("kibibytes", [256, 1024, 2048, 8192, None])
def test_any_stack_limit_will_do(
    grid: Cell,
    tmp_path: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    kibibytes: int | None,
) -> None:
    """A cluster opens on the grid under every ``ulimit -s``, also "unlimited"."""
    monkeypatch.setenv("DASK_GRIDENGINE__SHARED_DIRECTORY", str(shared))
    soft = resource.RLIM_INFINITY if kibibytes is None else kibibytes * 1024
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    ran = subprocess.run(
        [sys.executable, "-c", WHERE],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (soft, hard)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.strip() in grid.hosts, ran.stderr


def test_a_cluster_inside_a_job_is_on_the_grid(
    grid: Cell, tmp_path: Path, shared: Path
) -> None:
    """Where nodes may submit, a job can open a cluster; its nodes are further jobs."""
    script = tmp_path / "job.sh"
    script.write_text(f"exec {sys.executable} -c '{WHERE}'\n")
    grid.run("qconf", "-as", "node1")
    try:
        directory = f"DASK_GRIDENGINE__SHARED_DIRECTORY={shared}"
        how = ["-S", "/bin/sh", "-j", "y", "-q", "all.q@node1", "-v", directory]
        command = ["qsub", "-sync", "y", "-o", f"{tmp_path}/out", *how, str(script)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        message = (tmp_path / "out").read_text()
        assert message.strip() in grid.hosts, (message, ran.stdout, ran.stderr)
    finally:
        grid.run("qconf", "-ds", "node1")


def test_the_best_launcher_on_a_grid_is_the_grid(
    grid: Cell, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """launcher=None takes Grid Engine, and one line says so."""
    options = {**options, "launcher": None, "quiet": False}
    with GridEngineCluster(**options):
        (line,) = capsys.readouterr().out.splitlines()
    assert "Grid Engine" in line
    assert "SGE" in line
