"""Which entries of the client's ``sys.path`` the nodes are told."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from dask_gridengine.nodes.allocation import import_path


def test_the_installation_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node has the standard library and site-packages of its own Python."""
    packages = sysconfig.get_path("purelib")
    egg = os.path.join(packages, "some.egg")
    monkeypatch.setattr(
        "sys.path", [*sys.path, sysconfig.get_path("stdlib"), packages, egg, "/added"]
    )
    found = import_path("/work")
    assert found[-1] == "/added"
    assert not [place for place in found if "-packages" in place]
    assert not [place for place in found if place.startswith(sys.base_prefix + "/lib/")]


def test_relative_entries_are_below_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are told as absolute paths, each once and in order."""
    monkeypatch.setattr("sys.path", ["", "src", "/base/src", "../lib", "/other/"])
    assert import_path("/base") == ["/base", "/base/src", "/lib", "/other"]
    assert import_path("") == ["/base/src", "/other"]


def test_what_python_passes_over_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Entries that are no strings, as notebooks have them by mistake."""
    monkeypatch.setattr("sys.path", [Path("/a"), None, b"/b", "/c"])
    assert import_path("/work") == ["/c"]
