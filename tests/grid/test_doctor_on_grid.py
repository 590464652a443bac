"""The doctor on a site with one thing broken."""

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
BOOTSTRAP, SCHEDULER = 14711, 18786  # outside the kernel's range for clients
ACL = "name {name}\ntype ACL\nfshare 0\noticket 0\nentries nobody\n"

Checks = dict[str, dict[str, Any]]


@pytest.fixture
def doctor(grid: Cell, shared: Path) -> Callable[..., Checks]:
    """Examine the cell; the findings by name. No file may be left."""

    def examine(*arguments: str, **environment: str) -> Checks:
        directory = {"DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)}
        ended = subprocess.run(
            [DASK, "gridengine", "doctor", "--json", *arguments],
            env={**os.environ, **directory, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert "Traceback" not in ended.stdout + ended.stderr
        body = json.loads(ended.stdout)
        assert ended.returncode == (body["status"] == "FAIL"), ended.stderr
        assert list(shared.iterdir()) == []
        return {check["name"]: check for check in body["checks"]}

    return examine


def failures(checks: Checks) -> list[str]:
    """The names of the checks that failed."""
    return [name for name, check in checks.items() if check["status"] == "FAIL"]


def python_of(tmp_path: Path, on_node1: str) -> str:
    """A ``--python`` that runs a line of shell on the first node before Python."""
    script = tmp_path / "python"
    here = f'[ "$(uname -n)" = node1 ] && {on_node1}'
    script.write_text(f'#!/bin/sh\n{here}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return f"--python={script}"


def test_a_good_site(doctor: Callable[..., Checks]) -> None:
    """Nothing fails, both nodes reported, and the job is gone."""
    checks = doctor()
    assert failures(checks) == []
    assert "node1 and node2" in checks["nodes"]["sentence"]
    assert {
        "cell",
        "qmaster",
        "queues",
        "limits",
        "worker ports",
        "clock",
    } <= checks.keys()


def test_no_library(doctor: Callable[..., Checks]) -> None:
    """The finding has the path that does not exist."""
    checks = doctor(DRMAA_LIBRARY_PATH="/nowhere/libdrmaa.so")
    assert failures(checks) == ["library"]
    assert "/nowhere/libdrmaa.so" in checks["library"]["sentence"]


def test_a_wrong_cell(doctor: Callable[..., Checks]) -> None:
    """The advice is a cell that exists."""
    checks = doctor(SGE_CELL="nowhere")
    assert failures(checks) == ["cell"]
    assert checks["cell"]["advice"] == "export SGE_CELL=default"


def test_no_submit_host(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """The advice is the command for an admin."""
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
    """The finding has the queue and its list of users."""
    (tmp_path / "acl").write_text(ACL.format(name="staff"))
    grid.run("qconf", "-Au", str(tmp_path / "acl"))
    grid.run("qconf", "-rattr", "queue", "user_lists", "staff", "all.q")
    try:
        checks = doctor()
    finally:
        grid.run("qconf", "-rattr", "queue", "user_lists", "NONE", "all.q")
        grid.run("qconf", "-dul", "staff")
    assert failures(checks) == ["queues"]
    assert "all.q: user_lists staff" in json.dumps(checks["queues"])


@pytest.mark.parametrize(
    ("open_ports", "name", "part"),
    [
        ([BOOTSTRAP], "addresses", f":{SCHEDULER}: no answer"),
        ([BOOTSTRAP, SCHEDULER], "worker ports", "not reachable from here"),
    ],
)
def test_a_firewall(
    grid: Cell,
    doctor: Callable[..., Checks],
    open_ports: list[int],
    name: str,
    part: str,
) -> None:
    """The finding has the port or host, and the option that changes it."""
    ports = {
        "DASK_GRIDENGINE__BOOTSTRAP_PORT": str(BOOTSTRAP),
        "DASK_GRIDENGINE__SCHEDULER_PORT": str(SCHEDULER),
    }
    grid.control("firewall", *map(str, open_ports))
    try:
        checks = doctor(**ports)
    finally:
        grid.control("no-firewall")
    assert failures(checks) == [name]
    assert part in json.dumps(checks[name])
    option = "scheduler_port" if name == "addresses" else "worker_port"
    assert option in checks[name]["advice"]


def test_a_directory_that_is_not_shared(doctor: Callable[..., Checks]) -> None:
    """Such nodes can report it only by their exit status."""
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
    """The finding has the node, its Python and the module that is missing."""
    checks = doctor(python_of(tmp_path, 'exec /usr/bin/python3 -I "$@"'))
    assert failures(checks) == ["python"]
    assert "node1" in checks["python"]["sentence"]
    evidence = " ".join(checks["python"]["evidence"])
    assert "/usr/bin/python3" in evidence
    assert "No module named 'dask_gridengine'" in evidence


@contextlib.contextmanager
def full_disk(grid: Cell, directory: Path) -> Iterator[None]:
    """Mount a small, full disk on the first node."""
    on_node = ("run", "node1")
    mount = ("mount", "-t", "tmpfs", "-o", "size=64k", "x", str(directory))
    grid.control(*on_node, *mount)
    try:
        full = f"head -c 65536 /dev/zero >{directory}/x"
        grid.control(*on_node, "sh", "-c", full)
        yield
    finally:
        grid.control(*on_node, "umount", str(directory))


def test_a_full_scratch_directory(
    grid: Cell, doctor: Callable[..., Checks], tmp_path: Path
) -> None:
    """The finding has the host and the directory."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    with full_disk(grid, directory):
        checks = doctor(DASK_GRIDENGINE__LOCAL_DIRECTORY=str(directory))
    assert failures(checks) == ["scratch"]
    assert "node1" in checks["scratch"]["sentence"]
    assert str(directory) in checks["scratch"]["sentence"]


@pytest.mark.skipif(not FAKETIME, reason="no libfaketime; apt-get install faketime")
@pytest.mark.parametrize(("offset", "status"), [("+1h", "WARN"), ("-3d", "FAIL")])
def test_a_wrong_clock(
    doctor: Callable[..., Checks], tmp_path: Path, offset: str, status: str
) -> None:
    """An hour is a warning; days before our certificates no worker starts there."""
    wrong = f"export LD_PRELOAD={FAKETIME[0]} FAKETIME={offset}"
    checks = doctor(python_of(tmp_path, wrong))
    assert checks["clock"]["status"] == status
    assert failures(checks) == (["clock"] if status == "FAIL" else [])
    assert "node1" in checks["clock"]["sentence"]


def test_no_host_takes_jobs(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """The finding has the grid's reasons, and the nodes are deleted."""
    grid.run("qmod", "-d", "all.q")
    try:
        checks = doctor("--timeout=8")
    finally:
        grid.run("qmod", "-e", "all.q")
    assert checks["queues"]["status"] == "WARN"
    assert failures(checks) == ["waiting"]
    assert "disabled" in " ".join(checks["waiting"]["evidence"])


def test_the_master_is_down(grid: Cell, doctor: Callable[..., Checks]) -> None:
    """The finding has its address; no cluster is started."""
    grid.control("stop-master")
    try:
        checks = doctor()
    finally:
        grid.control("start-master")
    assert failures(checks) == ["qmaster"]
    assert "gridmaster" in checks["qmaster"]["sentence"]
    assert checks["cluster"]["status"] == "SKIP"
