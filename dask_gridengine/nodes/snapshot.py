"""A cluster as it is now, in plain values: what its live view and other processes show.

Made in the cluster's event loop, where nothing changes meanwhile.
"""

from __future__ import annotations

import os
import socket
import statistics
from collections import Counter, defaultdict
from typing import Any

from dask_gridengine._version import __version__
from dask_gridengine.clock import steady_time
from dask_gridengine.nodes.registry import NodeState

HOSTS_TOLD = 200  # with the most nodes; the rest are counted
RECENT = 50  # arrivals whose wait in the queue is told


def snapshot(cluster: Any) -> dict[str, Any]:
    """What people ask first: nodes by state, hosts, wait in the queue, tasks.

    Parameters
    ----------
    cluster
        A `GridEngineCluster` that has started.

    Returns
    -------
    dict
        JSON can hold it. ``states`` and ``hosts`` count nodes; in ``queue`` are
        seconds, None where nothing is known; ``tasks`` counts Dask's.
    """
    rows = cluster.jobs()
    scheduler = cluster.scheduler
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
        "hosts": _hosts(rows),
        "queue": _queue(rows),
        "workers": len(scheduler.workers),
        "threads": scheduler.total_nthreads,
        "tasks": tasks(scheduler),
    }


def tasks(scheduler: Any) -> dict[str, int]:
    """How many tasks workers have, wait, are done and have failed.

    Waiting are those that wait for a worker or for other tasks; done are those whose
    result is in memory.
    """
    states: Counter[str] = Counter()
    for group in scheduler.task_groups.values():
        states.update(group.states)
    return {
        "processing": states["processing"],
        "waiting": states["waiting"] + states["queued"] + states["no-worker"],
        "done": states["memory"],
        "failed": states["erred"],
    }


def _hosts(rows: Any) -> dict[str, dict[str, int]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.host and row.state is not NodeState.GONE:
            found[row.host][row.state.value] += 1
    most = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return {host: dict(counts) for host, counts in most[:HOSTS_TOLD]}


def _queue(rows: Any) -> dict[str, float | int | None]:
    now = steady_time()
    queued = [now - row.submitted for row in rows if row.state is NodeState.QUEUED]
    waited = [row.arrived - row.submitted for row in rows if row.arrived is not None]
    recent = waited[-RECENT:]
    return {
        "waiting": len(queued),
        "longest": max(queued, default=None),
        "median_wait": statistics.median(recent) if recent else None,
    }
