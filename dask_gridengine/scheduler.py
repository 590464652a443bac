"""Dask's Scheduler, quick to start and within reach of its own process.

Of the 0.5 s that Dask's own takes, 0.4 are the import of bokeh for a dashboard nobody
may ever look at, and as long would the first nodes wait for an address to go to.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from distributed import Scheduler
from distributed.http.utils import get_handlers
from tornado.web import Application, RequestHandler

DASHBOARD = "distributed.dashboard.scheduler"
WITHOUT_BOKEH = "distributed.http.scheduler.missing_bokeh"


class ClusterScheduler(Scheduler):  # type: ignore[misc]
    """A Scheduler that also listens within this process, its dashboard loaded late.

    Parameters
    ----------
    dashboard, dashboard_address, http_prefix
        As Dask's. The port is open from the start; the pages are loaded when somebody
        first asks for one. None shows less for that: what they draw is collected from
        when one is opened.
    **options
        All else that Dask's takes.

    Attributes
    ----------
    in_process_address
        ``inproc://...``, once it has started.
    """

    def __init__(
        self,
        *,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        http_prefix: str | None = "/",
        **options: Any,
    ) -> None:
        super().__init__(
            dashboard=False,
            dashboard_address=dashboard_address,
            http_prefix=http_prefix,
            **options,
        )
        self.in_process_address = ""
        if dashboard or (dashboard is None and dashboard_address):
            _LateDashboard(self, http_prefix)

    async def start_unsafe(self) -> ClusterScheduler:
        """Listen, to the network first: that address is *the* address."""
        await super().start_unsafe()
        await self.listen(
            "inproc://",
            allow_offload=False,
            handshake_overrides={"pickle-protocol": 4, "compression": None},
        )
        self.in_process_address = self.listeners[-1].contact_address
        return self


class _LateDashboard:
    """Stands where the dashboard will be, and fetches it for the first visitor."""

    def __init__(self, scheduler: Scheduler, prefix: str | None) -> None:
        self._scheduler, self._prefix = scheduler, prefix
        self._door = Application([(r".*", _Visit, {"dashboard": self})])
        http = scheduler.http_application
        http.add_application(self._door)
        # JupyterLab asks for this first, and Dask answers from what is loaded.
        index = (r".*/individual-plots\.json", _Visit, {"dashboard": self})
        http.add_handlers(r".*$", [index])
        self._index = http.default_router.rules[-2]  # the last one is what was there

    async def load(self) -> None:
        """Take the visitors' way to the real one; any number may ask at once."""
        try:
            # In a thread: it takes seconds from a slow file server, and there is work.
            module = await asyncio.to_thread(importlib.import_module, DASHBOARD)
        except ImportError:
            module = None
        http = self._scheduler.http_application
        if self._door not in http.applications:
            return
        http.applications.remove(self._door)
        http.default_router.rules.remove(self._index)
        if module is None:
            pages = get_handlers(self._scheduler, [WITHOUT_BOKEH], prefix=self._prefix)
            http.add_application(Application(pages))
        else:
            module.connect(
                http, self._scheduler.http_server, self._scheduler, prefix=self._prefix
            )


class _Visit(RequestHandler):  # type: ignore[misc]
    def initialize(self, dashboard: _LateDashboard) -> None:
        self._dashboard = dashboard

    async def get(self) -> None:
        await self._dashboard.load()
        # Back to the same page. Relative: a proxy may have put us below another path,
        # and what the request names must never lead to another host.
        page = self.request.path.rpartition("/")[2]
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"./{page}{query}")
