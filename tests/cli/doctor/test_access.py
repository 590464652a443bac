"""Whether Grid Engine is there, answers, and takes jobs from this host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine.batch import OVERRIDE
from dask_gridengine.cli.doctor.finding import Finding, Findings, Status
from dask_gridengine.cli.doctor.grid_checks import access
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands
from tests.cli.doctor.conftest import Site, options, run

NO_COMMANDS = GridCommands({"PATH": "/nowhere"})


@pytest.fixture
def cell(tmp_path: Path) -> dict[str, str]:
    """The environment of a cell whose master is on this host."""
    common = tmp_path / "default" / "common"
    common.mkdir(parents=True)
    (common / "act_qmaster").write_text("127.0.0.1\n")
    return {"SGE_ROOT": str(tmp_path)}


@pytest.fixture
def qmaster(cell: dict[str, str]) -> Iterator[socket.socket]:
    """The master's socket, bound; not listening yet."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        cell["SGE_QMASTER_PORT"] = str(sock.getsockname()[1])
        yield sock


def test_no_grid_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing Grid Engine is an error only where the user expects one."""
    monkeypatch.setattr(
        "dask_gridengine.launchers.drmaa.discovery.DEBIAN_ROOT", "/nowhere"
    )
    environment = {"PATH": "/nowhere"}
    assert not access.expects_grid(environment, options())
    assert access.expects_grid(environment, options(launcher="drmaa"))
    assert access.expects_grid({"SGE_ROOT": "/x"}, options())
    assert not access.expects_grid({"SGE_ROOT": "/x"}, options(launcher="process"))
    assert access.no_grid(environment, options()).status is Status.SKIP


def test_commands_without_sge_root(site: Site) -> None:
    """On a host with qconf, but without SGE_ROOT, the settings were not read."""
    finding = access.no_grid({"PATH": site.environment["PATH"]}, options())
    assert finding.status is Status.WARN
    assert "settings.sh" in finding.advice


def test_another_grid() -> None:
    """Grid Engine's commands are not asked about a grid of another kind."""
    assert access.other_grid({"DRMAA_LIBRARY_PATH": "/x"})
    assert access.other_grid({"SGE_ROOT": "/x", OVERRIDE: "slurm"})
    assert access.other_grid({"SGE_ROOT": "/x"}) is None


def test_wrong_sge_root(cell: dict[str, str]) -> None:
    """It is not mistaken for a wrong SGE_CELL, which tests on a cell cover."""
    assert run(access.check_cell(cell)).status is Status.PASS
    finding = run(access.check_cell({"SGE_ROOT": "/nowhere"}))
    assert finding.status is Status.FAIL
    assert "SGE_ROOT=/nowhere" in finding.sentence


def test_cell_on_a_dead_file_server(cell: dict[str, str], tmp_path: Path) -> None:
    """A check ends in time although the file it reads never answers."""
    act = tmp_path / "default" / "common" / "act_qmaster"
    act.unlink()
    os.mkfifo(act)
    found: list[Finding] = []
    check = Findings(found.append).check(
        "cell", lambda: access.check_cell(cell), timeout=0.2
    )
    run(check)
    assert found[0].status is Status.FAIL
    act.write_text("now")  # ends the thread that reads


def test_qmaster_answers(
    site: Site, cell: dict[str, str], qmaster: socket.socket
) -> None:
    """A refusal by the master is an answer; an error of the command's own is not."""
    qmaster.listen()
    assert run(access.check_qmaster(cell, NO_COMMANDS)).status is Status.WARN
    for text, fails, status in (
        ("login1", False, Status.PASS),
        ("no submit host defined", True, Status.PASS),
        ('denied: host "x" is neither submit nor admin host', True, Status.PASS),
        ("error: commlib error: got select error", True, Status.FAIL),
    ):
        site.prints("qconf -ss", text, fails=fails)
        assert run(access.check_qmaster(cell, site.commands)).status is status


def test_submit_host(site: Site) -> None:
    """The user's options are part of the request; it queues nothing."""
    site.prints("qsub -w v -q a.q -l h_rt=60 -b y /bin/true", "verification: found")
    verified = run(site.commands.verify("-q a.q -l h_rt=60"))
    assert run(access.check_submit_host(site.commands, verified)).status is Status.PASS
