"""The selection of a launcher."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dask_gridengine.errors import LauncherUnavailable, OptionError
from dask_gridengine.launchers.select import open_launcher
from tests.launchers.conftest import Ends


@pytest.fixture
def no_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop."""
    for name in ("SGE_ROOT", "SGE_CELL", "DRMAA_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


async def describe(kind: str | None, ends: Ends) -> str:
    launcher = await open_launcher(kind, ends, slots=2)
    await launcher.aclose()
    return launcher.description


@pytest.mark.usefixtures("no_grid")
def test_without_a_grid_nodes_are_local_processes(ends: Ends) -> None:
    """The description says so, and why."""
    description = asyncio.run(describe(None, ends))
    assert description.startswith("2 slots of local processes; no Grid Engine")


@pytest.mark.usefixtures("no_grid")
def test_drmaa_never_falls_back(ends: Ends) -> None:
    """The error says what is missing, and what to type."""
    with pytest.raises(LauncherUnavailable) as caught:
        asyncio.run(describe("drmaa", ends))
    assert "SGE_ROOT" in caught.value.reason
    assert "settings.sh" in caught.value.hint


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ({"SGE_ROOT": "/no/such/root", "DRMAA_LIBRARY_PATH": "/no/such.so"}, r"\.so"),
        ({"DRMAA_LIBRARY_PATH": "/no/such.so"}, r"\.so"),
        (
            {"drmaa": "raise ModuleNotFoundError('No module named drmaa')"},
            "pip install",
        ),
        ({"drmaa": "raise OSError('cannot load it')"}, "cannot load it"),
        ({"drmaa": CRASH}, "SIGSEGV"),
        ({"drmaa": "raise SystemExit(3)"}, "status 3"),
    ],
)
@pytest.mark.usefixtures("no_grid")
def test_a_configured_but_broken_grid_is_an_error(
    ends: Ends,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, str],
    text: str,
) -> None:
    """The error has the reason, and says how to use local processes instead."""
    if package := broken.get("drmaa"):
        (tmp_path / "drmaa.py").write_text(package)
        (tmp_path / "libdrmaa.so").touch()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("SGE_ROOT", str(tmp_path))
        monkeypatch.setenv("DRMAA_LIBRARY_PATH", str(tmp_path / "libdrmaa.so"))
    else:
        for name, value in broken.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(LauncherUnavailable, match=text) as caught:
        asyncio.run(describe(None, ends))
    assert 'launcher="process"' in caught.value.hint
    assert asyncio.run(describe("process", ends)) == "2 slots of local processes"


def test_local_processes_can_be_requested(ends: Ends) -> None:
    """Then the description does not mention a grid."""
    assert asyncio.run(describe("process", ends)) == "2 slots of local processes"


def test_the_error_for_an_unknown_launcher_lists_all(ends: Ends) -> None:
    """So that a typo is found at once."""
    with pytest.raises(OptionError, match=r"'dmraa'.* drmaa, process"):
        asyncio.run(describe("dmraa", ends))
