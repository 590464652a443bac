"""Who may import whom: the layout of `gridengine`, held."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dask_gridengine
import gridengine
from tests import test_imports as below
from tests.test_imports import Import

PACKAGE = Path(gridengine.__file__).parent
TESTS = Path(__file__).parent

#: Every module, in an order in which imports only ever point upward.
LAYERS = [
    "errors",
    "unpicklable",
    "failure",
    "sealed",
    "serializer",
    "tally",
    "chunk",
    "source",
    "pace",
    "lanes",
    "reasons",
    "engine",
    "places",
    "settings",
    "clusters",
    "schedulers",
    "progress",
    "functional",
    "controller",
    "ending",
    "run",
    "channel",
    "stoppable",
    "background",
    "job",
    "dispatch",
    "__init__",
    "example",
]

#: What runs on workers, which are many: each imports this and no more of ours.
ON_WORKERS = {"errors", "unpicklable", "failure", "sealed", "chunk", "controller"}

#: Modules of the package below that are used besides its public names.
INSIDES = {
    "errors",  # the base of ours; its module alone costs no Dask
    "settings.defaults",  # its defaults are read as settings
    "settings.config",  # which keywords are options
    "settings.readings",  # what is a whole number
    "scheduler.notes",  # what an exception is annotated with
    "launchers.drmaa_places",  # whether there is a grid
    "worker.task_loading",  # what is said of a module that a node has not
}

#: Modules that another test file's name covers.
TESTED_IN = {"__init__": "test_init"}


@cache
def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py"))


@cache
def imports(module: str) -> frozenset[Import]:
    """What a module imports, anywhere in it; names with the module they are from."""
    text = (PACKAGE / f"{module}.py").read_text()
    return frozenset(_walk(ast.parse(text), at_import=True))


def _walk(tree: ast.AST, *, at_import: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package: from gridengine..."
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", at_import)
        yield from _walk(node, at_import=at_import and not (later or typing))


def ours(name: str) -> str:
    """Module of this package that a full name is from; "" for what is not ours."""
    top, _, rest = name.partition(".")
    if top != "gridengine":
        return ""
    module = rest.partition(".")[0]
    return module if module in modules() else "__init__"


def theirs(name: str) -> str:
    """Module of the package below that a full name is from, by the same rule."""
    top, _, rest = name.partition(".")
    if top != "dask_gridengine":
        return ""
    while rest and rest not in below.modules():
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def reached(module: str) -> set[str]:
    """All of ours that a module imports, at whatever time, and what those import."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [ours(i.name) for i in imports(name) if ours(i.name)]
    return found


def test_every_module_has_its_place() -> None:
    """A new module is put where it belongs in the layout, or this fails."""
    assert list(PACKAGE.rglob("*.py")) == list(PACKAGE.glob("*.py")), "it is flat"
    for module in modules():
        assert module in LAYERS, (
            f"gridengine.{module} is new: put it into LAYERS in {__file__}, below"
            " everything it imports and above everything that imports it"
        )
    for module in LAYERS:
        assert module in modules(), f"{module} is gone: take it out of LAYERS"


def test_imports_only_point_upward() -> None:
    """No cycle, and no reaching down: a reader may go from top to bottom once."""
    downward = [
        f"{module} imports {ours(imported.name)}, which is further down"
        for module in modules()
        for imported in imports(module)
        if ours(imported.name)
        and LAYERS.index(ours(imported.name)) >= LAYERS.index(module)
    ]
    assert downward == []


def test_workers_import_nothing_of_the_hosts() -> None:
    """What runs on workers knows nothing of who sent it, not even in a function."""
    for module in ON_WORKERS:
        assert reached(module) <= ON_WORKERS, module


def test_a_chunk_loads_little() -> None:
    """What a worker loads for its first chunk is what runs there, really."""
    code = "import gridengine.chunk, json, sys; print(json.dumps(list(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    loaded = set(json.loads(said.stdout))
    names = {name for name in loaded if name.startswith("gridengine.")}
    assert names <= {f"gridengine.{module}" for module in ON_WORKERS}
    names = {name for name in loaded if name.startswith("dask_gridengine.")}
    assert names <= {"dask_gridengine.errors", "dask_gridengine._version"}
    assert not loaded & {"distributed", "numpy", "tqdm"}


def test_the_package_below_does_not_know_this_one() -> None:
    """Whoever wants a cluster alone gets nothing of the map."""
    assert not [
        f"{module} imports {imported.name}"
        for module in below.modules()
        for imported in below.imports(module)
        if imported.top == "gridengine"
    ]


def test_of_the_package_below_little_is_used() -> None:
    """Public names, and no more of its modules than is written down here."""
    used = {
        imported.name: theirs(imported.name)
        for module in modules()
        for imported in imports(module)
        if theirs(imported.name)
    }
    public = {name for name, module in used.items() if module == "__init__"}
    assert {name.partition(".")[2] for name in public} <= set(dask_gridengine.__all__)
    assert {*used.values()} - {"__init__"} == INSIDES


def test_every_module_has_its_tests() -> None:
    """tests/gridengine/test_<module>.py: a missing file is visible."""
    there = {path.stem for path in TESTS.glob("test_*.py")}
    wanted = {TESTED_IN.get(module, f"test_{module}") for module in modules()}
    assert sorted(wanted - there) == []
