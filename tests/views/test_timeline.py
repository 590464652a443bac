"""``cluster.timeline()``, and its bars, which the page has as well."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from bokeh.models import ColumnDataSource

from dask_gridengine.errors import OptionError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views import timeline
from dask_gridengine.views.colors import STATES
from dask_gridengine.views.timeline import (
    FAR,
    TimelineBars,
    count_steps,
    draw,
    milliseconds,
    save,
    time_label,
)
from tests.simulated import START, Nodes, many


def test_nodes_are_counted_by_state_over_time() -> None:
    """Before and after each change, so that areas have upright edges."""
    nodes = Nodes()
    first, _ = nodes.submit(2)
    nodes.clock.now += 10
    nodes.arrive(first)
    nodes.work(first)
    nodes.clock.now += 5
    nodes.end(first)
    columns = count_steps(nodes.history.rows(), START + 20)
    assert columns["time"] == [START + t for t in (0, 0, 10, 10, 15, 15, 20, 20)]
    assert columns["queued"] == [0, 2, 2, 1, 1, 1, 1, 1]
    assert columns["working"] == [0, 0, 0, 1, 1, 0, 0, 0]
    assert set(columns) == {"time", *STATES}


def test_a_finished_run_ends_with_its_last_node() -> None:
    """Whenever it is drawn."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.clock.now += 30
    nodes.end(record)
    picture = draw(nodes.history, now=START + 10_000)
    span = picture.children[0].x_range
    assert span.end - span.start < 60_000  # milliseconds


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_the_file_needs_no_network(count: int, tmp_path: Path) -> None:
    """With any number of nodes."""
    path = tmp_path / "run.html"
    save(draw(many(count, 5).history, now=START), path, title="a run")
    text = path.read_text()
    assert "<title>a run</title>" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", text)


def test_a_picture_of_some_nodes_has_their_number_in_its_title(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bars of the nodes that ended first are left out."""
    monkeypatch.setattr(timeline, "MAX_DRAWN", 100)
    figure = draw(many(300, 3).history, now=START).children[0]
    drawn = len(figure.select_one(ColumnDataSource).data["job"])
    assert 100 < drawn < 300
    assert f"300 nodes on 3 hosts ({drawn} are drawn)" in figure.title.text


def test_other_formats_are_refused(tmp_path: Path) -> None:
    """The message has the supported one."""
    with pytest.raises(OptionError, match=r"\.html"):
        save(draw(Nodes().history), tmp_path / "run.svg", title="")


def cell(bars: TimelineBars, column: str, index: int = 0) -> Any:
    return bars.source.data[column][index]


def test_a_bar_follows_its_node() -> None:
    """Each state has two edges; the last of a live node is in the future."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    bars, summary = TimelineBars(live=True), NodeSummary(nodes.history)
    bars.update(summary.update(), nodes.clock())
    assert cell(bars, "queued_from") == milliseconds(START)
    assert cell(bars, "queued_to") == FAR
    nodes.clock.now += 5
    nodes.arrive(record)
    nodes.work(record)
    bars.update(summary.update(), nodes.clock())
    assert cell(bars, "queued_to") == milliseconds(START + 5)
    assert cell(bars, "working_to") == FAR
    assert cell(bars, "worker") == "ge-0"
    nodes.clock.now += 5
    nodes.end(record, Cause.MEMORY)
    bars.update(summary.update(), nodes.clock())
    assert cell(bars, "working_to") == cell(bars, "failed_at")
    assert cell(bars, "failed_at") == milliseconds(START + 10)
    assert cell(bars, "worked") == "5 s"
    assert math.isnan(cell(bars, "ended_at"))
    assert math.isnan(cell(bars, "draining_from"))


def test_an_intended_end_has_another_mark() -> None:
    """A cross is for failures only."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.CANCELLED)
    bars = TimelineBars(live=True)
    bars.update(NodeSummary(nodes.history).update(), nodes.clock())
    assert not math.isnan(cell(bars, "ended_at"))
    assert math.isnan(cell(bars, "failed_at"))
    assert math.isnan(cell(bars, "working_from")), "it never worked"


def test_a_restart_in_place_has_a_mark() -> None:
    """The bar goes on; its tooltip tells what the worker died of."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.arrive(record)
    nodes.work(record)
    bars, summary = TimelineBars(live=True), NodeSummary(nodes.history)
    bars.update(summary.update(), nodes.clock())
    assert math.isnan(cell(bars, "restarted_at"))
    nodes.clock.now += 7
    nodes.restart(record)
    nodes.restart(record)
    bars.update(summary.update(), nodes.clock())
    assert cell(bars, "restarted_at") == milliseconds(START + 7)
    assert cell(bars, "working_to") == FAR
    assert cell(bars, "note") == "- its worker was killed, restarted 2 times"


def test_a_queue_place_that_is_given_up_never_drains() -> None:
    """Its bar is of the queue to its end."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.clock.now += 5
    nodes.registry.move(record, NodeState.DRAINING)
    nodes.clock.now += 1
    nodes.end(record, Cause.CANCELLED)
    bars = TimelineBars(live=True)
    bars.update(NodeSummary(nodes.history).update(), nodes.clock())
    assert math.isnan(cell(bars, "draining_from"))
    assert cell(bars, "queued_to") == milliseconds(START + 6)


def test_the_page_has_one_legend() -> None:
    """Its numbers of nodes; a picture of one moment has no numbers."""
    assert not TimelineBars(live=True).figure.legend
    assert len(TimelineBars(live=False).figure.legend) == 1


def test_bars_of_old_ended_nodes_are_dropped() -> None:
    """The picture of a long run has a bounded size, and all live nodes."""
    nodes = Nodes()
    (old,) = nodes.submit(1, "1")
    bars, summary = TimelineBars(live=True, limit=20), NodeSummary(nodes.history)
    for job in range(2, 102):
        (record,) = nodes.submit(1, str(job))
        nodes.end(record)
        bars.update(summary.update(), nodes.clock())
        assert len(bars) <= 20
    jobs = bars.source.data["job"]
    assert (jobs[0], jobs[-1]) == ("1.1", "101.1")
    assert bars.source.data["y"] == list(range(len(jobs)))
    nodes.arrive(old, "node9")
    bars.update(summary.update(), nodes.clock())
    assert cell(bars, "host") == "node9"


def test_live_nodes_beyond_the_limit_are_shown() -> None:
    """The limit is for ended ones."""
    nodes = Nodes()
    nodes.submit(50)
    bars = TimelineBars(live=True, limit=20)
    bars.update(NodeSummary(nodes.history).update(), nodes.clock())
    assert len(bars) == 50


def test_a_picture_of_a_moment_ends_there() -> None:
    """Bars of live nodes end then."""
    nodes = Nodes()
    nodes.submit(1)
    bars = TimelineBars(live=False)
    bars.update(NodeSummary(nodes.history).update(), START + 60)
    assert cell(bars, "queued_to") == milliseconds(START + 60)


@pytest.mark.parametrize("window", [None, 120.0])
def test_passing_time_changes_no_bar(window: float | None) -> None:
    """The axis moves, and what hides the future."""
    nodes = Nodes()
    nodes.submit(3)
    bars = TimelineBars(live=True)
    bars.update(NodeSummary(nodes.history).update(), nodes.clock())
    before = {name: list(column) for name, column in bars.source.data.items()}
    bars.show(START + 1000, window)
    shown = (bars.x_range.end - bars.x_range.start) / 1000
    assert shown == pytest.approx((window or 1000) * 1.04)
    # As text: NaN does not equal a copy of itself.
    assert repr(before) == repr(dict(bars.source.data))


@pytest.mark.parametrize(
    ("zone", "hours", "label"),
    [("EST5", -5, "UTC-05:00"), ("IST-5:30", 5.5, "UTC+05:30")],
)
def test_axes_show_local_time(
    zone: str, hours: float, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As qstat and logs do; the label has the time zone."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert milliseconds(START) == (START + hours * 3600) * 1000
        assert label in time_label()
    finally:
        monkeypatch.undo()
        time.tzset()
