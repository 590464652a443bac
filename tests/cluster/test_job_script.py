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


def render(directory: Path, **given: Any) -> str:
    options = Options.resolve({"name": "dask-x", **given})
    file, logs = directory / "connection.json", directory / "logs"
    argv = command(options, file, logs, GRID.log_name)
    return jobscript.render(options, request(options, argv, "drmaa", GRID), DRMAA)


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


@pytest.mark.parametrize(
    ("given", "remark"),
    [
        ({}, "1 threads for the worker = 1 slot of the grid"),
        (
            {"cores": 4, "parallel_environment": "smp"},
            "4 threads for the worker = 4 slots of the grid, through -pe smp",
        ),
        ({}, "the worker's limit is its slots' share of its host's memory"),
        ({"memory": "4 GiB"}, "the worker's limit is 4.00 GiB"),
        ({"memory": "4 GiB"}, "nothing is requested of the grid for it"),
        (
            {"memory": "4 GiB", "memory_resource": "h_vmem"},
            "h_vmem is requested for it, charged per slot",
        ),
    ],
)
def test_it_says_what_slots_and_memory_mean(
    given: dict[str, Any], remark: str, tmp_path: Path
) -> None:
    """Dask and Grid Engine mean different things by these: both stand there."""
    assert remark in render(tmp_path, **given)


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
