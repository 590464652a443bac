"""The pages of Dask's HTTP server: added shortly after the start."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from dask_gridengine.scheduler import dashboard
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.loops import in_loop
from tests.scheduler.scene import page, running


@in_loop
async def test_an_early_visitor_gets_the_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are loaded then, and not at the start."""
    monkeypatch.setattr(dashboard, "DELAY", 60.0)
    async with running() as scheduler:
        assert await page(scheduler, "/health") == (200, "ok", "health")
        assert "bokeh" in (await page(scheduler, "/status"))[1].lower()
        assert (await page(scheduler, "/nothing"))[0] == 404
        status, text, _ = await page(scheduler, "/individual-plots.json")
        assert status == 200
        assert "/individual-task-stream" in json.loads(text).values()


@pytest.mark.parametrize("options", [{"dashboard": False}, {"dashboard_address": None}])
@in_loop
async def test_there_is_no_dashboard_if_none_is_requested(
    options: dict[str, Any],
) -> None:
    """As with Dask's own."""
    async with running(**options) as scheduler:
        assert scheduler.http_application.applications == []
        assert (await page(scheduler, "/status"))[0] == 404


@in_loop
async def test_without_bokeh_the_page_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the command to type."""
    monkeypatch.setitem(sys.modules, dashboard.DASHBOARD, None)

    async with running() as scheduler:
        status, text, _ = await page(scheduler, "/status")
        assert status == 200
        assert "pip install" in text


@in_loop
async def test_a_scheduler_closes_before_its_pages_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is left to do."""
    monkeypatch.setattr(dashboard, "DELAY", 60.0)

    async with ClusterScheduler(host="127.0.0.1", dashboard_address="127.0.0.1:0"):
        pass
