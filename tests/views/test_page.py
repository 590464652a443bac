"""The page, as a browser shows it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.views.page import WINDOWS, Page
from tests import browser
from tests.simulated import Nodes, many, pooled
from tests.views.sent import Shown
from tests.waiting import until, wait_until

#: Numbers of what is on the page, from within it.
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


def test_a_tick_in_which_nothing_happens_is_a_few_words() -> None:
    """With two thousand nodes as with none: where the time is, and no bar."""
    nodes = many(2000, 60)
    shown = Shown(nodes.view, nodes.clock)
    nodes.clock.now += 0.5
    assert 0 < shown.update() < 2_000


def test_a_change_costs_what_has_changed() -> None:
    """One of two thousand arrives: its cells are sent, and not the others'."""
    nodes = many(2000, 60)
    shown = Shown(nodes.view, nodes.clock)
    record = nodes.registry.in_state(NodeState.QUEUED)[0]
    nodes.clock.now += 0.5
    nodes.arrive(record, "node001")
    assert shown.update() < 10_000


def test_whoever_moves_the_picture_is_left_alone() -> None:
    """Time goes on beneath it; a click on a window follows it again."""
    nodes = Nodes()
    nodes.submit(1)
    page = Page(nodes.view, list, clock=nodes.clock)
    page.update()
    page.bars.x_range.update(start=0, end=1)  # as the browser says after a drag
    nodes.clock.now += 10
    page.update()
    assert page.window.active is None
    assert page.bars.x_range.end == 1
    page.window.active = len(WINDOWS) - 1
    page.update()
    assert page.bars.x_range.end > 1e12


def test_each_pool_has_its_numbers_where_there_are_several() -> None:
    """Above the bars; a bar's job has its pool beside it."""
    view, _ = pooled(small=2, big=1)
    page = Page(view, list)
    page.update()
    assert "<b>small</b> (2): 2 queued" in page.head.text
    assert "<b>big</b> (1): 1 queued" in page.head.text
    assert page.bars.source.data["job"] == ["7.1 small", "7.2 small", "7.1 big"]


def test_what_others_choose_is_never_markup() -> None:
    """Host names and cluster names come from elsewhere."""
    nodes = Nodes(name="<b>x</b>")
    (record,) = nodes.submit(1)
    nodes.arrive(record, "<script>")
    nodes.end(record)
    page = Page(nodes.view, list, clock=nodes.clock)
    page.update()
    assert "<script>" not in page.ends.text
    assert "&lt;script&gt;" in page.ends.text
    assert "&lt;b&gt;x" in page.head.text


@pytest.mark.timeout(180)
def test_it_follows_nodes_that_come_and_die(shared: Path) -> None:
    """From Dask's navigation to the page; arrivals and a kill are seen as they come."""
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
        # Whoever drags the picture stops it; a button lets time go on.
        page.mouse.move(500, 500)
        page.mouse.down()
        page.mouse.move(560, 520, steps=5)
        page.mouse.up()
        page.wait_for_function(f"({FOLLOWS})() === null", timeout=30_000)
        page.get_by_role("button", name="2 minutes").click()
        page.wait_for_function(f"({FOLLOWS})() === 0", timeout=30_000)


@pytest.mark.timeout(180)
def test_two_thousand_nodes_are_drawn() -> None:
    """All of them, without a complaint of the browser."""
    browser.chromium()
    nodes = many(2000, 60)

    def look(port: int) -> tuple[int, int]:
        with browser.page() as page:
            page.goto(f"http://127.0.0.1:{port}/gridengine")
            page.wait_for_function(DRAWN, timeout=60_000)
            page.get_by_text("simulated:").wait_for()
            found = page.evaluate(BARS)
            return len(found["jobs"]), found["failed"]

    async def main() -> tuple[int, int]:
        options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with ClusterScheduler(**options) as scheduler:
            scheduler.show(nodes.view)
            await until(lambda: scheduler.http_application.applications, "pages", 30)
            return await asyncio.to_thread(look, scheduler.http_server.port)

    jobs, failed = asyncio.run(main())
    assert jobs == 2000
    assert failed == sum(row.failed for row in nodes.view.rows())
