"""The run as a picture."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bokeh.models import ColumnDataSource

from dask_gridengine.dashboard.palette import STATES
from dask_gridengine.display import timeline
from dask_gridengine.display.timeline import draw, save, steps
from dask_gridengine.errors import OptionError
from tests import browser
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
    """With the two there are."""
    with pytest.raises(OptionError, match=r"say \.html or \.png"):
        save(draw(Nodes().view), tmp_path / "run.svg", title="")


def test_it_can_be_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn by a browser through selenium."""
    browser.chromium()
    pytest.importorskip("selenium")
    if browser.chromedriver() is None:
        pytest.skip("NO CHROMEDRIVER: apt-get install chromium-driver")
    monkeypatch.setenv("BOKEH_IN_DOCKER", "1")  # its name for --no-sandbox
    path = tmp_path / "run.png"
    # In a process of its own: selenium leaves descriptors to the garbage collector.
    code = (
        "import sys; from pathlib import Path; from tests.simulated import *;"
        "from dask_gridengine.display.timeline import *;"
        "save(draw(many(20, 3).view, now=START), Path(sys.argv[1]), title='')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=90)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("missing", ["browser", "selenium"])
def test_without_a_browser_it_says_what_to_do(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG needs one, and a way to it; HTML does not."""
    if missing == "selenium":
        for name in [name for name in sys.modules if name.startswith("bokeh.io.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "selenium", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SE_OFFLINE", "true")  # or selenium would fetch one
    with pytest.raises(OptionError, match=r"save it as \.html"):
        save(draw(Nodes().view), tmp_path / "run.png", title="")
