"""The pages of docs/: their code runs and prints what they show."""

from __future__ import annotations

import ast
import multiprocessing.process
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine.cluster.cluster import _OWN
from dask_gridengine.exit_causes import NONE_REQUESTED, Cause
from dask_gridengine.options import Options
from tests.docs.blocks import Block, blocks_of, pages
from tests.docs.play import commands

ROOT = Path(__file__).parents[2]

#: One page takes seconds.
pytestmark = pytest.mark.timeout(180)


def run_page(page: Path, directory: Path, *arguments: str, **settings: str) -> str:
    """Run the code of a page in a directory; return its errors, or ""."""
    shared = directory / "shared"
    shared.mkdir()
    (directory / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.play", str(page), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=directory / "here",
        timeout=170,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared),
            "DASK_GRIDENGINE__DASHBOARD_PORT": "8787:8887",
            **settings,
        },
    )
    left = sorted(shared.rglob("connection.json"))
    return done.stdout if done.returncode else f"left behind: {left}" if left else ""


def local(block: Block) -> bool:
    return not block.reason and not block.on_the_grid and not block.fault


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_block_is_run_or_has_a_reason(page: Path) -> None:
    """A block that is not run has a comment that says why."""
    assert [block.fault for block in blocks_of(page) if block.fault] == []


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if any(map(local, blocks_of(page)))],
    ids=lambda page: page.name,
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Each block without a comment runs on local processes, in order."""
    settings = {
        "DASK_GRIDENGINE__LAUNCHER": "process",
        "DASK_GRIDENGINE__SLOTS": "4",
    }
    errors = run_page(page, tmp_path, **settings)
    assert errors == "", errors


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_code_that_is_not_run_compiles(page: Path) -> None:
    """The options of clusters in it exist, too."""
    known = {*Options.names(), *_OWN}
    for block in blocks_of(page):
        if block.language != "python":
            continue
        tree = compile(
            block.code,
            str(block),
            "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
                "GridEngineCluster"
            ):
                given = {word.arg for word in call.keywords if word.arg}
                assert given <= known, f"{block}: no option {given - known}"


def written(directory: Path, text: str) -> Path:
    page = directory / "page.md"
    page.write_text(text)
    return page


@pytest.mark.parametrize(
    "text",
    [
        "```\ncode of no language\n```\n",
        "```toml\na = 1\n```\n",
        "<!-- not run: -->\n```text\nno reason\n```\n",
        "<!-- output -->\n\nprose between\n\n```text\nno mark\n```\n",
        "- in a list\n\n  ```fortran\n  stop\n  ```\n",
    ],
)
def test_a_block_that_is_not_run_needs_a_reason(text: str, tmp_path: Path) -> None:
    """The error says which comment to write."""
    faults = [block.fault for block in blocks_of(written(tmp_path, text))]
    assert "not run: why" in faults[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nx = 1\n1 / 0\n```\n", 'page.md", line 3'),
        (
            "```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n",
            "it prints\n1",
        ),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected"),
        ("```console\n$ echo hello\nbye\n```\n", "it prints\nhello"),
        ("```console\n$ false\n```\n", "ended with 1"),
        ("```sh\nfalse\ntrue\n```\n", "ended with 1"),
        ("```yaml\ngridengine: {quue: a}\n```\n", "no option"),
        ("```yaml\ngridengine: {cores: many}\n```\n", "cores"),
    ],
)
def test_a_wrong_page_is_an_error(text: str, expected: str, tmp_path: Path) -> None:
    """The error of a block has the line of the page."""
    errors = run_page(written(tmp_path, text), tmp_path)
    assert expected in errors
    assert "page.md:1 failed" in errors or "page.md:5 failed" in errors


def test_a_right_page_has_no_errors(tmp_path: Path) -> None:
    """Blocks share definitions, dots match anything, and marked blocks are not run."""
    page = written(
        tmp_path,
        "<!-- hidden\n```python\nx = 1\n```\n-->\n"
        "```python\nimport asyncio\n\nawait asyncio.sleep(0)\nprint(x, id(x))\n```\n"
        "<!-- output -->\n```text\n1 ...\n```\n"
        "```pycon\n>>> x + 1\n2\n```\n"
        "```console\n$ echo a \\\n  b\na b\n$ echo unseen\n```\n"
        "<!-- not run: it would fail -->\n```python\n1 / 0\n```\n"
        "<!-- on the grid -->\n```sh\nfalse\n```\n"
        "```yaml\ngridengine:\n  cores: 2\n```\n"
        "```{note}\nno code\n```\n",
    )
    assert run_page(page, tmp_path) == ""


def test_commands_of_a_session() -> None:
    """A backslash continues a command; all other lines are output."""
    session = "$ a \\\n    b\none\ntwo\n$ c\n"
    assert list(commands(session)) == [("a \\\n    b", "one\ntwo"), ("c", "")]


@pytest.mark.parametrize(
    "page", sorted({*pages(), *ROOT.glob("*.md")}), ids=lambda page: page.name
)
def test_files_named_on_a_page_exist(page: Path) -> None:
    """Paths of files in this repository are right."""
    named = re.findall(
        r"\b(?:tests|benchmarks|ci|dask_gridengine|gridengine)/[\w/]+(?:\.py|\.yaml)?\b",
        page.read_text(),
    )
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tests_named_on_a_page_exist(page: Path) -> None:
    """The test that a rule names is a function of that file."""
    named = re.findall(r"\b(tests/[\w/]+\.py)::(test_\w+)", page.read_text())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert missing == []


def _strings(tree: ast.AST) -> Iterator[str]:
    return (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_the_why_page_has_a_row_for_each_cause() -> None:
    """A user finds the text that `explain()` gave, and no text that it never gives."""
    rows = re.findall(
        r"^\| (`.*?) \|", (ROOT / "docs" / "why.md").read_text(), re.MULTILINE
    )
    texts = [text for row in rows for text in re.findall("`([^`]+)`", row)]
    causes = {NONE_REQUESTED, *(cause.value for cause in Cause)}
    assert causes - set(texts) == set()
    sources = [
        Path(multiprocessing.process.__file__),
        *(ROOT / "dask_gridengine").rglob("*.py"),
    ]
    literals = [
        text for path in sources for text in _strings(ast.parse(path.read_text()))
    ]
    unknown = [text for text in texts if not any(text in other for other in literals)]
    assert unknown == []
