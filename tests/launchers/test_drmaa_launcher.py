"""The DRMAA launcher, where it cannot be opened."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from tests.launchers.conftest import Ends


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SGE_ROOT whose libdrmaa is not a library."""
    common = tmp_path / "sge" / "default" / "common"
    common.mkdir(parents=True)
    (common / "act_qmaster").write_text("gridmaster\n")
    library = tmp_path / "libdrmaa.so"
    library.write_text("no library at all")
    monkeypatch.setenv("SGE_ROOT", str(tmp_path / "sge"))
    monkeypatch.delenv("SGE_CELL", raising=False)
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", str(library))
    return tmp_path


def refusal(ends: Ends, timeout: float = 20) -> LauncherUnavailable:
    with pytest.raises(LauncherUnavailable) as caught:
        asyncio.run(open_drmaa(ends, timeout=timeout))
    assert caught.value.launcher == "drmaa"
    return caught.value


def package(cell: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (cell / "python").mkdir()
    (cell / "python" / "drmaa.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(cell / "python"))


def test_a_library_that_cannot_be_loaded_is_an_error(cell: Path, ends: Ends) -> None:
    """With the loader's text and what to install."""
    error = refusal(ends)
    assert "libdrmaa.so" in error.reason
    assert "apt-get install gridengine-drmaa1.0" in error.hint


def test_a_missing_package_says_what_to_install(
    cell: Path, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the Python that runs the cluster."""
    package(cell, monkeypatch, "raise ModuleNotFoundError('No module named drmaa')")
    assert refusal(ends).hint.startswith("pip install drmaa")


def test_a_library_that_hangs_is_an_error(
    cell: Path, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, with the master's host and how to check it."""
    package(cell, monkeypatch, "import time; time.sleep(1000)")
    start = time.monotonic()
    error = refusal(ends, timeout=1)
    assert time.monotonic() - start < 5
    assert "within 1 s" in error.reason
    assert "qhost" in error.hint
    assert "gridmaster" in error.hint


def test_a_library_that_crashes_is_an_error(
    cell: Path, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the end of its stderr."""
    source = "import os, sys; sys.stderr.write('bad\\n'); os.abort()"
    package(cell, monkeypatch, source)
    error = refusal(ends)
    assert "was killed by SIGABRT" in error.reason
    assert "\n  bad" in error.reason
