"""``dask gridengine doctor``, whole, where there is no Grid Engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import yaml
from dask import config

from dask_gridengine.options import Options
from tests.cli.test_cli import DASK, dask
from tests.waiting import wait_until

NO_GRID = {"SGE_ROOT": "", "DRMAA_LIBRARY_PATH": ""}


def doctor(
    shared: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    where = {"DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)}
    return dask("doctor", *arguments, **{**NO_GRID, **where, **environment})


def test_a_laptop_is_well(tmp_path: Path) -> None:
    """Two nodes are probed, a line each, nothing is left, and the status is 0."""
    ended = doctor(tmp_path / "shared", "--launcher", "process")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "A cluster will work here" in ended.stdout
    assert {line[:4].strip() for line in ended.stdout.splitlines()[:-2]} == {
        "PASS",
        "SKIP",
    }
    assert not (tmp_path / "shared").exists()


def test_for_programs_and_as_a_profile(tmp_path: Path) -> None:
    """--json is one object; the profile is a configuration of ours."""
    profile = tmp_path / "gridengine.yaml"
    ended = doctor(
        tmp_path,
        "--launcher=process",
        "--json",
        "--memory=2 GB",
        f"--profile={profile}",
    )
    said = json.loads(ended.stdout)
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["TLS"]["status"] == checks["CURVE"]["status"] == "PASS"
    settings = yaml.safe_load(profile.read_text())["gridengine"]
    with config.set({f"gridengine.{name}": said for name, said in settings.items()}):
        assert Options.resolve({}).memory == 2 * 10**9
    again = doctor(tmp_path, f"--profile={profile}")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    """A Python that is not there: its own line, status 1, and no traceback."""
    ended = doctor(tmp_path, "--launcher=process", "--python=/nowhere/python")
    assert ended.returncode == 1
    assert "FAIL  python" in ended.stdout
    assert "there is no /nowhere/python" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_grid_that_is_meant_and_is_not_there(tmp_path: Path) -> None:
    """Where it is insisted on, its absence is a fault; the rest is skipped."""
    ended = doctor(tmp_path, "--launcher=drmaa")
    assert ended.returncode == 1
    assert "FAIL  cell" in ended.stdout
    assert "because of: cell" in ended.stdout


def test_a_wrong_option(tmp_path: Path) -> None:
    """Status 2 and a sentence, before anything is looked at."""
    ended = doctor(tmp_path, "--nodes=0")
    assert ended.returncode == 2
    ended = doctor(tmp_path, "--memory=much")
    assert ended.returncode == 2
    assert "memory" in ended.stderr
    assert ended.stdout == ""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Amid the probe: status 130, no process, no file."""
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    shared = tmp_path / "shared"
    with subprocess.Popen(
        [DASK, "gridengine", "doctor", "--launcher=process", f"--python={hanging}"],
        env={
            **os.environ,
            **NO_GRID,
            "DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared),
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        wait_until(
            lambda: bool(list(shared.glob("*/logs/*.log"))), "a node that has begun"
        )
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Interrupted" in said
    assert not shared.exists()
