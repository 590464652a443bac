"""Where a Grid Engine installation is looked for."""

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
    """A host on which the well-known places hold nothing."""
    monkeypatch.setattr(discovery, "KNOWN_LIBRARIES", (str(tmp_path / "known.so"),))
    monkeypatch.setattr(discovery, "DEBIAN_ROOT", str(tmp_path / "debian"))


def test_a_library_that_is_named_is_taken(root: Path) -> None:
    """DRMAA_LIBRARY_PATH goes before all else, as everywhere; without any SGE_ROOT."""
    named = root / "mine.so"
    named.touch()
    assert find_library({"DRMAA_LIBRARY_PATH": str(named)}) == str(named)


def test_a_named_library_that_is_not_there_is_no_reason_to_look_on(root: Path) -> None:
    """Else a typo would silently give another Grid Engine."""
    environment = {"DRMAA_LIBRARY_PATH": "/no/such.so", "SGE_ROOT": str(root)}
    with pytest.raises(LauncherUnavailable, match=r"names /no/such\.so, which is"):
        find_library(environment)


@pytest.mark.usefixtures("nowhere")
def test_the_library_of_this_architecture_is_taken(root: Path) -> None:
    """Grid Engine's own script says which that is."""
    found = find_library({"SGE_ROOT": str(root)})
    assert found == str(root / "lib" / "lx-amd64" / "libdrmaa.so")


@pytest.mark.usefixtures("nowhere")
def test_without_the_script_any_library_is_better_than_none(root: Path) -> None:
    """One of another architecture cannot be loaded, and the error will say so."""
    (root / "util" / "arch").unlink()
    found = find_library({"SGE_ROOT": str(root)})
    assert found == str(root / "lib" / "lx-alpha" / "libdrmaa.so")


@pytest.mark.usefixtures("nowhere")
def test_nothing_found_lists_what_was_looked_at(tmp_path: Path) -> None:
    """And says what to install, or what to set."""
    with pytest.raises(LauncherUnavailable) as caught:
        find_library({"SGE_ROOT": str(tmp_path)})
    assert str(tmp_path / "known.so") in caught.value.reason
    assert "apt-get install gridengine-drmaa1.0" in caught.value.advice
    assert "export DRMAA_LIBRARY_PATH=" in caught.value.advice


@pytest.mark.usefixtures("nowhere")
def test_without_sge_root_there_is_no_grid() -> None:
    """The commonest case, on every laptop: one clause, and settings.sh."""
    with pytest.raises(LauncherUnavailable) as caught:
        find_library({})
    assert caught.value.reason == "SGE_ROOT is not set and no libdrmaa was found"
    assert "settings.sh" in caught.value.advice


@pytest.mark.usefixtures("nowhere")
def test_debians_directory_is_known(root: Path, tmp_path: Path) -> None:
    """There qstat works without SGE_ROOT, so we do too, if a cell is configured."""
    assert find_root({}) is None
    (tmp_path / "debian" / "default" / "common").mkdir(parents=True)
    (tmp_path / "debian" / "default" / "common" / "act_qmaster").touch()
    assert find_root({}) == str(tmp_path / "debian")
    assert find_root({"SGE_CELL": "other"}) is None
    assert find_root({"SGE_ROOT": str(root)}) == str(root)


def test_the_cells_files_name_the_master(root: Path) -> None:
    """For the message when it does not answer; no file, no name, no error."""
    assert master_host({"SGE_ROOT": str(root)}) == "gridmaster"
    assert master_host({"SGE_ROOT": str(root), "SGE_CELL": "other"}) == ""
