"""Answer requests of the user's other processes: the command line, or `connect`.

Only the user can read the key in the connection file. See `dask_gridengine.cli.client`
for the other side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from distributed.core import Status

from dask_gridengine._version import __version__
from dask_gridengine.bootstrap.certificates import client_identity
from dask_gridengine.bootstrap.messages import ControlReply, ControlRequest
from dask_gridengine.errors import ClusterNotRunning, GridEngineError
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.listen_addresses import contact
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.reconcile.drain import drain_cluster

logger = logging.getLogger(__name__)

LOG_CHARACTERS = 200_000  # at the end of one log: messages are limited
MAX_HOSTS = 200  # in a snapshot: those with the most nodes


class ControlHandler:
    """Answers requests, in the event loop of the cluster.

    ===========  ==================================================================
    ``status``   what `snapshot` returns
    ``explain``  ``text``, of `GridEngineCluster.explain`
    ``logs``     ``logs``: text by worker, node, or part of the cluster
    ``client``   what a client needs: ``address``, and ``tls``, an identity or None
    ``drain``    nothing; the cluster lets running tasks end, and closes
    ``close``    nothing; the cluster closes at once
    ===========  ==================================================================
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._ending: asyncio.Task[None] | None = None

    async def answer(self, ask: ControlRequest) -> ControlReply:
        """Answer one request, or tell why that is impossible."""
        body: dict[str, Any] = {}
        error = ""
        try:
            body = await self._body(ask)
        except GridEngineError as exc:
            error = str(exc)
        return ControlReply(process_token=ask.process_token, body=body, error=error)

    async def _body(self, ask: ControlRequest) -> dict[str, Any]:
        match ask.what:
            case "status":
                return snapshot(self._cluster)
            case "explain":
                return {"text": self._cluster.explain(ask.about or None)}
            case "logs":
                return {"logs": await self._logs(ask.about)}
            case "client":
                return self._client(ask.via)
            case "drain" | "close":
                return self._end(ask.what)
        raise GridEngineError(f"Unknown request {ask.what!r}: sent by another version")

    async def _logs(self, about: str) -> dict[str, str]:
        cluster = self._cluster
        if not about:
            found = await cluster.get_logs()
        else:
            cluster.explain(about)  # raises if there is no such node
            rows = [row for row in cluster.jobs() if about in row.id.names]
            workers = [row.worker for row in rows if row.worker]
            found = await cluster.get_logs(False, False, [about, *workers])
        names = {a: ws.name for a, ws in cluster.scheduler.workers.items()}
        logs = {}
        for source, log in found.items():
            of_dask = source in names or source == "Scheduler"
            text = oldest_first(log) if of_dask else log
            logs[names.get(source, source)] = text[-LOG_CHARACTERS:]
        return logs

    def _client(self, via: str) -> dict[str, Any]:
        cluster = self._cluster
        if cluster.status is not Status.running:
            raise ClusterNotRunning(cluster.name, cluster.status.name)
        identity = client_identity(cluster.security)
        return {
            "address": contact(cluster.options, cluster.scheduler, via),
            "tls": None if identity is None else dict(vars(identity)),
        }

    def _end(self, how: str) -> dict[str, Any]:
        """Answer at once: the connection of the answer closes with the cluster."""
        if self._ending is None or how == "close":
            logger.warning("%s was ended by its user (%s)", self._cluster.name, how)
            self._ending = asyncio.create_task(self._close(drained=how == "drain"))
        return {}

    async def _close(self, *, drained: bool) -> None:
        try:
            if drained:
                await drain_cluster(self._cluster)
        finally:
            # Also if draining failed: the user has asked for the end.
            await self._cluster.close()


def oldest_first(log: str) -> str:
    """Reverse the entries of a log: Dask's servers return the newest first.

    Examples
    --------
    >>> print(oldest_first("2026-01-02 b\\n  more\\n2026-01-01 a"))
    2026-01-01 a
    2026-01-02 b
      more
    """
    entries = re.split(r"\n(?=\d{4}-\d\d-\d\d[ T])", log)
    return "\n".join(reversed(entries))


def snapshot(cluster: Any) -> dict[str, Any]:
    """Return nodes by state and host, queue times and tasks of a running cluster.

    JSON can hold it. Call it in the cluster's event loop, where nothing changes
    meanwhile.
    """
    scheduler, summary = cluster.scheduler, cluster.summary
    summary.update()
    return {
        "name": cluster.name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": __version__,
        "launcher": cluster.launcher_description,
        "scheduler": scheduler.address,
        "dashboard": cluster.dashboard_link,
        "wanted": cluster.wanted,
        "adaptive": cluster.adaptive.bounds(cluster.pools),
        "states": dict(cluster.counts),
        "hosts": _hosts(summary.live.values()),
        "queue": _queue(summary),
        "workers": len(scheduler.workers),
        "threads": scheduler.total_nthreads,
        "tasks": _tasks(scheduler),
    }


def _hosts(rows: Iterable[JobRow]) -> dict[str, dict[str, int]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.host:
            found[row.host][row.state.value] += 1
    most = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return {host: dict(counts) for host, counts in most[:MAX_HOSTS]}


def _queue(summary: NodeSummary) -> dict[str, float | int | None]:
    return {
        "waiting": len(summary.in_states("queued")),
        "longest": summary.longest_wait(),  # seconds, as is the next
        "median_wait": summary.queue_wait.median(),
    }


def _tasks(scheduler: Any) -> dict[str, int]:
    """Count tasks: waiting for a worker or other tasks, done if the result is held."""
    states: Counter[str] = Counter()
    for group in scheduler.task_groups.values():
        states.update(group.states)
    return {
        "processing": states["processing"],
        "waiting": states["waiting"] + states["queued"] + states["no-worker"],
        "done": states["memory"],
        "failed": states["erred"],
    }
