"""The script that shows what would be submitted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.batch import batch_system
from dask_gridengine.cluster import job_script as jobscript
from dask_gridengine.nodes.job_request import command, request
from dask_gridengine.options import Options

GRID = batch_system("gridengine")

DRMAA: Any = SimpleNamespace(
    description="SGE 8.1.9 at gridmaster", kind="drmaa", batch_system=GRID
)


LOCAL: Any = SimpleNamespace(
    description="2 slots of local processes", kind="process", batch_system=GRID
)


def render(directory: Path, launcher: Any = DRMAA, **given: Any) -> str:
    options = Options.resolve({"name": "dask-x", **given})
    file, logs = directory / "connection.json", directory / "logs"
    argv = command(options, file, logs, GRID.log_name)
    requested = request(options, argv, launcher.kind, GRID)
    return jobscript.render(options, requested, launcher)


def test_it_is_what_qsub_would_be_given(tmp_path: Path) -> None:
    """Name, shell, directory, log, environment and options are its directives."""
    script = render(tmp_path, queue="long.q", walltime="1h")
    directives = [
        line.removeprefix("#$ ")
        for line in script.splitlines()
        if line.startswith("#$")
    ]
    assert directives == [
        "-N dask-x",
        "-S /bin/sh",
        "-wd /",
        "-o /dev/null -j y",
        "-v PYTHONHASHSEED=6640",
        "-v MALLOC_TRIM_THRESHOLD_=65536",
        "-q long.q -l h_rt=3600",
    ]
    assert script.startswith("#!/bin/sh\n# started by: SGE 8.1.9 at gridmaster\n")


SMP = {"parallel_environment": "smp"}


@pytest.mark.parametrize(
    ("given", "remarks"),
    [
        ({}, ["1 slot for 1 worker with 1 thread each", "share of the host's memory"]),
        ({"cores": 4, **SMP}, ["4 slots", "-pe smp", "1 worker with 4 threads"]),
        (
            {"cores": 8, "processes": 4, "memory": "8 GiB", **SMP},
            ["4 workers with 2 threads each", "each worker is 2 GiB"],
        ),
        (
            {"cores": 4, "worker_options": {"nthreads": 1}, **SMP},
            ["with 1 thread each"],
        ),
        ({"memory": "4 GiB"}, ["each worker is 4 GiB", "nothing is requested"]),
        ({"memory": 0}, ["no limit"]),
        (
            {"memory": "4 GiB", "memory_resource": "h_vmem"},
            ["h_vmem is requested for it, charged per slot"],
        ),
        ({"resource_spec": "h_vmem=4G"}, ["h_vmem is requested as well"]),
    ],
)
def test_it_says_what_slots_and_memory_mean(
    given: dict[str, Any], remarks: list[str], tmp_path: Path
) -> None:
    """Dask and Grid Engine mean different things by these: both stand there (D1)."""
    script = render(tmp_path, **given)
    for remark in remarks:
        assert remark in script
    assert ("nothing is requested" in script) == ("h_vmem" not in script)


@pytest.mark.parametrize("launcher", [DRMAA, LOCAL])
def test_it_is_the_same_off_the_grid(launcher: Any, tmp_path: Path) -> None:
    """A script can be checked where there is no grid (D1)."""
    given = {"queue": "long.q", "walltime": "1h", "resource_spec": "h_vmem=4G"}
    script = render(tmp_path, launcher, **given)
    assert "#$ -q long.q -l h_vmem=4G,h_rt=3600\n" in script


def test_cores_of_local_processes_need_no_parallel_environment(tmp_path: Path) -> None:
    """The script says that Grid Engine does."""
    script = render(tmp_path, LOCAL, cores=4)
    assert "parallel_environment" in script
    assert "-pe" not in script


def test_a_shell_runs_it(tmp_path: Path) -> None:
    """It has the node's own command: log, prologue and Python."""
    (tmp_path / "logs").mkdir()
    script = tmp_path / "job.sh"
    script.write_text(
        render(
            tmp_path, python="/bin/echo", job_script_prologue=["echo before; pwd >&2"]
        )
    )
    environment = {**os.environ, "JOB_ID": "5", "SGE_TASK_ID": "2"}
    done = subprocess.run(
        ["/bin/sh", script], env=environment, cwd="/", timeout=10, check=True
    )
    assert done.returncode == 0
    log = tmp_path / "logs" / "5.2.log"
    assert log.read_text().splitlines() == [
        "prologue: echo before; pwd >&2",
        "before",
        "/",
        f"-m dask_gridengine.node {tmp_path / 'connection.json'}",
    ]
    assert log.stat().st_mode & 0o777 == 0o600
