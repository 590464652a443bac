"""A cluster's state as plain values, for the live view and for other processes."""

from __future__ import annotations

import os
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from dask_gridengine._version import __version__
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.summary import NodeSummary

MAX_HOSTS = 200  # that are named: those with the most nodes


def snapshot(cluster: Any) -> dict[str, Any]:
    """Return nodes by state and host, queue times and tasks of a running cluster.

    JSON can hold it. Call it in the cluster's event loop, where nothing changes
    meanwhile.
    """
    scheduler, summary = cluster.scheduler, cluster._representation.summary
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
        "adaptive": cluster._bounds(),
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
