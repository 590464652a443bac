"""What `import gridengine` gives, and what it costs."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dask_gridengine
import gridengine

PATH = Path(gridengine.__file__)

#: Modules of the old library, which a bare `import gridengine` made reachable, and that
#: of the errors.
MODULES = [
    "dispatch",
    "errors",
    "functional",
    "job",
    "schedulers",
    "serializer",
    "settings",
]


def said(code: str) -> object:
    """What a new process prints, taken for JSON."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import json, sys\n{code}"],
        capture_output=True,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return json.loads(run.stdout)


def test_all_is_complete() -> None:
    """What type checkers see and what is promised are the same."""
    seen = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(PATH.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        if node.module.startswith("gridengine.")
        for alias in node.names
    }
    assert seen == set(gridengine.__all__)
    assert len(seen) == len(gridengine.__all__)


def test_every_name_can_be_had() -> None:
    """Each is what its module calls by the same name, and so it can be pickled."""
    for name in gridengine.__all__:
        value = getattr(gridengine, name)
        assert callable(value)
        assert value.__name__ == name
        home = importlib.import_module(value.__module__)
        assert home.__name__.startswith("gridengine.")
        assert getattr(home, name) is value


def test_type_checkers_are_told_the_truth() -> None:
    """Each name is in the module they are shown, and is the one given out."""
    for node in ast.walk(ast.parse(PATH.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.startswith("gridengine."):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert getattr(module, alias.name) is getattr(gridengine, alias.name)


def test_a_star_gives_all() -> None:
    """`from gridengine import *` gives what is promised, and no module."""
    found = said(
        "from gridengine import *\n"
        "print(json.dumps([n for n in globals() if n[0] != '_']))"
    )
    assert isinstance(found, list)
    assert set(found) - {"json", "sys"} == set(gridengine.__all__)


@pytest.mark.parametrize("name", ["settings", "schedulers", "job"])
def test_modules_are_there_after_a_bare_import(name: str) -> None:
    """`import gridengine; gridengine.settings...`, as scripts of old do."""
    code = f"import gridengine\nprint(json.dumps(gridengine.{name}.__name__))"
    assert said(code) == f"gridengine.{name}"


def test_all_modules_are_there() -> None:
    """Each by its name, the same as by an import of its own."""
    for name in MODULES:
        found = getattr(gridengine, name)
        assert found is importlib.import_module(f"gridengine.{name}")


def test_dir_shows_names_and_modules() -> None:
    """Completion in a notebook offers what is promised, although nothing is loaded."""
    assert dir(gridengine) == sorted([*gridengine.__all__, *MODULES])


def test_a_wrong_name_is_an_attribute_error() -> None:
    """As for any module; `hasattr` and `from ... import` rely on it."""
    with pytest.raises(AttributeError, match="'gridengine' has no attribute 'pam'"):
        gridengine.pam  # noqa: B018
    with pytest.raises(ImportError, match="pam"):
        exec("from gridengine import pam")


def test_the_import_costs_nothing() -> None:
    """Neither Dask nor anything else is loaded before it is needed."""
    loaded = said("import gridengine\nprint(json.dumps(list(sys.modules)))")
    assert isinstance(loaded, list)
    assert [n for n in loaded if n.partition(".")[0] == "gridengine"] == ["gridengine"]
    assert "dask_gridengine" not in loaded
    heavy = {"dask", "distributed", "numpy", "tornado", "cloudpickle", "tqdm", "yaml"}
    assert not heavy & set(loaded)


def test_errors_cost_no_dask() -> None:
    """An `except gridengine.RemoteError` in a module loads nothing big."""
    code = (
        "import gridengine\n"
        "gridengine.NotPicklable, gridengine.TimeoutError, gridengine.WorkerDied\n"
        "print(json.dumps(list(sys.modules)))"
    )
    loaded = said(code)
    assert isinstance(loaded, list)
    assert "gridengine.errors" in loaded
    assert not {"dask", "distributed", "numpy", "tornado"} & set(loaded)


def test_a_timeout_is_caught_by_any_of_its_names() -> None:
    """The package's, its modules' and Python's own; all errors have one base."""
    assert gridengine.TimeoutError is gridengine.schedulers.TimeoutError
    assert issubclass(gridengine.TimeoutError, builtins.TimeoutError)
    for name in ("TimeoutError", "NotPicklable", "RemoteError", "WorkerDied"):
        error = getattr(gridengine, name)
        assert issubclass(error, dask_gridengine.GridEngineError)
