"""The page among Dask's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable

from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.views.dashboard_menu import PAGE, TITLE
from tests.scheduler.scene import page, running


def links(text: str) -> Iterable[str]:
    return [line.strip() for line in text.splitlines() if "<a href=" in line]


def test_the_navigation_of_dask_links_to_it() -> None:
    """On each of Dask's pages, and on ours, once."""

    async def main() -> None:
        async with running() as scheduler:
            for name in ("status", "workers", PAGE):
                status, text, _ = await page(scheduler, f"/{name}")
                assert status == 200
                assert links(text).count(f'<a href="{PAGE}">{TITLE}</a>') == 1

    asyncio.run(main())


def test_it_is_below_the_prefix_of_all_pages() -> None:
    """As Dask's are, for those behind a proxy."""

    async def main() -> None:
        async with running(http_prefix="/mine") as scheduler:
            assert (await page(scheduler, f"/mine/{PAGE}"))[0] == 200
            assert (await page(scheduler, "/mine/json/gridengine.json"))[0] == 200

    asyncio.run(main())


def test_two_clusters_in_a_process_have_one_link_each() -> None:
    """What is told to Dask's pages is told once."""

    async def main() -> None:
        async with running() as one, running() as other:
            for scheduler in (one, other, one):
                _, text, _ = await page(scheduler, "/status")
                assert text.count(f">{TITLE}<") == 1

    asyncio.run(main())


def test_other_clusters_of_the_process_have_no_such_page() -> None:
    """Nothing of Dask's lists of pages, which are the process's, is changed."""
    code = f"""
import asyncio, urllib.error, urllib.request
from distributed import Scheduler
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.waiting import until

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
        await until(lambda: ours.http_application.applications, "pages", 30)
        here = await asyncio.to_thread(get, ours, "status")
        there = await asyncio.to_thread(get, theirs, "status")
        page = await asyncio.to_thread(get, theirs, "{PAGE}")
        print("{TITLE}" in here, "{TITLE}" in there, page)

asyncio.run(main())
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "True False 404\n", said.stderr


def test_there_is_nothing_to_show_before_there_are_nodes() -> None:
    """A visitor of a scheduler that has none yet gets a page, not an error."""

    async def main() -> None:
        async with running() as scheduler:
            assert isinstance(scheduler, ClusterScheduler)
            assert (await page(scheduler, f"/{PAGE}"))[0] == 200

    asyncio.run(main())
