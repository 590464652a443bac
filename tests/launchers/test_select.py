"""The selection of a launcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from dask_gridengine.launchers.select import open_launcher
from tests.launchers.conftest import Ends


@pytest.fixture
def no_grid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A laptop, also without Slurm's commands."""
    for name in ("SGE_ROOT", "SGE_CELL", "DRMAA_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


async def describe(kind: str | None, ends: Ends) -> str:
    launcher = await open_launcher(kind, ends, slots=2)
    await launcher.aclose()
    return launcher.description


@pytest.mark.usefixtures("no_grid")
def test_without_a_grid_nodes_are_local_processes(ends: Ends) -> None:
    """The description says so, and why."""
    description = asyncio.run(describe(None, ends))
    assert description.startswith("2 slots of local processes; no Grid Engine")


@pytest.mark.usefixtures("no_grid")
def test_drmaa_never_falls_back(ends: Ends) -> None:
    """The error says what is missing, and what to type."""
    with pytest.raises(LauncherUnavailable) as caught:
        asyncio.run(describe("drmaa", ends))
    assert "SGE_ROOT" in caught.value.reason
    assert "settings.sh" in caught.value.hint


@pytest.mark.usefixtures("no_grid")
@pytest.mark.parametrize("kind", ["drmaa", None])
def test_slurm_without_its_library(
    kind: str | None, ends: Ends, tmp_path: Path
) -> None:
    """The error names the library that is missing, and no setting of Grid Engine.

    Local processes would load the login node.
    """
    (tmp_path / "squeue").touch(mode=0o755)
    with pytest.raises(LauncherUnavailable) as caught:
        asyncio.run(describe(kind, ends))
    assert "slurm-drmaa" in caught.value.hint
    assert "SGE" not in str(caught.value)


@pytest.fixture
def site(
    no_grid: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Configures a grid; the argument is the source of its ``drmaa`` package."""

    def configure(source: str) -> None:
        (tmp_path / "drmaa.py").write_text(source)
        (tmp_path / "libdrmaa.so").touch()
        (tmp_path / "default" / "common").mkdir(parents=True)
        (tmp_path / "default" / "common" / "act_qmaster").write_text("gridmaster")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("SGE_ROOT", str(tmp_path))
        monkeypatch.setenv("DRMAA_LIBRARY_PATH", str(tmp_path / "libdrmaa.so"))

    return configure


def test_a_grid_that_crashes_is_an_error(
    ends: Ends, site: Callable[[str], None]
) -> None:
    """The error has the reason, and says how to use local processes instead."""
    site("import os, sys; sys.stderr.write('bad\\n'); os.abort()")
    with pytest.raises(LauncherUnavailable, match=r"SIGABRT[^$]*\n  bad") as caught:
        asyncio.run(describe(None, ends))
    assert 'launcher="process"' in caught.value.hint
    assert asyncio.run(describe("process", ends)) == "2 slots of local processes"


def test_a_grid_that_hangs_is_an_error(ends: Ends, site: Callable[[str], None]) -> None:
    """In time, with the master's host and how to check it."""
    site("import time; time.sleep(1000)")
    with pytest.raises(LauncherUnavailable, match="within 1 s") as caught:
        asyncio.run(open_drmaa(ends, timeout=1))
    assert "qhost" in caught.value.hint
    assert "gridmaster" in caught.value.hint


@pytest.mark.usefixtures("no_grid")
def test_a_configured_but_missing_library_is_an_error(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without SGE_ROOT; the user means the grid."""
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", "/no/such.so")
    with pytest.raises(LauncherUnavailable, match=r"/no/such\.so"):
        asyncio.run(describe(None, ends))
