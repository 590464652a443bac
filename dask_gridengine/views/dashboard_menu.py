"""Puts the page "Grid Engine" beside Dask's own, and into their navigation.

Loads bokeh, so only for the first visitor of any page.
"""

from __future__ import annotations

from typing import Any

from distributed.dashboard.components.scheduler import env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from tornado.ioloop import IOLoop

from dask_gridengine.views.page import gridengine_doc

PAGE = "gridengine"  # in the address, and in Dask's list of pages
TITLE = "Grid Engine"


def connect(scheduler: Any, prefix: str | None) -> None:
    """Serve the page from a scheduler whose dashboard is there, and link to it.

    An application of its own: Dask's list of them is the process's, and other
    clusters in it have no such nodes.

    Parameters
    ----------
    scheduler
        A `ClusterScheduler` with a view.
    prefix
        Of all paths, as Dask's `http_prefix`.
    """
    _call_it_so()
    variables = template_variables(scheduler)  # Dask's pages have this very dict's list
    if PAGE not in variables["pages"]:
        variables["pages"].insert(1, PAGE)
    application = BokehApplication(
        {f"/{PAGE}": gridengine_doc},
        scheduler,
        prefix=prefix,
        template_variables=variables,
    )
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()


def _call_it_so() -> None:
    """Have Dask's navigation, which makes titles of addresses, name the page."""
    plain = env.filters["title"]
    if getattr(plain, "page", None) != PAGE:

        def title(word: str) -> str:
            return TITLE if word == PAGE else str(plain(word))

        title.page = PAGE  # type: ignore[attr-defined]
        env.filters["title"] = title
