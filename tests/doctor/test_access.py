"""Is there a Grid Engine, and may one submit: each answer by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine.doctor import access
from dask_gridengine.doctor.commands import CommandResult, Commands
from dask_gridengine.doctor.finding import Status
from tests.doctor.conftest import Site, options, run


@pytest.fixture
def root(tmp_path: Path) -> dict[str, str]:
    """The environment of a cell whose master is to be on this host."""
    common = tmp_path / "default" / "common"
    common.mkdir(parents=True)
    (common / "act_qmaster").write_text("127.0.0.1\n")
    return {"SGE_ROOT": str(tmp_path)}


@pytest.fixture
def port(root: dict[str, str]) -> Iterator[int]:
    """One that accepts, as a master's does."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        root["SGE_QMASTER_PORT"] = str(sock.getsockname()[1])
        yield sock.getsockname()[1]


def test_a_laptop_has_no_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault, and it is said what nodes are then."""
    monkeypatch.setattr(
        "dask_gridengine.launchers.drmaa.discovery.DEBIAN_ROOT", "/nowhere"
    )
    environment = {"PATH": "/nowhere"}
    assert not access.grid_is_meant(environment, options())
    assert access.grid_is_meant(environment, options(launcher="drmaa"))
    assert access.grid_is_meant({"SGE_ROOT": "/x"}, options())
    assert not access.grid_is_meant({"SGE_ROOT": "/x"}, options(launcher="process"))
    finding = access.no_grid(environment, options())
    assert finding.status is Status.SKIP
    assert "processes of this host" in finding.sentence


def test_commands_without_a_root_are_a_warning(site: Site) -> None:
    """A login node whose user has not read the settings."""
    finding = access.no_grid({"PATH": site.environment["PATH"]}, options())
    assert finding.status is Status.WARN
    assert "SGE_ROOT is not set" in finding.sentence
    assert "settings.sh" in finding.advice


def test_no_library(tmp_path: Path) -> None:
    """The place that was named is named."""
    environment = {"DRMAA_LIBRARY_PATH": str(tmp_path / "libdrmaa.so")}
    finding = run(access.library(environment))
    assert finding.status is Status.FAIL
    assert str(tmp_path) in finding.sentence
    (tmp_path / "libdrmaa.so").touch()
    assert run(access.library(environment)).status is Status.PASS


def test_a_wrong_cell(root: dict[str, str]) -> None:
    """Those there are, and what to type."""
    assert run(access.cell(root)).status is Status.PASS
    finding = run(access.cell({**root, "SGE_CELL": "nowhere"}))
    assert finding.status is Status.FAIL
    assert "no cell 'nowhere'" in finding.sentence
    assert finding.advice == "export SGE_CELL=default"


def test_a_wrong_root() -> None:
    """It is told from a wrong cell."""
    finding = run(access.cell({"SGE_ROOT": "/nowhere"}))
    assert "SGE_ROOT=/nowhere is no directory" in finding.sentence


def test_a_master_that_is_down(root: dict[str, str]) -> None:
    """With host, port and the kernel's answer."""
    with socket.socket() as sock:  # bound, but it does not listen
        sock.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{sock.getsockname()[1]}"
        root["SGE_QMASTER_PORT"] = place.rpartition(":")[2]
        finding = run(access.qmaster(root, Commands({"PATH": "/nowhere"})))
    assert finding.status is Status.FAIL
    assert f"{place}: connection refused" in finding.sentence


@pytest.mark.usefixtures("port")
def test_a_master_that_answers(site: Site, root: dict[str, str]) -> None:
    """Also one that only says no; but not what the command itself says."""
    for text, fails, status in (
        ("login1", False, Status.PASS),
        ("no submit host defined", True, Status.PASS),
        ('denied: host "x" is neither submit nor admin host', True, Status.PASS),
        ("error: commlib error: got select error", True, Status.FAIL),
    ):
        site.says("qconf -ss", text, fails=fails)
        assert run(access.qmaster(root, site.commands)).status is status


@pytest.mark.usefixtures("port")
def test_no_commands_are_a_warning(root: dict[str, str]) -> None:
    """The probe may still go."""
    finding = run(access.qmaster(root, Commands({"PATH": "/nowhere"})))
    assert finding.status is Status.WARN


def test_no_submit_host(site: Site) -> None:
    """This host by name, those that are, and what an admin types."""
    site.says("qconf -ss", "login1\nlogin2")
    denied = CommandResult(
        'Unable to run job: denied: host "x" is not a submit host', ok=False
    )
    finding = run(access.submit_host(site.commands, denied))
    assert finding.status is Status.FAIL
    assert socket.gethostname() in finding.sentence
    assert "submit hosts: login1, login2" in finding.evidence
    found = CommandResult("verification: found suitable queue(s)", ok=True)
    assert run(access.submit_host(site.commands, found)).status is Status.PASS


def test_the_verification_has_the_users_options(site: Site) -> None:
    """It asks about what will be submitted."""
    site.says("qsub -w v -q a.q -l h_rt=60 -b y /bin/true", "verification: found")
    assert run(access.verification(site.commands, "-q a.q -l h_rt=60")).ok


def test_a_cell_on_a_dead_file_server(root: dict[str, str], tmp_path: Path) -> None:
    """A file that never answers is a failure in bounded time, by another's thread."""
    from dask_gridengine.doctor.finding import Book

    act = tmp_path / "default" / "common" / "act_qmaster"
    act.unlink()
    os.mkfifo(act)
    # A fifo is no regular file, so only its reading can hang.
    book = Book(lambda finding: None)
    finding = run(book.check("cell", lambda: access.cell(root), timeout=0.2))
    assert finding.status is Status.FAIL
    assert finding.sentence == "no answer in 0.2 s"
    act.write_text("now")  # so that no thread is left behind
