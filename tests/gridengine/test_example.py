"""The examples: ours, and the old library's as docs/migrating.md quotes them."""

from __future__ import annotations

import re
from pathlib import Path

import gridengine.example
from tests.gridengine.conftest import RunScript

DOCS = Path(__file__).parents[2] / "docs" / "migrating.md"


def quoted(title: str) -> str:
    """A code block of docs/migrating.md, by the remark in front of it."""
    found = re.search(
        rf"^<!-- {re.escape(title)} -->\n```python\n(.*?)^```$",
        DOCS.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert found, f"{DOCS} quotes no {title}"
    return found[1]


def output(run_script: RunScript, code: str) -> str:
    ran = run_script(code)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_the_old_readme_example_runs_unchanged(run_script: RunScript) -> None:
    """On local processes; it leaves its result in `y`, and prints nothing."""
    code = quoted("the old README's example")
    assert output(run_script, code) == ""
    assert output(run_script, f"{code}\nprint(y)") == "[1, 4, 9, 16, 25]\n"


def test_the_old_example_runs_unchanged(run_script: RunScript) -> None:
    """On local processes; the grid that is not there is named, and done without."""
    printed = output(run_script, quoted("the old example.py"))
    roots = "y = [1.0, 1.4142135623730951, 1.7320508075688772, 2.0, 2.23606797749979]"
    assert printed.count(roots) == 2
    assert "local processes; no Grid Engine here" in printed


def test_our_example_explains_itself(run_script: RunScript) -> None:
    """It prints where each item was run, and that no grid was found."""
    code = "import runpy; runpy.run_module('gridengine.example', run_name='__main__')"
    printed = output(run_script, code)
    assert "local processes; no Grid Engine here" in printed
    assert printed.count("sqrt(4) = 2.000  by process ") == 5
    assert "The builtin map" in printed


def test_importing_it_does_nothing() -> None:
    """Only `python -m` runs it."""
    assert gridengine.example.root(4)[0] == 2.0
