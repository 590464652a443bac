"""The search for a Grid Engine installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine.errors import LauncherUnavailable
from dask_gridengine.launchers.drmaa import discovery
from dask_gridengine.launchers.drmaa.discovery import (
    find_library,
    find_root,
    master_host,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An SGE_ROOT of two architectures, of which ours is the second by name."""
    for architecture in ("lx-alpha", "lx-amd64"):
        (tmp_path / "lib" / architecture).mkdir(parents=True)
        (tmp_path / "lib" / architecture / "libdrmaa.so").touch()
    (tmp_path / "util").mkdir()
    script = tmp_path / "util" / "arch"
    script.write_text("#!/bin/sh\necho lx-amd64\n")
    script.chmod(0o755)
    common = tmp_path / "default" / "common"
    common.mkdir(parents=True)
    (common / "act_qmaster").write_text("gridmaster\n")
    return tmp_path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without a Grid Engine in the usual places."""
    monkeypatch.setattr(discovery, "KNOWN_LIBRARIES", (str(tmp_path / "known.so"),))
    monkeypatch.setattr(discovery, "DEBIAN_ROOT", str(tmp_path / "debian"))


def test_a_wrong_drmaa_library_path_is_an_error(root: Path) -> None:
    """Otherwise a typo would silently select another Grid Engine."""
    environment = {"DRMAA_LIBRARY_PATH": "/no/such.so", "SGE_ROOT": str(root)}
    with pytest.raises(LauncherUnavailable, match=r"/no/such\.so"):
        find_library(environment)


@pytest.mark.usefixtures("nowhere")
def test_the_library_of_this_architecture_is_found(root: Path) -> None:
    """By Grid Engine's own script."""
    found = find_library({"SGE_ROOT": str(root)})
    assert found == str(root / "lib" / "lx-amd64" / "libdrmaa.so")


@pytest.mark.usefixtures("nowhere")
def test_the_error_lists_the_paths_that_were_tried(tmp_path: Path) -> None:
    """And what to install, or what to set."""
    with pytest.raises(LauncherUnavailable) as caught:
        find_library({"SGE_ROOT": str(tmp_path)})
    assert str(tmp_path / "known.so") in caught.value.reason
    assert "apt-get install gridengine-drmaa1.0" in caught.value.hint
    assert "export DRMAA_LIBRARY_PATH=" in caught.value.hint


@pytest.mark.usefixtures("nowhere")
def test_debians_root_is_found(root: Path, tmp_path: Path) -> None:
    """If it has a configured cell: there qstat works without SGE_ROOT."""
    assert find_root({}) is None
    (tmp_path / "debian" / "default" / "common").mkdir(parents=True)
    (tmp_path / "debian" / "default" / "common" / "act_qmaster").touch()
    assert find_root({}) == str(tmp_path / "debian")
    assert find_root({"SGE_CELL": "other"}) is None
    assert find_root({"SGE_ROOT": str(root)}) == str(root)


def test_the_cells_files_name_the_master(root: Path) -> None:
    """For the error when it does not answer; a missing file is not an error."""
    assert master_host({"SGE_ROOT": str(root)}) == "gridmaster"
    assert master_host({"SGE_ROOT": str(root), "SGE_CELL": "other"}) == ""
