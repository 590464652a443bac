"""The examples: ours, and the old library's as docs/migrating.md quotes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gridengine.example

DOCS = Path(__file__).parents[2] / "docs" / "migrating.md"

#: The old README's example leaves its result in `y`, and prints nothing.
RUN_AND_SHOW_Y = (
    "import runpy, sys; print(runpy.run_path(sys.argv[1], run_name='__main__')['y'])"
)


def quoted(title: str) -> str:
    """A code block of docs/migrating.md, by the remark in front of it."""
    found = re.search(
        rf"^<!-- {re.escape(title)} -->\n```python\n(.*?)^```$",
        DOCS.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert found, f"{DOCS} quotes no {title}"
    return found[1]


def run(directory: Path, *command: str) -> str:
    """What a fresh Python prints that knows nothing of a grid."""
    said = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "DASK_GRIDENGINE__SHARED_DIRECTORY": str(directory / "shared"),
        },
    )
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    return said.stdout


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


def test_the_old_readme_example_runs_unchanged(script: Path) -> None:
    """On local processes, as a script of one's own."""
    script.write_text(quoted("the old README's example"))
    assert run(script.parent, str(script)) == ""
    said = run(script.parent, "-c", RUN_AND_SHOW_Y, str(script))
    assert said == "[1, 4, 9, 16, 25]\n"


def test_the_old_example_runs_unchanged(script: Path) -> None:
    """On local processes; the grid that is not there is named, and done without."""
    script.write_text(quoted("the old example.py"))
    said = run(script.parent, str(script))
    roots = "y = [1.0, 1.4142135623730951, 1.7320508075688772, 2.0, 2.23606797749979]"
    assert said.count(roots) == 2
    assert "local processes; no Grid Engine here" in said


def test_our_example_explains_itself(tmp_path: Path) -> None:
    """It says where each item was run, and that there is no grid if there is none."""
    said = run(tmp_path, "-m", "gridengine.example")
    assert "local processes; no Grid Engine here" in said
    assert said.count("sqrt(4) = 2.000  by process ") == 5
    assert "The builtin map" in said


def test_importing_it_does_nothing() -> None:
    """Only `python -m` runs it."""
    assert gridengine.example.root(4)[0] == 2.0
