"""Grid Engine's commands: found, bounded, and never an exception."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine.doctor import commands
from dask_gridengine.doctor.commands import Commands
from dask_gridengine.launchers import commands as running
from tests.doctor.conftest import Site, run


def test_what_a_command_says(site: Site) -> None:
    """Its output, and its complaint where it fails."""
    site.says("qconf -sql", "all.q\nlong.q")
    said = run(site.commands.run("qconf", "-sql"))
    assert said.ok
    assert said.lines == ["all.q", "long.q"]
    site.says("qconf -sq x", "no such queue", fails=True)
    said = run(site.commands.run("qconf", "-sq", "x"))
    assert not said.ok
    assert said.lines == ["no such queue"]


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """It is told from one that fails."""
    said = run(Commands({"PATH": str(tmp_path)}).run("qconf", "-sql"))
    assert said.missing
    assert "qconf" in said.text


def test_it_is_found_in_the_installation(site: Site, tmp_path: Path) -> None:
    """Whoever has SGE_ROOT but not its directory on PATH is helped."""
    there = tmp_path / "bin" / "lx-amd64"
    there.mkdir()
    (tmp_path / "bin" / "qconf").rename(there / "qconf")
    site.says("qconf -sql", "all.q")
    found = Commands({**site.environment, "PATH": "/nowhere"})
    assert run(found.run("qconf", "-sql")).lines == ["all.q"]


def test_a_command_that_hangs(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended after its time, and that is said."""
    (tmp_path / "bin" / "qhost").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(running, "TIMEOUT", 0.2)
    monkeypatch.setattr(commands, "TIMEOUT", 0.2)
    said = run(site.commands.run("qhost"))
    assert said.hung
    assert said.text == "qhost said nothing for 0.2 s"
