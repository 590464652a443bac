"""``cluster.timeline()``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bokeh.models import ColumnDataSource

from dask_gridengine.errors import OptionError
from dask_gridengine.views import timeline
from dask_gridengine.views.colors import STATES
from dask_gridengine.views.timeline import count_steps, draw, save
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
