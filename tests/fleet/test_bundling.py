"""One file with what nodes import, on the side of the cluster."""

from __future__ import annotations

import asyncio
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
    assert bundling.write(path) > 50  # of Python's own library
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
    bundling.write(path)
    assert codes(path) == {}


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    """And the caller goes on without."""
    with pytest.raises(OSError, match="No such file"):
        bundling.write(tmp_path / "nowhere" / "modules")
    assert os.listdir(tmp_path) == []


def test_it_may_be_written_while_modules_are_imported(tmp_path: Path) -> None:
    """In a thread, beside a Python that goes on importing."""

    async def main() -> None:
        work = asyncio.create_task(
            asyncio.to_thread(bundling.write, tmp_path / "modules")
        )
        for number in range(200):
            sys.modules[f"made_up_{number}"] = type(sys)(f"made_up_{number}")
            await asyncio.sleep(0)
        assert await work > 50

    try:
        asyncio.run(main())
    finally:
        for number in range(200):
            sys.modules.pop(f"made_up_{number}", None)
