"""Broken sites, one knob each: the doctor names what is broken."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_hosts import FAKETIME
from tests.grid.conftest import Cell

pytestmark = [pytest.mark.grid, pytest.mark.timeout(120)]

DASK = str(Path(sys.executable).with_name("dask"))
DOOR, SCHEDULER = 14711, 18786  # not among those the kernel gives to clients
ACL = "name {name}\ntype ACL\nfshare 0\noticket 0\nentries nobody\n"

Checks = dict[str, dict[str, Any]]


@pytest.fixture
def doctor(grid: Cell, shared: Path) -> Callable[..., Checks]:
    """Examine the cell as it is; the findings by name."""

    def examine(*arguments: str, **environment: str) -> Checks:
        where = {"DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)}
        ended = subprocess.run(
            [DASK, "gridengine", "doctor", "--json", *arguments],
            env={**os.environ, **where, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert "Traceback" not in ended.stdout + ended.stderr
        said = json.loads(ended.stdout)
        assert ended.returncode == (said["status"] == "FAIL"), ended.stderr
        assert list(shared.iterdir()) == []
        return {check["name"]: check for check in said["checks"]}

    return examine


def failures(checks: Checks) -> list[str]:
    """What is broken, in one word each."""
    return [name for name, check in checks.items() if check["status"] == "FAIL"]


def python_of(tmp_path: Path, on_node1: str) -> str:
    """A Python that is another one on the first node; all hosts see it."""
    script = tmp_path / "python"
    here = f'[ "$(uname -n)" = node1 ] && {on_node1}'
    script.write_text(f'#!/bin/sh\n{here}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return f"--python={script}"


def test_a_good_site(doctor: Callable[..., Checks]) -> None:
    """Nothing fails, both nodes were asked, and the job is gone."""
    checks = doctor()
    assert failures(checks) == []
    assert "node1 and node2" in checks["nodes"]["sentence"]
    assert {"cell", "qmaster", "queues", "limits", "way back", "clock"} <= checks.keys()


def test_no_library(doctor: Callable[..., Checks]) -> None:
    """It is said where it was looked for."""
    checks = doctor(DRMAA_LIBRARY_PATH="/nowhere/libdrmaa.so")
    assert failures(checks) == ["library"]
    assert "/nowhere/libdrmaa.so" in checks["library"]["sentence"]


def test_a_wrong_cell(doctor: Callable[..., Checks]) -> None:
    """The cells that there are, and what to type."""
    checks = doctor(SGE_CELL="nowhere")
    assert failures(checks) == ["cell"]
    assert checks["cell"]["advice"] == "export SGE_CELL=default"


def test_no_submit_host(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """This host, by its name, and what an admin types."""
    grid.run("qconf", "-ds", "gridmaster")
    try:
        checks = doctor()
    finally:
        grid.run("qconf", "-as", "gridmaster")
    assert failures(checks) == ["submit host"]
    assert "qconf -as gridmaster" in checks["submit host"]["advice"]


def test_no_permission_to_a_queue(
    grid: Cell, doctor: Callable[..., Checks], tmp_path: Path
) -> None:
    """The queue, and who may use it."""
    (tmp_path / "acl").write_text(ACL.format(name="staff"))
    grid.run("qconf", "-Au", str(tmp_path / "acl"))
    grid.run("qconf", "-rattr", "queue", "user_lists", "staff", "all.q")
    try:
        checks = doctor()
    finally:
        grid.run("qconf", "-rattr", "queue", "user_lists", "NONE", "all.q")
        grid.run("qconf", "-dul", "staff")
    assert failures(checks) == ["queues"]
    assert "all.q" in json.dumps(checks["queues"])


def test_a_port_that_is_not_reached(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """The nodes come to the door, and not to the scheduler: by its option's name."""
    ports = {
        "DASK_GRIDENGINE__BOOTSTRAP_PORT": str(DOOR),
        "DASK_GRIDENGINE__SCHEDULER_PORT": str(SCHEDULER),
    }
    grid.control("firewall", str(DOOR))
    try:
        checks = doctor(**ports)
    finally:
        grid.control("no-firewall")
    assert failures(checks) == ["addresses"]
    assert "scheduler_port" in checks["addresses"]["sentence"]
    assert f":{SCHEDULER}" in checks["addresses"]["sentence"]


def test_a_home_that_is_not_shared(doctor: Callable[..., Checks]) -> None:
    """Its nodes have but their exit status to say so."""
    private = Path(os.environ["GRID_PRIVATE"]) / "home"
    private.mkdir()
    try:
        checks = doctor(DASK_GRIDENGINE__SHARED_DIRECTORY=str(private))
    finally:
        private.rmdir()
    assert failures(checks) == ["directory there"]
    assert str(private) in checks["directory there"]["sentence"]


def test_another_python_on_a_node(
    doctor: Callable[..., Checks], tmp_path: Path
) -> None:
    """The node, the Python and what it lacks."""
    checks = doctor(python_of(tmp_path, 'exec /usr/bin/python3 -I "$@"'))
    assert failures(checks) == ["python"]
    assert "node1" in checks["python"]["sentence"]
    assert "/usr/bin/python3" in checks["python"]["sentence"]


@contextlib.contextmanager
def full_disk(grid: Cell, place: Path) -> Iterator[None]:
    """The first node sees a tiny disk there, that is full."""
    on_node = ("run", "node1")
    grid.control(*on_node, "mount", "-t", "tmpfs", "-o", "size=64k", "x", str(place))
    try:
        full = f"head -c 65536 /dev/zero >{place}/x"
        grid.control(*on_node, "sh", "-c", full)
        yield
    finally:
        grid.control(*on_node, "umount", str(place))


def test_a_full_scratch_directory(
    grid: Cell, doctor: Callable[..., Checks], tmp_path: Path
) -> None:
    """The host, and the directory."""
    place = tmp_path / "scratch"
    place.mkdir()
    with full_disk(grid, place):
        checks = doctor(DASK_GRIDENGINE__LOCAL_DIRECTORY=str(place))
    assert failures(checks) == ["scratch"]
    assert "node1" in checks["scratch"]["sentence"]
    assert str(place) in checks["scratch"]["sentence"]


@pytest.mark.skipif(not FAKETIME, reason="no libfaketime; apt-get install faketime")
@pytest.mark.parametrize(("offset", "status"), [("+1h", "WARN"), ("-3d", "FAIL")])
def test_a_wrong_clock(
    doctor: Callable[..., Checks], tmp_path: Path, offset: str, status: str
) -> None:
    """An hour is a warning; before our certificates, nothing works there."""
    wrong = f"export LD_PRELOAD={FAKETIME[0]} FAKETIME={offset}"
    checks = doctor(python_of(tmp_path, wrong))
    assert checks["clock"]["status"] == status
    assert "node1" in checks["clock"]["sentence"]


def test_the_master_is_down(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """Where it should answer, and whom to tell; nothing else is claimed."""
    grid.control("stop-master")
    try:
        checks = doctor()
    finally:
        grid.control("start-master")
    assert failures(checks) == ["qmaster"]
    assert "gridmaster" in checks["qmaster"]["sentence"]
    assert checks["cluster"]["status"] == "SKIP"
