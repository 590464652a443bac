"""``dask gridengine doctor`` on a host without Grid Engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from dask import config

from dask_gridengine.options import Options
from tests.cli.test_cli import DASK, dask
from tests.waiting import wait_until

NO_GRID = {"SGE_ROOT": "", "DRMAA_LIBRARY_PATH": ""}


def doctor(
    shared: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    directory = {"DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)}
    return dask("doctor", *arguments, **{**NO_GRID, **directory, **environment})


def test_a_good_laptop(tmp_path: Path) -> None:
    """All checks pass, and nothing is left."""
    ended = doctor(tmp_path / "shared", "--launcher", "process")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "A cluster will work here" in ended.stdout
    statuses = {line[:4].strip() for line in ended.stdout.splitlines()[:-2]}
    assert statuses == {"PASS", "SKIP"}
    assert not (tmp_path / "shared").exists()


def test_json_and_profile(tmp_path: Path) -> None:
    """--json prints one object; the profile is a configuration of ours."""
    profile = tmp_path / "gridengine.yaml"
    ended = doctor(
        tmp_path,
        "--launcher=process",
        "--json",
        "--memory=2 GB",
        f"--profile={profile}",
    )
    body = json.loads(ended.stdout)
    checks = {check["name"]: check for check in body["checks"]}
    assert checks["addresses"]["status"] == checks["worker ports"]["status"] == "PASS"
    settings = yaml.safe_load(profile.read_text())["gridengine"]
    with config.set({f"gridengine.{name}": value for name, value in settings.items()}):
        assert Options.resolve({}).memory == 2 * 10**9
    again = doctor(tmp_path, f"--profile={profile}")
    assert again.returncode == 2
    assert "already exists" in again.stderr


def test_nodes_without_python(tmp_path: Path) -> None:
    """The check of that name fails without a traceback, and nothing is left."""
    ended = doctor(
        tmp_path / "shared", "--launcher=process", "--python=/nowhere/python"
    )
    assert ended.returncode == 1
    assert "FAIL  python" in ended.stdout
    assert "/nowhere/python" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not (tmp_path / "shared").exists()


def test_a_grid_that_is_not_there(tmp_path: Path) -> None:
    """--launcher=drmaa makes its absence a failure; no cluster is started."""
    ended = doctor(tmp_path, "--launcher=drmaa", PATH=str(tmp_path))
    assert ended.returncode == 1
    assert "FAIL  cell" in ended.stdout
    assert "because of: cell" in ended.stdout


def test_wrong_options(tmp_path: Path) -> None:
    """Status 2 and a sentence; nothing is checked."""
    assert doctor(tmp_path, "--nodes=0").returncode == 2
    ended = doctor(tmp_path, "--memory=much")
    assert ended.returncode == 2
    assert "memory" in ended.stderr
    assert ended.stdout == ""


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A Python that hangs."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(
    tmp_path: Path, hanging: Path, number: signal.Signals
) -> None:
    """A doctor that is interrupted deletes its nodes and files."""
    shared = tmp_path / "shared"
    directory = {"DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)}
    with subprocess.Popen(
        [DASK, "gridengine", "doctor", "--launcher=process", f"--python={hanging}"],
        env={**os.environ, **NO_GRID, **directory},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        wait_until(
            lambda: bool(list(shared.glob("**/logs/*.log"))),
            "a node that has begun",
            timeout=60,
        )
        running.send_signal(number)
        text, _ = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert "Interrupted" in text
    assert not shared.exists()


def test_nodes_that_never_start(tmp_path: Path, hanging: Path) -> None:
    """After --timeout the check fails, and the nodes are deleted."""
    given = ("--launcher=process", f"--python={hanging}", "--timeout=1")
    ended = doctor(tmp_path / "shared", *given)
    assert ended.returncode == 1
    assert "FAIL  waiting" in ended.stdout
    assert not (tmp_path / "shared").exists()
