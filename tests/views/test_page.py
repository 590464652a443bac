"""The page "Grid Engine" on Dask's dashboard."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.scheduler.scheduler import ClusterScheduler
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
    assert "<script>" not in page.ends.text
    assert "&lt;script&gt;" in page.ends.text
    assert "&lt;b&gt;x" in page.head.text


def test_the_navigation_of_dask_links_to_the_page() -> None:
    """Once on each page, also with two clusters in a process."""

    async def main() -> None:
        async with running() as one, running() as other:
            for scheduler in (one, other, one):
                for name in ("status", PAGE):
                    status, text, _ = await get(scheduler, f"/{name}")
                    assert status == 200
                    assert text.count(f'<a href="{PAGE}">{TITLE}</a>') == 1

    asyncio.run(main())


def test_the_page_is_below_the_prefix_of_dasks_pages() -> None:
    """For users behind a proxy."""

    async def main() -> None:
        async with running(http_prefix="/mine") as scheduler:
            assert (await get(scheduler, f"/mine/{PAGE}"))[0] == 200
            assert (await get(scheduler, "/mine/json/gridengine.json"))[0] == 200

    asyncio.run(main())


def test_other_clusters_of_the_process_have_no_such_page() -> None:
    """Dask's lists of pages, which are the process's, do not change."""
    code = f"""
import asyncio, urllib.error, urllib.request
from distributed import Scheduler
from dask_gridengine.scheduler.scheduler import ClusterScheduler

def get(scheduler, path):
    url = f"http://127.0.0.1:{{scheduler.http_server.port}}/{{path}}"
    try:
        with urllib.request.urlopen(url) as response:
            return response.read().decode()
    except urllib.error.HTTPError as exc:
        return str(exc.code)

async def main():
    options = {{"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    async with ClusterScheduler(**options) as ours, Scheduler(**options) as theirs:
        here = await asyncio.to_thread(get, ours, "status")
        there = await asyncio.to_thread(get, theirs, "status")
        page = await asyncio.to_thread(get, theirs, "{PAGE}")
        print("{TITLE}" in here, "{TITLE}" in there, page)

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "True False 404\n", ran.stderr


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


@pytest.mark.timeout(180)
def test_two_thousand_nodes_are_drawn() -> None:
    """Without an error in the browser."""
    browser.chromium()
    nodes = many(2000, 60)

    def show(port: int) -> tuple[int, int]:
        with browser.page() as page:
            page.goto(f"http://127.0.0.1:{port}/gridengine")
            page.wait_for_function(DRAWN, timeout=60_000)
            page.get_by_text("simulated:").wait_for()
            found = page.evaluate(BARS)
            return len(found["jobs"]), found["failed"]

    async def main() -> tuple[int, int]:
        options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with ClusterScheduler(**options) as scheduler:
            scheduler.show(nodes.history)
            return await asyncio.to_thread(show, scheduler.http_server.port)

    jobs, failed = asyncio.run(main())
    assert jobs == 2000
    assert failed == sum(row.failed for row in nodes.history.rows())
