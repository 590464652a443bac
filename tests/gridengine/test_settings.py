"""The old library's settings, taken from Dask's configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

import gridengine
from gridengine import settings

NAMES = ("path", "PYTHONPATH", "WRAPPER", "TEMPDIR", "DEFAULT_RESOURCES")


def settings_with(**environment: str) -> dict[str, Any]:
    """What a new process finds, with these variables beside the usual ones."""
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, dask, gridengine; s = gridengine.settings;"
            f"found = {{name: getattr(s, name) for name in {NAMES}}};"
            "print(json.dumps({**found, 'config': dask.config.get('gridengine')}))",
        ],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_names_that_scripts_read_are_there() -> None:
    """The package's directory, what Python searches, and no wrapper."""
    assert Path(settings.path) == Path(gridengine.__file__).parent
    assert settings.WRAPPER is None
    site = Path(pytest.__file__).parent.parent
    assert str(site) in settings.PYTHONPATH.split(":")


def test_without_a_configuration_nothing_is_requested(tmp_path: Path) -> None:
    """The files are below the home directory, and nodes are of any kind."""
    found = settings_with(HOME=str(tmp_path), DASK_CONFIG=str(tmp_path))
    assert found["TEMPDIR"] == str(tmp_path / ".dask-gridengine")
    assert found["DEFAULT_RESOURCES"] == {}
    assert found["config"]["map"]["max-jobs"] >= 1


def test_the_configuration_counts() -> None:
    """Variables and ~ in a path are expanded, a resource without a value is true."""
    found = settings_with(
        DASK_GRIDENGINE__SHARED_DIRECTORY="$SCRATCH/of/$NAME",
        DASK_GRIDENGINE__RESOURCE_SPEC="gpu=1,arch=lx-amd64,exclusive,q=a=b",
        DASK_GRIDENGINE__MAP__MAX_JOBS="17",
        SCRATCH="/scratch",
        NAME="me",
    )
    assert found["TEMPDIR"] == "/scratch/of/me"
    assert found["DEFAULT_RESOURCES"] == {
        "gpu": "1",
        "arch": "lx-amd64",
        "exclusive": "true",
        "q": "a=b",
    }
    assert dask.config.get("map.max-jobs", config=found["config"]) == 17


def test_what_is_assigned_holds_for_the_next_scheduler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with the old library; what the scheduler itself is given comes first."""
    before = gridengine.GridEngineScheduler(h_vmem="1G")
    monkeypatch.setattr(settings, "DEFAULT_RESOURCES", {"gpu": "1", "h_vmem": "2G"})
    monkeypatch.setattr(settings, "TEMPDIR", str(tmp_path / "mine"))
    options = {"launcher": "process", "quiet": True}
    with gridengine.GridEngineScheduler(h_vmem="1G", options=options) as after:
        assert before.resources == {"h_vmem": "1G"}
        assert after.resources == {"gpu": "1", "h_vmem": "1G"}
        assert after.address
        assert list((tmp_path / "mine").iterdir())
    before.close()
