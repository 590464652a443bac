"""The run as a picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bokeh.models import ColumnDataSource

from dask_gridengine.errors import OptionError
from dask_gridengine.views import timeline
from dask_gridengine.views.colors import STATES
from dask_gridengine.views.timeline import draw, save, steps
from tests.simulated import START, Nodes, many


def test_how_many_are_in_each_state_whenever_that_changes() -> None:
    """Before and after each event, so that the edges of an area are upright."""
    nodes = Nodes()
    first, _ = nodes.submit(2)
    nodes.clock.now += 10
    nodes.arrive(first)
    nodes.work(first)
    nodes.clock.now += 5
    nodes.end(first)
    columns = steps(nodes.view.rows(), START + 20)
    assert columns["time"] == [START + t for t in (0, 0, 10, 10, 15, 15, 20, 20)]
    assert columns["queued"] == [0, 2, 2, 1, 1, 1, 1, 1]
    assert columns["working"] == [0, 0, 0, 1, 1, 0, 0, 0]
    assert set(columns) == {"time", *STATES}


def test_a_run_that_is_over_ends_with_its_last_node() -> None:
    """Whenever it is drawn: the picture does not grow."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.clock.now += 30
    nodes.end(record)
    picture = draw(nodes.view, now=START + 10_000)
    span = picture.children[0].x_range
    assert span.end - span.start < 60_000  # milliseconds


@pytest.mark.parametrize("count", [0, 1, 24, 5000])
def test_any_number_of_nodes_is_a_picture(count: int, tmp_path: Path) -> None:
    """Of none, of one, and of more than there are bars; in a file that needs no net."""
    path = tmp_path / "run.html"
    save(draw(many(count, 5).view, now=START), path, title="a run")
    text = path.read_text()
    assert "<title>a run</title>" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?http", text)


def test_a_picture_that_leaves_some_out_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that have long been gone are dropped first; the title counts them."""
    monkeypatch.setattr(timeline, "MOST_DRAWN", 100)
    figure = draw(many(300, 3).view, now=START).children[0]
    drawn = len(figure.select_one(ColumnDataSource).data["job"])
    assert 100 < drawn < 300
    assert f"300 nodes on 3 hosts ({drawn} are drawn)" in figure.title.text


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """With the one there is."""
    with pytest.raises(OptionError, match=r"\.html"):
        save(draw(Nodes().view), tmp_path / "run.svg", title="")
