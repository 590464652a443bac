"""A node as a row of numbers."""

from __future__ import annotations

import time

import pytest

from dask_gridengine.views.state_changes import (
    FAR,
    NOBODY,
    cells,
    milliseconds,
    time_label,
)
from tests.simulated import START, Nodes


@pytest.mark.parametrize(
    ("zone", "hours", "label"),
    [
        ("UTC0", 0, "UTC+00:00"),
        ("EST5", -5, "UTC-05:00"),
        ("IST-5:30", 5.5, "UTC+05:30"),
    ],
)
def test_axes_show_the_time_of_day_here(
    zone: str, hours: float, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bokeh knows no time zones: the same clock as in qstat and logs, and its name."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert milliseconds(START) == (START + hours * 3600) * 1000
        assert label in time_label()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_every_row_has_the_same_columns() -> None:
    """Whatever a node has been through."""
    nodes = Nodes()
    _, gone = nodes.submit(2)
    nodes.arrive(gone)
    nodes.work(gone)
    nodes.end(gone)
    columns = cells(NOBODY, 0, FAR).keys()
    for row in nodes.view.rows():
        assert cells(row, 0, FAR).keys() == columns


def test_a_state_that_was_skipped_is_no_edge() -> None:
    """A node that is given back in the queue never worked."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.clock.now += 7
    nodes.end(record)
    (row,) = nodes.view.rows()
    found = cells(row, 3, FAR)
    assert found["queued_to"] == milliseconds(START + 7)
    assert found["working_from"] != found["working_from"]  # no number
    assert found["y"] == 3
