"""The route ``/json/gridengine.json``. Its schema is in docs/dashboard.md."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from distributed.http.utils import RequestHandler, get_handlers

from dask_gridengine.clock import steady_time
from dask_gridengine.nodes.history import JobRow, NodeHistory

VERSION = 1  # of the schema: increase it when a key is removed or its meaning changes


class NodesJSON(RequestHandler):  # type: ignore[misc]
    """Serves all nodes, or with ``?live=1`` those that have not ended."""

    async def get(self) -> None:
        live = self.get_query_argument("live", "0") not in ("0", "", "false")
        # In a thread: tens of thousands of nodes take half a second.
        text = await asyncio.to_thread(_encode, self.server.view, live)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.write(text)


def document(history: NodeHistory, *, live: bool = False) -> dict[str, Any]:
    """Return what the route serves."""
    requested = history.requested_by_pool()
    return {
        "version": VERSION,
        "time": steady_time(),
        "cluster": history.name,
        "wanted": history.requested,
        "counts": history.counts(),
        "pools": {
            pool: {"wanted": requested[pool], "counts": history.counts(pool)}
            for pool in history.registries()
        },
        "nodes": [_node(row) for row in history.rows(live=live)],
    }


def _encode(history: NodeHistory, live: bool) -> str:
    return json.dumps(document(history, live=live))


def _node(row: JobRow) -> dict[str, Any]:
    return {
        "job": str(row.id),
        "pool": row.pool or None,
        "worker": row.worker,
        "host": row.host or None,
        "queue": row.queue or None,
        "state": row.state.value,
        "entered": row.entered,
        "queue_wait_seconds": row.queue_wait,
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
    """Add the route to a scheduler's HTTP server."""
    handlers = get_handlers(scheduler, [__name__], prefix=prefix)
    scheduler.http_application.add_handlers(r".*$", handlers)
