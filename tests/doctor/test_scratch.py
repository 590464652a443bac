"""A scratch directory is measured, and left as it was."""

from __future__ import annotations

from pathlib import Path

from dask_gridengine.doctor.scratch import measure


def test_room_and_speed(tmp_path: Path) -> None:
    """Both are known, and nothing is left there."""
    place = tmp_path / "made"
    found = measure(str(place))
    assert found.free
    assert found.speed
    assert not found.error
    assert list(place.iterdir()) == []


def test_one_that_cannot_be(tmp_path: Path) -> None:
    """The system's own words."""
    (tmp_path / "file").touch()
    assert measure(str(tmp_path / "file")).error == "File exists"
