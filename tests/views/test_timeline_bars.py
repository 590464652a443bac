"""The timeline's bars."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.history import ChangeFollower
from dask_gridengine.views.state_changes import FAR, milliseconds
from dask_gridengine.views.timeline_bars import TimelineBars
from tests.simulated import START, Nodes


def cell(bars: TimelineBars, column: str, index: int = 0) -> Any:
    return bars.source.data[column][index]


def test_a_bar_follows_its_node() -> None:
    """Each state has an edge where it began and where it ended; the last goes on."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    bars, follower = TimelineBars(live=True), ChangeFollower(nodes.view)
    bars.take(follower.look(), nodes.clock())
    assert cell(bars, "queued_from") == milliseconds(START)
    assert cell(bars, "queued_to") == FAR
    nodes.clock.now += 5
    nodes.arrive(record)
    nodes.work(record)
    bars.take(follower.look(), nodes.clock())
    assert cell(bars, "queued_to") == milliseconds(START + 5)
    assert cell(bars, "working_to") == FAR
    assert cell(bars, "worker") == "ge-0"
    nodes.clock.now += 5
    nodes.end(record, Cause.MEMORY)
    bars.take(follower.look(), nodes.clock())
    assert cell(bars, "working_to") == cell(bars, "failed_at")
    assert cell(bars, "failed_at") == milliseconds(START + 10)
    assert math.isnan(cell(bars, "ended_at"))
    assert math.isnan(cell(bars, "draining_from"))


def test_an_end_that_was_wanted_has_another_mark() -> None:
    """Nobody is to look for what went wrong where nothing did."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.CANCELLED)
    bars = TimelineBars(live=True)
    bars.take(ChangeFollower(nodes.view).look(), nodes.clock())
    assert not math.isnan(cell(bars, "ended_at"))
    assert math.isnan(cell(bars, "failed_at"))


def test_old_ends_are_dropped_and_nobody_who_lives_is() -> None:
    """A cluster that turns over thousands of nodes keeps a picture of bounded size."""
    nodes = Nodes()
    (old,) = nodes.submit(1, "1")
    bars, follower = TimelineBars(live=True, most=20), ChangeFollower(nodes.view)
    for job in range(2, 102):
        (record,) = nodes.submit(1, str(job))
        nodes.end(record)
        bars.take(follower.look(), nodes.clock())
        assert len(bars) <= 20
    jobs = bars.source.data["job"]
    assert (jobs[0], jobs[-1]) == ("1.1", "101.1")
    assert bars.source.data["y"] == list(range(len(jobs)))
    nodes.arrive(old, "node9")
    bars.take(follower.look(), nodes.clock())
    assert cell(bars, "host") == "node9"


def test_more_live_nodes_than_bars_are_all_there() -> None:
    """The bound is for those that are gone."""
    nodes = Nodes()
    nodes.submit(50)
    bars = TimelineBars(live=True, most=20)
    bars.take(ChangeFollower(nodes.view).look(), nodes.clock())
    assert len(bars) == 50


def test_a_picture_of_a_moment_ends_there() -> None:
    """What goes on is drawn until then."""
    nodes = Nodes()
    nodes.submit(1)
    bars = TimelineBars(live=False)
    bars.take(ChangeFollower(nodes.view).look(), START + 60)
    assert cell(bars, "queued_to") == milliseconds(START + 60)


@pytest.mark.parametrize("window", [None, 120.0])
def test_time_passes_without_a_word_about_any_bar(window: float | None) -> None:
    """The end of what is shown moves; the bars run on beneath a cover."""
    nodes = Nodes()
    nodes.submit(3)
    bars = TimelineBars(live=True)
    bars.take(ChangeFollower(nodes.view).look(), nodes.clock())
    before = {name: list(column) for name, column in bars.source.data.items()}
    bars.now(START + 1000, window)
    shown = (bars.x_range.end - bars.x_range.start) / 1000
    assert shown == pytest.approx((window or 1000) * 1.04)
    # NaN is not itself once it is a copy.
    assert repr(before) == repr(dict(bars.source.data))
