"""One file with what nodes import, on the side of the cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import py_compile
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine.fleet import bundling
from dask_gridengine.fleet.bundling import Bundling
from dask_gridengine.worker.bundle import Bundle


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The source of a package's module that this Python has imported, compiled."""
    name = "bundled_sample"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    source = package / "part.py"
    source.write_text("VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bundling, "PACKAGES", frozenset({name}))
    importlib.import_module(f"{name}.part")
    py_compile.compile(str(source), doraise=True)
    yield source
    for loaded in (name, f"{name}.part"):
        sys.modules.pop(loaded)


def codes(path: Path) -> dict[str, object]:
    """What a module of the sample's would define, if it is in the bundle."""
    bundle = Bundle(path)
    try:
        found: dict[str, object] = {}
        if "bundled_sample.part" in bundle._index:
            code = bundle.code("bundled_sample.part")
            assert code is not None
            exec(code, found)
        return found
    finally:
        bundle.close()


def test_it_holds_what_is_imported_and_compiled(module: Path, tmp_path: Path) -> None:
    """Only its owner can read it, and there is never half of it."""
    path = tmp_path / "modules"
    assert Bundling(path).finish() == ""
    assert codes(path)["VALUE"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("modules")] == [
        "modules"
    ]


@pytest.mark.parametrize("how", ["changed", "not compiled", "by hash", "source gone"])
def test_what_is_not_compiled_as_it_is_now_is_left_out(
    how: str, module: Path, tmp_path: Path
) -> None:
    """Nodes import that as ever, and so as it is."""
    compiled = Path(importlib.util.cache_from_source(str(module)))
    if how == "changed":
        module.write_text("VALUE = 12")
    elif how == "not compiled":
        compiled.unlink()
    elif how == "by hash":
        py_compile.compile(
            str(module),
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )
    else:
        module.unlink()
    path = tmp_path / "modules"
    assert Bundling(path).finish() == ""
    assert codes(path) == {}


def test_pythons_own_library_is_in_it_and_nothing_else(
    module: Path, tmp_path: Path
) -> None:
    """What is installed beside that, or is the user's, may be changed meanwhile."""
    path = tmp_path / "modules"
    assert Bundling(path).finish() == ""
    bundle = Bundle(path)
    bundle.close()
    packages = {name.partition(".")[0] for name in bundle._index}
    assert {"asyncio", "logging", "bundled_sample"} <= packages
    assert not {"pytest", "tests", "numpy", "__main__"} & packages


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    """And the caller goes on without."""
    said = Bundling(tmp_path / "nowhere" / "modules").finish()
    assert "No such file or directory" in said.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_one_that_is_ended_leaves_no_half_of_it(tmp_path: Path) -> None:
    """A cluster that closes at once does not wait for it."""
    bundling = Bundling(tmp_path / "modules")
    bundling.end()
    assert bundling.finish() == ""
    bundling.end()
    assert "modules" not in os.listdir(tmp_path)
