"""Running Grid Engine's commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine.batch import commands as running
from dask_gridengine.cli.doctor.grid_checks import commands
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands
from tests.cli.doctor.conftest import Site, run


def test_output_of_a_command(site: Site) -> None:
    """A failed command's standard error is part of its result."""
    site.prints("qconf -sql", "all.q\nlong.q")
    assert run(site.commands.run("qconf", "-sql")).lines == ["all.q", "long.q"]
    site.prints("qconf -sq x", "no such queue", fails=True)
    result = run(site.commands.run("qconf", "-sq", "x"))
    assert not result.ok
    assert result.lines == ["no such queue"]


def test_commands_outside_path(site: Site, tmp_path: Path) -> None:
    """Commands are also found in SGE_ROOT; a missing one is a result."""
    site.prints("qconf -sql", "all.q")
    architecture = tmp_path / "bin" / "lx-amd64"
    architecture.mkdir()
    (tmp_path / "bin" / "qconf").rename(architecture / "qconf")
    found = GridCommands({**site.environment, "PATH": "/nowhere"})
    assert run(found.run("qconf", "-sql")).lines == ["all.q"]
    assert run(GridCommands({"PATH": "/nowhere"}).run("qconf", "-sql")).missing


def test_command_that_hangs(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command is killed after its time limit."""
    (tmp_path / "bin" / "qstat").write_text("#!/bin/sh\nexec sleep 600\n")
    for module in (running, commands):
        monkeypatch.setattr(module, "TIMEOUT", 0.2)
    assert run(site.commands.run("qstat")).timed_out
