"""Broken hosts: no Python, a full disk, a wrong clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster, NodesFailed
from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.exit_causes import Cause
from tests.chaos.conftest import (
    Cell,
    counted,
    explained,
    healed,
    none_in_vain,
    states,
    wait_until,
    working,
)

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def wrapper(path: Path, *lines: str) -> str:
    """Write a script for `python=` with these lines; the last one runs Python."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


@pytest.mark.grid
def test_one_host_without_python(
    grid_options: dict[str, Any], tmp_path: Path, book: Path
) -> None:
    """After at most three failed nodes it is excluded, and explain() says so."""
    python = wrapper(
        tmp_path / "python",
        f'[ "$(hostname)" = node1 ] || exec {sys.executable} "$@"',
        'echo "no Python here" >&2; exit 127',
    )
    with (
        GridEngineCluster(jobs=4, python=python, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 4)
        assert {row.host for row in working(cluster)} == {"node2"}
        results = client.map(counted, range(20), path=str(book), pure=False)
        assert client.gather(results) == list(range(20))
        none_in_vain(book, 20, victims=())
        explanation = explained(cluster, Cause.NO_PYTHON)
        assert "Excluding host node1 for" in explanation
        assert "no Python here" in explanation
        assert "set python= to a Python" in explanation
        lost = [row for row in cluster.jobs() if row.state.value == "gone"]
        assert {row.host for row in lost} == {"node1"}
        assert len(lost) <= 3, states(cluster)


@pytest.mark.grid
def test_no_host_has_python(grid_options: dict[str, Any], book: Path) -> None:
    """Waiting calls fail within seconds, and few nodes are submitted."""
    options = {**grid_options, "python": "/nowhere/python"}
    with GridEngineCluster(jobs=4, **options) as cluster, Client(cluster) as client:
        began = time.monotonic()
        result = client.submit(counted, 0, path=str(book))
        with pytest.raises(NodesFailed, match=r"(?s)could not find Python.*python="):
            client.wait_for_workers(4, timeout=20)
        with pytest.raises(NodesFailed, match=r"(?s)could not find Python.*python="):
            result.result(timeout=10)
        assert time.monotonic() - began < 15
        assert "/nowhere/python: not found" in explained(cluster, Cause.NO_PYTHON)
        time.sleep(3)  # in which a loop would ask for more
        assert len(cluster.jobs()) <= 9, states(cluster)


@pytest.mark.parametrize("launcher", ["process"], indirect=True)
def test_the_only_host_is_never_excluded(options: dict[str, Any], book: Path) -> None:
    """Nodes are submitted to it again, and the error explains what is wrong."""
    options["python"] = "/nowhere/python"
    with GridEngineCluster(jobs=3, **options) as cluster, Client(cluster) as client:
        result = client.submit(counted, 0, path=str(book))
        with pytest.raises(NodesFailed, match="could not find Python"):
            client.wait_for_workers(1, timeout=20)
        with pytest.raises(NodesFailed, match="could not find Python"):
            result.result(timeout=10)
        assert "avoided" not in explained(cluster, Cause.NO_PYTHON)
        assert len(cluster.jobs()) <= 6, states(cluster)


@pytest.fixture
def full_disk(grid: Cell, tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one page on each host of the cell; one file fills it."""
    place = tmp_path / "logs"
    place.mkdir()
    for host in grid.hosts:
        mount = ["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "full", str(place)]
        grid.control("run", host, *mount)
        fill = ["head", "-c", "4096", "/dev/zero"]
        grid.control("run", host, "sh", "-c", f"{' '.join(fill)} >{place}/last")
    yield place
    for host in grid.hosts:
        # Lazily: what just ended may be there for another moment.
        grid.control("run", host, "umount", "-l", str(place))


@pytest.mark.grid
@pytest.mark.parametrize("what", ["file", "byte"])
def test_a_full_disk_under_the_logs(
    grid: Cell, grid_options: dict[str, Any], full_disk: Path, what: str
) -> None:
    """Nodes that cannot write a log report it by their exit status, with a hint."""
    for host in grid.hosts if what == "file" else ():
        grid.control("run", host, "mount", "-o", "remount,nr_inodes=2", str(full_disk))
    options = {**grid_options, "log_directory": full_disk}
    with GridEngineCluster(jobs=2, **options) as cluster:
        with pytest.raises(
            NodesFailed, match=r"(?s)write (its|their) log.*log_directory="
        ):
            cluster.wait_for_workers(2, timeout=20)
        explained(cluster, Cause.NO_LOG)
        assert len(cluster.jobs()) <= 6, states(cluster)


@pytest.mark.grid
def test_the_connection_file_is_deleted(
    grid: Cell, grid_options: dict[str, Any], shared: Path
) -> None:
    """Nodes that were queued cannot find their cluster; the error names the file."""
    options = {**grid_options, "job_extra_directives": ["-h"]}
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        (file,) = shared.rglob(FILE_NAME)
        file.unlink()
        grid.run("qrls", cluster.jobs()[0].id.job)
        wait_until(
            lambda: "gone" in [row.state.value for row in cluster.jobs()],
            "a node has failed",
            20,
            lambda: states(cluster),
        )
        assert str(file) in explained(cluster, Cause.UNREADABLE)
        assert client.scheduler_info()["workers"] == {}


@pytest.mark.grid
@pytest.mark.skipif(not FAKETIME, reason="no libfaketime; apt-get install faketime")
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_clock_that_is_wrong_by_an_hour(
    grid_options: dict[str, Any], tmp_path: Path, book: Path, offset: str
) -> None:
    """Certificates are valid on that host, and its worker does not count as silent."""
    python = wrapper(
        tmp_path / "python",
        '[ "$(hostname)" = node1 ] || exec ' + sys.executable + ' "$@"',
        f"export LD_PRELOAD={FAKETIME[0]} FAKETIME={offset}",
        f'exec {sys.executable} "$@"',
    )
    with (
        GridEngineCluster(jobs=2, python=python, **grid_options) as cluster,
        Client(cluster) as client,
    ):
        healed(cluster, 2)
        clocks = client.run(time.time).values()
        assert max(clocks) - min(clocks) > 3500
        results = client.map(counted, range(10), path=str(book), pure=False)
        assert client.gather(results) == list(range(10))
        none_in_vain(book, 10, victims=())
        assert cluster.explain() == "2 nodes requested: 2 working."
