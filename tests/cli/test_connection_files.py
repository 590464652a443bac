"""Clusters are found by their connection files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.cli.connection_files import (
    read_entries,
    read_entry,
    select,
    shared_directory,
    unique_labels,
)
from dask_gridengine.errors import OptionError
from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import left_behind


def test_each_connection_file_is_a_cluster(tmp_path: Path) -> None:
    """The oldest comes first; other directories are skipped."""
    newer = left_behind(tmp_path, "newer", started=time.time())
    older = left_behind(tmp_path, "older")
    (tmp_path / "logs-of-old").mkdir()
    found = read_entries(tmp_path)
    assert [entry.directories for entry in found] == [(older,), (newer,)]
    assert read_entries(tmp_path / "nowhere") == []


def test_pools_are_one_cluster(tmp_path: Path) -> None:
    """Pools of one name, host and process belong together."""
    one, other = ProcessIdentity(pid=7), ProcessIdentity(pid=8)
    pools = [
        left_behind(tmp_path, f"mine-{pool}", pool=pool, process=one)
        for pool in ("cpu", "big")
    ]
    left_behind(tmp_path, "mine-cpu", pool="cpu", process=other)
    first, second = read_entries(tmp_path)
    assert first.name == second.name == "mine"
    assert {*first.directories} == {*pools}
    assert len(second.directories) == 1


def test_clusters_of_one_name_in_one_process(tmp_path: Path) -> None:
    """Each is one of its own, with and without pools."""
    process = ProcessIdentity(pid=7)
    for number, pool in enumerate(("cpu", "big", "cpu", "big", "", "")):
        name = f"mine-{pool}" if pool else "mine"
        left_behind(tmp_path, name, pool=pool, process=process, started=float(number))
    found = [len(entry.directories) for entry in read_entries(tmp_path)]
    assert found == [2, 2, 1, 1]


def test_invalid_files_are_skipped(tmp_path: Path) -> None:
    """Keys that others can read count as stolen; a broken file is ignored."""
    lax = left_behind(tmp_path, "lax")
    (lax / FILE_NAME).chmod(0o644)
    (left_behind(tmp_path, "broken") / FILE_NAME).write_text("{")
    assert read_entries(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_skipped(tmp_path: Path) -> None:
    """Its author knows the keys, and could read our requests."""
    theirs = left_behind(tmp_path, "theirs")
    os.chown(theirs / FILE_NAME, 65534, -1)
    assert read_entry(theirs) is None


def test_clusters_are_selected_by_name_or_directory(tmp_path: Path) -> None:
    """The label is the name if it is unique, and else the directory's name."""
    one, two = left_behind(tmp_path, "twin"), left_behind(tmp_path, "twin")
    left_behind(tmp_path, "other")
    found = read_entries(tmp_path)
    assert sorted(unique_labels(found)) == sorted([one.name, two.name, "other"])
    assert len(select(found, ["twin"])) == 2
    assert [entry.directories for entry in select(found, [one.name])] == [(one,)]
    assert select(found, [str(one), one.name]) == select(found, [one.name])
    with pytest.raises(OptionError, match="other"):
        select(found, ["unknown"])


def test_the_shared_directory_is_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and ~ are expanded, as in the cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shared_directory() == tmp_path / ".dask-gridengine"
    assert shared_directory("~/x") == tmp_path / "x"
