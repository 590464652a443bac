"""``dask gridengine``, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import dask_gridengine
from dask_gridengine.cli.demo import PARTS, find_data, latest_flight, read_part

DASK = str(Path(sys.executable).with_name("dask"))


def dask(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DASK, "gridengine", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_is_part_of_the_dask_command() -> None:
    """The entry point adds it to Dask's own command; --version is the package's."""
    assert dask_gridengine.__version__ in dask("--version").stdout


def test_an_error_has_no_traceback(tmp_path: Path) -> None:
    """The message goes to stderr, and the exit status is 1."""
    (tmp_path / "file").touch()
    ended = dask(
        "demo",
        DASK_GRIDENGINE__SHARED_DIRECTORY=str(tmp_path / "file"),
        SGE_ROOT="",
    )
    assert ended.returncode == 1
    assert "shared_directory=" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(180)
def test_the_demo(tmp_path: Path) -> None:
    """It prints results and a bar for each node, and saves a timeline if asked (D6)."""
    file = tmp_path / "run.html"
    ended = dask(
        "demo",
        "--jobs=2",
        "--launcher=process",
        f"--timeline={file}",
        DASK_GRIDENGINE__SHARED_DIRECTORY=str(tmp_path),
    )
    assert ended.returncode == 0, ended.stderr
    for expected in ("flights", "Hawaiian", "distances", "hours late", str(file)):
        assert expected in ended.stdout
    bars = [line for line in ended.stdout.splitlines() if line.startswith("ge-")]
    assert sorted(bar.split()[1] for bar in bars) == ["1.1", "1.2"]
    assert any("█" in bar for bar in bars)
    assert "ge-1" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("wrong", ["--jobs=0", "--timeline=run.png"])
def test_a_demo_that_cannot_be_shown_is_refused(wrong: str) -> None:
    """No nodes would do the work, and no program draws that file (D6)."""
    ended = dask("demo", wrong, SGE_ROOT="")
    assert ended.returncode in (1, 2)
    assert wrong.partition("=")[0] in ended.stderr


def test_the_parts_of_the_demo_are_the_whole() -> None:
    """Every row is in exactly one part, and the latest flight of a part is correct."""
    path = str(find_data() / "flights.csv.zip")
    columns = ["carrier", "flight", "dest", "dep_delay"]
    parts = [read_part(part, path, columns) for part in range(PARTS)]
    whole = pd.read_csv(path, usecols=columns)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    longest = round(parts[0].dep_delay.max() / 60, 1)
    assert latest_flight(0, path)["hours late"] == longest
