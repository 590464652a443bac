"""CURVE keys and the connection file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dask_gridengine.bootstrap.connection_file import (
    Connection,
    CurveKeys,
    make_private_directory,
)
from dask_gridengine.errors import BootstrapError, OptionError


@pytest.fixture
def connection() -> Connection:
    return Connection(
        cluster="dask-x",
        addresses=("10.0.0.1:1", "10.0.0.2:1"),
        server_key=CurveKeys.generate().public,
        node_keys=CurveKeys.generate(),
        timeout=60.0,
    )


def test_what_is_written_is_read(connection: Connection, tmp_path: Path) -> None:
    """A node reads exactly what its cluster wrote."""
    assert Connection.read(connection.write(tmp_path)) == connection


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_only_the_owner_can_read_it_whatever_the_umask(
    connection: Connection, tmp_path: Path, umask: int
) -> None:
    """The file is 0600 in a directory of 0700."""
    before = os.umask(umask & 0o077)
    try:
        directory = make_private_directory(tmp_path, "dask-x")
        path = connection.write(directory)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_file_others_can_read_counts_as_stolen(
    connection: Connection, tmp_path: Path
) -> None:
    """A node does not use keys that others may have read."""
    path = connection.write(tmp_path)
    path.chmod(0o640)
    with pytest.raises(BootstrapError, match="readable by others"):
        Connection.read(path)


def test_a_missing_file_names_both_reasons(tmp_path: Path) -> None:
    """Either the cluster is closed or the file system is not shared."""
    with pytest.raises(BootstrapError, match=r"(?s)closed.*shared_directory="):
        Connection.read(tmp_path / "connection.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"node_keys": 3}', "\x00"])
def test_another_file_is_no_connection_file(text: str, tmp_path: Path) -> None:
    """Half-written or foreign files are a BootstrapError."""
    path = tmp_path / "connection.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(BootstrapError):
        Connection.read(path)


def test_two_clusters_never_share_a_file(
    connection: Connection, tmp_path: Path
) -> None:
    """An existing file is not overwritten: its nodes would ask the wrong cluster."""
    connection.write(tmp_path)
    with pytest.raises(FileExistsError):
        connection.write(tmp_path)


def test_a_directory_that_cannot_be_made_names_the_option(tmp_path: Path) -> None:
    """The hint has the option to change."""
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="shared_directory="):
        make_private_directory(tmp_path / "file", "dask-x")


def test_two_of_one_name_get_a_directory_each(tmp_path: Path) -> None:
    """Clusters may share a name."""
    one = make_private_directory(tmp_path, "mine")
    two = make_private_directory(tmp_path, "mine")
    assert one != two
    assert {one.name[:5], two.name[:5]} == {"mine-"}


def test_a_repr_shows_no_secret(connection: Connection) -> None:
    """Logs and tracebacks show no key."""
    assert connection.node_keys.secret not in repr(connection)
