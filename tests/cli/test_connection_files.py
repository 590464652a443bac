"""Which clusters there are, by their files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.cli.connection_files import (
    choose,
    entries,
    labels,
    read_entry,
    shared_directory,
)
from dask_gridengine.errors import OptionError
from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import left_behind


def test_each_connection_file_is_a_cluster(tmp_path: Path) -> None:
    """The oldest comes first; a directory without such a file is none."""
    newer = left_behind(tmp_path, "newer", started=time.time())
    older = left_behind(tmp_path, "older")
    (tmp_path / "logs-of-old").mkdir()
    assert [entry.directory for entry in entries(tmp_path)] == [older, newer]
    assert entries(tmp_path / "nowhere") == []


def test_pools_are_one_cluster(tmp_path: Path) -> None:
    """Each has a door of its own; by name, host and process they belong together."""
    one, other = ProcessIdentity(pid=7), ProcessIdentity(pid=8)
    pools = [
        left_behind(tmp_path, f"mine-{pool}", pool=pool, process=one)
        for pool in ("cpu", "big")
    ]
    left_behind(tmp_path, "mine-cpu", pool="cpu", process=other)
    first, second = entries(tmp_path)
    assert first.name == second.name == "mine"
    assert {*first.directories} == {*pools}
    assert len(second.directories) == 1


def test_what_others_can_read_is_passed_over(tmp_path: Path) -> None:
    """Its keys count as stolen; and a broken file spoils no list."""
    lax = left_behind(tmp_path, "lax")
    (lax / FILE_NAME).chmod(0o644)
    (left_behind(tmp_path, "broken") / FILE_NAME).write_text("{")
    assert entries(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_somebody_else_s_file_is_passed_over(tmp_path: Path) -> None:
    """Who wrote it knows its keys, and would be told what we ask."""
    theirs = left_behind(tmp_path, "theirs")
    os.chown(theirs / FILE_NAME, 65534, -1)
    assert read_entry(theirs) is None


def test_an_earlier_version_s_file_names_no_author(tmp_path: Path) -> None:
    """It is not taken for ours because it does not say whose it is."""
    directory = left_behind(tmp_path, "old")
    path = directory / FILE_NAME
    body = json.loads(path.read_text())
    for name in ("host", "process", "started", "pool"):
        del body[name]
    path.write_text(json.dumps(body))
    entry = read_entry(directory)
    assert entry is not None
    assert (entry.connection.host, entry.connection.pid) == ("", 0)


def test_clusters_are_called_by_name_where_one_has_it(tmp_path: Path) -> None:
    """Else by their directories' names; both can be typed."""
    one, two = left_behind(tmp_path, "twin"), left_behind(tmp_path, "twin")
    left_behind(tmp_path, "other")
    found = entries(tmp_path)
    called = labels({entry.directory: entry.name for entry in found})
    assert sorted(called.values()) == sorted([one.name, two.name, "other"])
    assert len(choose(found, "twin")) == 2
    assert [entry.directory for entry in choose(found, one.name)] == [one]
    with pytest.raises(OptionError, match=r"no cluster 'nobody'; there are: .*other"):
        choose(found, "nobody")


def test_the_shared_directory_is_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its variables and ~ expanded, as the cluster does it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shared_directory() == tmp_path / ".dask-gridengine"
    assert shared_directory("~/x") == tmp_path / "x"
