"""Clients of a cluster in another process, by its name, directory or scheduler file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine import OptionError, connect
from dask_gridengine.cli.scheduler_file import SchedulerFile
from tests.clusters import left_behind, running


def test_by_name_and_by_file(shared: Path, tmp_path: Path) -> None:
    """The identity comes by the door; nothing secret was given."""
    file = SchedulerFile(tmp_path / "f.json")
    file.check()
    with running(shared, jobs=1) as cluster:
        place = cluster.pool().directory
        file.write(cluster.scheduler.identity(0), cluster.scheduler_address, place)
        for name in (None, "mine", place, file.path):
            with connect(name, shared_directory=shared, set_as_default=False) as client:
                assert client.submit(sum, [1, 2, 3], pure=False).result() == 6
    with pytest.raises(OptionError, match="is closed"):
        connect(file.path)
    file.remove()


def test_without_encryption(shared: Path) -> None:
    """A cluster without TLS has clients without."""
    with (
        running(shared, jobs=1, security=False),
        connect(shared_directory=shared, set_as_default=False) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3


def test_none_and_several(shared: Path) -> None:
    """The message lists what can be typed; of several those that are gone count not."""
    with pytest.raises(OptionError, match="dask gridengine up"):
        connect(shared_directory=shared)
    lost, other = left_behind(shared), left_behind(shared, "other")
    with pytest.raises(OptionError, match=r"which one\?"):
        connect(shared_directory=shared)
    with (
        running(shared, jobs=1),
        connect(shared_directory=shared, set_as_default=False) as client,
    ):
        assert client.submit(sum, [1, 2]).result() == 3
    for place in (lost, other):
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        place.rmdir()
