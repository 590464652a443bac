"""The pages of Dask's HTTP server: loaded for the first visitor."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from typing import Any

import pytest

from dask_gridengine.scheduler import dashboard
from tests.scheduler.scene import page, running


async def test_the_first_visitor_gets_the_pages() -> None:
    """They are loaded then, and not at the start."""
    async with running() as scheduler:
        assert await page(scheduler, "/health") == (200, "ok", "health")
        assert "bokeh" in (await page(scheduler, "/status"))[1].lower()
        assert (await page(scheduler, "/nothing"))[0] == 404
        status, text, _ = await page(scheduler, "/individual-plots.json")
        assert status == 200
        assert "/individual-task-stream" in json.loads(text).values()


@pytest.mark.parametrize("options", [{"dashboard": False}, {"dashboard_address": None}])
async def test_there_is_no_dashboard_if_none_is_requested(
    options: dict[str, Any],
) -> None:
    """As with Dask's own."""
    async with running(**options) as scheduler:
        assert scheduler.http_application.applications == []
        assert (await page(scheduler, "/status"))[0] == 404


async def test_without_bokeh_the_page_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the command to type."""
    monkeypatch.setitem(sys.modules, dashboard.DASHBOARD, None)

    async with running() as scheduler:
        status, text, _ = await page(scheduler, "/status")
        assert status == 200
        assert "pip install" in text


async def test_the_first_visitor_stays_on_this_server() -> None:
    """The redirect is relative: below a proxy's prefix, and never to another host."""
    async with running() as scheduler:
        port = scheduler.http_server.port

        def location() -> str | None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "//another.host/status?theme=dark")
            answer = connection.getresponse()
            connection.close()
            return answer.headers["Location"]

        assert await asyncio.to_thread(location) == "./status?theme=dark"
