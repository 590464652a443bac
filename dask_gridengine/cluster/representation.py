"""How a cluster shows itself: in one line, and in a notebook."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes
from distributed.core import Status

from dask_gridengine.cluster.adaptive import AdaptivePools
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.notebook import (
    WorkerResources,
    interesting_lines,
    one_line,
    table,
    worker_resources,
)

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

REASONS_AGAIN = 5.0  # seconds until `explain` is called again: it reads every node
LOG_LINES = 20  # of the cluster's log in a notebook


class Representation:
    """Text and HTML of a cluster, in any state and in any thread."""

    def __init__(self, cluster: GridEngineCluster) -> None:
        self._cluster = cluster
        self.summary = NodeSummary(cluster.view)
        self._explained: tuple[tuple[int, ...], float, list[str]] = (), 0.0, []

    def line(self) -> str:
        """The cluster in one line."""
        # Not Dask's, which iterates over a dict that the event loop changes.
        cluster = self._cluster
        infos = cluster._infos
        total = sum(worker_resources(infos).values(), WorkerResources())
        line = (
            f"{type(cluster).__name__}({cluster.name}, {cluster.scheduler_address!r},"
            f" workers={len(infos)}, threads={total.threads}"
        )
        if all(info["memory_limit"] for info in infos):
            line += f", memory={format_bytes(total.memory)}"
        if not cluster._pools:
            return f"{line})"
        closed = "closed, " if cluster.status is Status.closed else ""
        watchers = cluster._lifecycle.watchers
        paused = watchers.blocked.paused if watchers else 0
        queues = ", ".join(self._why_nodes_queue())
        nodes = one_line(self.summary, self.bounds(), paused=paused, queue=queues)
        return f"{'; '.join([line, closed + nodes, *cluster._hints()])})"

    def _why_nodes_queue(self) -> list[str]:
        reports = [pool.reports for pool in self._cluster._pools.values()]
        reasons = (reason for report in reports for reason in report.reasons)
        return list(dict.fromkeys(reason.partition(":")[0] for reason in reasons))

    def bounds(self) -> str:
        """Limits of adaptive scaling, in nodes; "" without it."""
        adaptive = self._cluster._adaptive
        if adaptive is None or not adaptive.periodic_callback:
            return ""
        if not isinstance(adaptive, AdaptivePools):
            return _nodes(adaptive, self._cluster.pool())
        pools = list(adaptive.items())  # one step: another thread may end one of them
        limits = {name: _nodes(each, self._cluster.pool(name)) for name, each in pools}
        return ", ".join(f"{name} {limit}" for name, limit in limits.items())

    def scaling(self) -> str:
        """How the number of nodes is decided."""
        if self._cluster.status is Status.closed:
            return "closed"
        if bounds := self.bounds():
            return f"adaptive, {bounds} nodes"
        return f"kept at {self._cluster.view.requested}"

    def html(self) -> str:
        """The cluster in a notebook, with the end of its log."""
        cluster = self._cluster
        closed = cluster.status is Status.closed
        log = [text for _, text in cluster._cluster_manager_logs][-LOG_LINES:]
        return table(
            self.summary,
            kind=type(cluster).__name__,
            link=cluster.dashboard_link.replace("/status", "/gridengine"),
            address="" if closed else cluster.scheduler_address,
            # When it closes, Dask keeps the last ones.
            workers={} if closed else worker_resources(cluster._infos),
            scaling=self.scaling(),
            reasons=self._reasons(),
            log="\n".join(log),
        )

    def _reasons(self) -> list[str]:
        if self._cluster._lifecycle.watchers is None:
            return []  # it is starting, or could not start
        view, now = self._cluster.view, time.monotonic()
        stamp = (view.requested, *view.counts().values())
        if self._explained[0] != stamp or now - self._explained[1] > REASONS_AGAIN:
            self._explained = stamp, now, interesting_lines(self._cluster.explain())
        return self._explained[2]


def _nodes(adaptive: Any, pool: NodePool) -> str:
    """Limits in nodes; Dask counts workers."""
    processes = pool.options.processes
    least, most = math.ceil(adaptive.minimum / processes), adaptive.maximum
    return f"{least} to {most // processes if math.isfinite(most) else 'any'}"
