"""How a session child is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dask_gridengine.launchers.spawn import start_child


def test_a_users_file_is_not_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook's directory may well hold a queue.py or a json.py."""
    for name in ("json.py", "queue.py", "select.py", "drmaa.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    with start_child("tests.launchers.nothing") as child:
        _, errors = child.communicate(timeout=10)
    assert b"No module named 'tests.launchers.nothing'" in errors


def test_it_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C in the parent's terminal does not reach it."""
    (tmp_path / "behaviour").write_text("")
    with start_child("tests.launchers.fake_session", [str(tmp_path)]) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert os.getsid(child.pid) == child.pid
        child.communicate(timeout=10)
    assert child.returncode == 0
