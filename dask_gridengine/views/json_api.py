"""``/json/gridengine.json``: the nodes, for machines. Its schema is in
docs/dashboard.md, and changes only with ``version``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from distributed.http.utils import RequestHandler, get_handlers

from dask_gridengine.clock import steady_time
from dask_gridengine.nodes.history import NodeHistory, NodeRow, counts_of

VERSION = 1  # of the schema: goes up when something is taken away or means another


class NodesJSON(RequestHandler):  # type: ignore[misc]
    """All nodes, or with ``?live=1`` those that are not gone."""

    async def get(self) -> None:
        """Answer; as Dask's routes, to whoever reaches the dashboard."""
        live = self.get_query_argument("live", "0") not in ("0", "", "false")
        # Tens of thousands of nodes take half a second: tasks must not wait for that.
        text = await asyncio.to_thread(encoded, self.server.view, live)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.write(text)


def encoded(view: NodeHistory, live: bool) -> str:
    """What the route answers, as text."""
    return json.dumps(document(view, live=live))


def document(view: NodeHistory, *, live: bool = False) -> dict[str, Any]:
    """What the route answers."""
    wanted = view.wanted_of()
    return {
        "version": VERSION,
        "time": steady_time(),
        "cluster": view.name,
        "wanted": view.wanted,
        "counts": view.counts(),
        "pools": {
            name: {"wanted": wanted[name], "counts": counts_of(registry)}
            for name, registry in view.rosters().items()
        },
        "nodes": [node(row) for row in view.rows(live=live)],
    }


def node(row: NodeRow) -> dict[str, Any]:
    """One node; what is not known is null."""
    return {
        "job": row.job,
        "pool": row.pool or None,
        "worker": row.worker or None,
        "host": row.host or None,
        "queue": row.queue or None,
        "state": row.state,
        "entered": row.entered,
        "queue_wait_seconds": row.wait,
        "startup_seconds": row.startup,
        "cause": row.cause or None,
        "cause_known_from": row.source or None,
        "failed": row.failed,
        "restarts": row.restarts,
        "peak_memory_bytes": row.peak_memory or None,
    }


routes: list[tuple[str, type, dict[str, Any]]] = [
    (r"json/gridengine.json", NodesJSON, {})
]


def connect(scheduler: Any, prefix: str | None) -> None:
    """Serve it from a scheduler."""
    handlers = get_handlers(scheduler, [__name__], prefix=prefix)
    scheduler.http_application.add_handlers(r".*$", handlers)
