"""The page "Grid Engine" on Dask's dashboard."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from distributed import Client, Scheduler

from dask_gridengine import GridEngineCluster
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.views.page import PAGE, TITLE, WINDOWS, Page
from tests import browser
from tests.scheduler.scene import page as get
from tests.scheduler.scene import running
from tests.simulated import Nodes, many, pooled
from tests.views.sent import Shown
from tests.waiting import wait_until

#: JavaScript that returns the data of the bars.
BARS = """() => {
  const source = [...Bokeh.documents[0]._all_models.values()]
    .find(m => m.type == "ColumnDataSource" && m.data.failed_at)
  return {
    jobs: Array.from(source.data.job),
    states: Array.from(source.data.state),
    failed: Array.from(source.data.failed_at).filter(at => !isNaN(at)).length,
  }
}"""
FOLLOWS = """() => [...Bokeh.documents[0]._all_models.values()]
  .find(m => m.type == "RadioButtonGroup").active"""
DRAWN = "() => window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"


def test_an_update_without_changes_sends_little() -> None:
    """Of two thousand bars none, only the time."""
    nodes = many(2000, 60)
    shown = Shown(nodes.history, nodes.clock)
    nodes.clock.now += 0.5
    assert 0 < shown.update() < 2_000


def test_an_update_sends_changed_cells_only() -> None:
    """One of two thousand nodes arrives."""
    nodes = many(2000, 60)
    shown = Shown(nodes.history, nodes.clock)
    record = nodes.registry.in_state(NodeState.QUEUED)[0]
    nodes.clock.now += 0.5
    nodes.arrive(record, "node001")
    assert shown.update() < 10_000


def test_a_picture_that_a_visitor_moved_stays() -> None:
    """A button lets it follow the time again."""
    nodes = Nodes()
    nodes.submit(1)
    page = Page(nodes.history, list, clock=nodes.clock)
    page.update()
    page.bars.x_range.update(start=0, end=1)  # as the browser does after a drag
    nodes.clock.now += 10
    page.update()
    assert page.window.active is None
    assert page.bars.x_range.end == 1
    page.window.active = len(WINDOWS) - 1
    page.update()
    assert page.bars.x_range.end > 1e12


def test_each_pool_has_its_numbers_where_there_are_several() -> None:
    """Above the bars; the job of a bar has its pool beside it."""
    history, _ = pooled(small=2, big=1)
    page = Page(history, list)
    page.update()
    assert "<b>small</b> (2): 2 queued" in page.head.text
    assert "<b>big</b> (1): 1 queued" in page.head.text
    assert page.bars.source.data["job"] == ["7.1 small", "7.2 small", "7.1 big"]


def test_html_is_escaped() -> None:
    """Names of hosts and clusters are text."""
    nodes = Nodes(name="<b>x</b>")
    (record,) = nodes.submit(1)
    nodes.arrive(record, "<script>")
    nodes.end(record)
    page = Page(nodes.history, list, clock=nodes.clock)
    page.update()
    assert "<script>" not in page.events.text
    assert "&lt;script&gt;" in page.events.text
    assert "&lt;b&gt;x" in page.head.text


def test_the_text_beside_the_bars_has_delays_ends_and_restarts() -> None:
    """The last events by name; a cause that accounting has refined replaces the old."""
    nodes = Nodes()
    first, second = nodes.submit(2)
    page = Page(nodes.history, list, clock=nodes.clock)
    page.update()
    assert "median" not in page.events.text
    nodes.clock.now += 90
    for record in (first, second):
        nodes.arrive(record)
        nodes.work(record)
    nodes.restart(first)
    nodes.end(second)
    page.update()
    for text in ("median 1.5 min", "ge-0 7.1", "its worker was killed, restarted"):
        assert text in page.events.text
    assert "ge-1 7.2" in page.events.text
    nodes.end(second, Cause.MEMORY)
    page.update()
    assert page.events.text.count("ge-1 7.2") == 1
    assert "ran into the memory limit" in page.events.text
    assert "<b>1</b> restarted" in page.head.text
    assert "<b>1</b> failed" in page.head.text


async def test_the_navigation_of_dask_links_to_the_page() -> None:
    """Once on each page, also with two clusters in a process, and for no other kind of
    cluster there: Dask's list of pages is the process's.
    """
    async with running() as one, running() as other:
        for scheduler in (one, other, one):
            for name in ("status", PAGE):
                status, text, _ = await get(scheduler, f"/{name}")
                assert status == 200
                assert text.count(f'<a href="{PAGE}">{TITLE}</a>') == 1
        quiet = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "port": 0}
        async with Scheduler(**quiet) as theirs:
            assert TITLE not in (await get(theirs, "/status"))[1]
            assert (await get(theirs, f"/{PAGE}"))[0] == 404


async def test_the_page_is_below_the_prefix_of_dasks_pages() -> None:
    """For users behind a proxy."""
    async with running(http_prefix="/mine") as scheduler:
        assert (await get(scheduler, f"/mine/{PAGE}"))[0] == 200
        assert (await get(scheduler, "/mine/json/gridengine.json"))[0] == 200


@pytest.mark.timeout(180)
def test_a_browser_shows_arrivals_and_ends(shared: Path) -> None:
    """Of a live cluster, reached through Dask's navigation."""
    browser.chromium()
    with (
        GridEngineCluster(
            jobs=2,
            launcher="process",
            slots=2,
            shared_directory=shared,
            quiet=True,
            scheduler_options={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster) as client,
        browser.page() as page,
    ):
        client.wait_for_workers(2)
        page.goto(f"http://127.0.0.1:{cluster.scheduler.http_server.port}/status")
        page.get_by_role("link", name="Grid Engine", exact=True).click()
        page.wait_for_function(DRAWN, timeout=60_000)
        page.get_by_text("2 working").wait_for(timeout=30_000)
        assert page.evaluate(BARS)["states"] == ["working", "working"]
        killed = cluster.jobs()[0]
        os.kill(killed.pid, signal.SIGKILL)
        page.get_by_text("1 was killed", exact=True).wait_for(timeout=30_000)
        page.get_by_text(f"{killed.worker} {killed.id}").wait_for(timeout=30_000)
        wait_until(
            lambda: page.evaluate(BARS)["states"] == ["gone", "working", "working"],
            "another bar works",
            60,
            lambda: page.evaluate(BARS),
        )
        assert page.evaluate(BARS)["failed"] == 1
        # A drag stops the picture; a button lets it follow the time again.
        page.mouse.move(500, 500)
        page.mouse.down()
        page.mouse.move(560, 520, steps=5)
        page.mouse.up()
        page.wait_for_function(f"({FOLLOWS})() === null", timeout=30_000)
        page.get_by_role("button", name="2 minutes").click()
        page.wait_for_function(f"({FOLLOWS})() === 0", timeout=30_000)
