"""The cluster's pages on the HTTP server of Dask's scheduler.

To import bokeh takes 0.4 s, during which the first nodes would wait for an answer. So
the pages that are drawn with it are added for the first visitor. Rejected: some seconds
after the start, which slowed the start of 16 nodes on two cores by a tenth.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from distributed import Scheduler
from distributed.http.utils import get_handlers
from tornado.web import Application, RequestHandler

from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.views import json_api, prometheus

DASHBOARD = "distributed.dashboard.scheduler"
OUR_PAGE = "dask_gridengine.views.page"
WITHOUT_BOKEH = "distributed.http.scheduler.missing_bokeh"


class Dashboard:
    """Serve JSON and metrics from the start, and pages from the first visit on."""

    def __init__(
        self, scheduler: Scheduler, prefix: str | None, *, pages: bool
    ) -> None:
        self._scheduler, self._prefix, self._pages = scheduler, prefix, pages
        self._loading: asyncio.Task[None] | None = None
        self._counters: prometheus.ClusterCounters | None = None
        json_api.connect(scheduler, prefix)

    def show(self, view: NodeHistory) -> None:
        """Add the metrics of these nodes."""
        self._counters = prometheus.connect(view)

    def start(self) -> None:
        """Have the first visitor load the pages."""
        if self._pages:
            first_visit = (r".*", _FirstVisit, {"dashboard": self})
            self._placeholder = Application([first_visit])
            self._scheduler.http_application.add_application(self._placeholder)

    def close(self) -> None:
        """Stop to load pages, and remove the metrics."""
        if self._loading is not None:
            self._loading.cancel()
        prometheus.disconnect(self._counters)

    async def load(self) -> None:
        """Load the pages; concurrent requests wait for the same load."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        http = self._scheduler.http_application
        try:
            await self._add_pages(http)
        finally:
            http.applications.remove(self._placeholder)

    async def _add_pages(self, http: Any) -> None:
        try:
            # In a thread: from a slow file server it takes seconds.
            dask, ours = await in_thread(_import, DASHBOARD, OUR_PAGE)
        except ImportError:
            pages = get_handlers(self._scheduler, [WITHOUT_BOKEH], prefix=self._prefix)
            http.add_application(Application(pages))
            return
        server = self._scheduler.http_server
        dask.connect(http, server, self._scheduler, prefix=self._prefix)
        ours.connect(self._scheduler, self._prefix)


class _FirstVisit(RequestHandler):  # type: ignore[misc]
    """Answer requests that arrive before the pages are loaded."""

    def initialize(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard

    async def get(self) -> None:
        """Load the pages, and send the visitor to the same address again.

        The address is relative: a proxy may have put a prefix before it.
        """
        await self._dashboard.load()
        page, query = self.request.path.rpartition("/")[2], self.request.query
        self.redirect(f"./{page}" + (f"?{query}" if query else ""))


def _import(*names: str) -> list[Any]:
    return [importlib.import_module(name) for name in names]
