"""What `import gridengine` gives, and what it costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import gridengine
from tests.test_imports import loaded_with

PATH = Path(gridengine.__file__)

#: Modules that a bare `import gridengine` makes reachable: those of the old library
#: that were, and the errors.
MODULES = [
    "dispatch",
    "errors",
    "functional",
    "job",
    "schedulers",
    "serializer",
    "settings",
]


def printed(code: str) -> object:
    """What a new process prints, as JSON."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import json, sys\n{code}"],
        capture_output=True,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return json.loads(run.stdout)


def test_type_checkers_see_what_there_is() -> None:
    """Each promised name is imported for them from the module that has it."""
    seen = {}
    for node in ast.walk(ast.parse(PATH.read_text())):
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and module.startswith("gridengine."):
            seen.update({alias.name: module for alias in node.names})
    assert seen.keys() == set(gridengine.__all__)
    assert len(seen) == len(gridengine.__all__)
    for name, module in seen.items():
        value = getattr(gridengine, name)
        assert getattr(importlib.import_module(module), name) is value
        assert value.__name__ == name


def test_a_star_gives_all() -> None:
    """`from gridengine import *` gives the promised names, and no module."""
    found = printed(
        "from gridengine import *\n"
        "print(json.dumps([n for n in globals() if n[0] != '_']))"
    )
    assert isinstance(found, list)
    assert set(found) - {"json", "sys"} == set(gridengine.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_there_after_a_bare_import(name: str) -> None:
    """`import gridengine; gridengine.settings...`, as scripts of old do."""
    code = f"import gridengine\nprint(json.dumps(gridengine.{name}.__name__))"
    assert printed(code) == f"gridengine.{name}"


def test_dir_shows_names_and_modules() -> None:
    """Completion in a notebook offers them, although nothing is loaded."""
    assert dir(gridengine) == sorted([*gridengine.__all__, *MODULES])


def test_a_wrong_name_is_an_attribute_error() -> None:
    """As for any module; `hasattr` and `from ... import` rely on it."""
    with pytest.raises(AttributeError, match="'gridengine' has no attribute 'pam'"):
        gridengine.pam  # noqa: B018
    with pytest.raises(ImportError, match="pam"):
        exec("from gridengine import pam")


def test_the_import_costs_nothing() -> None:
    """Neither Dask nor anything else is loaded before it is needed."""
    loaded = loaded_with("gridengine")
    ours = {name for name in loaded if name.partition(".")[0] == "gridengine"}
    assert ours == {"gridengine"}
    heavy = {"dask", "distributed", "numpy", "tornado", "cloudpickle", "tqdm", "yaml"}
    assert not loaded & {*heavy, "dask_gridengine"}


def test_errors_cost_no_dask() -> None:
    """An `except gridengine.RemoteError` in a module loads nothing big."""
    assert not loaded_with("gridengine.errors") & {
        "dask",
        "distributed",
        "numpy",
        "tornado",
    }


def test_a_map_loads_nothing_of_clusters_on_a_worker(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """Importing them would cost each new worker two tenths of a second."""

    def loaded(x: int) -> list[str]:
        return sorted(sys.modules)

    (found,) = gridengine.map(loaded, [1], scheduler=fresh)
    clusters = {"gridengine.schedulers", "gridengine.functional", "tqdm"}
    assert not {*found} & {*clusters, "dask_gridengine.cluster"}
