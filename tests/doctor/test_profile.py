"""The profile is a configuration that Dask reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dask_gridengine.doctor.finding import Setting, passed
from dask_gridengine.doctor.profile import render, settings_of, write


def test_it_is_read_back() -> None:
    """What the site needs and what was given, each with its reason."""
    needs = Setting(key="host", value="10.1.0.1", because="nodes reach it")
    maybe = Setting(key="queue", value="all.q", because="it is free", optional=True)
    found = [replace(passed("a", "b"), settings=(needs, maybe))]
    text = render(settings_of(found, {"memory": "4 GB", "cores": None}))
    assert yaml.safe_load(text) == {
        "gridengine": {"host": "10.1.0.1", "memory": "4 GB"}
    }
    assert "# nodes reach it" in text
    assert "# queue: all.q" in text


def test_nothing_is_needed() -> None:
    """Also that is a file that can be read."""
    assert yaml.safe_load(render([])) == {"gridengine": {}}


def test_it_never_replaces_a_file(tmp_path: Path) -> None:
    """Somebody may have written it by hand."""
    place = tmp_path / "new" / "gridengine.yaml"
    write(place, "a")
    with pytest.raises(FileExistsError):
        write(place, "b")
    assert place.read_text() == "a"
