"""How a cluster shows itself: in one line, in a notebook, as a picture of its run."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from dask.utils import format_bytes
from distributed.core import Status

from dask_gridengine.cluster.adaptive import AdaptivePools
from dask_gridengine.cluster.pool import Pool
from dask_gridengine.cluster.reconciled import ReconciledCluster
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.notebook import (
    WorkerResources,
    interesting_lines,
    one_line,
    table,
    worker_resources,
)

REASONS_AGAIN = 5.0  # seconds until what `explain` says is asked anew, for pictures
LOG_LINES = 20  # of the cluster's log that a picture without a kernel has


class ShownCluster(ReconciledCluster):
    """A cluster with Dask's ways of showing one, that know of nodes."""

    def __repr__(self) -> str:
        # Not Dask's, which iterates over what the event loop changes meanwhile.
        infos = self._infos
        has = sum(worker_resources(infos).values(), WorkerResources())
        line = (
            f"{type(self).__name__}({self.name}, {self.scheduler_address!r},"
            f" workers={len(infos)}, threads={has.threads}"
        )
        if all(info["memory_limit"] for info in infos):
            line += f", memory={format_bytes(has.memory)}"
        if (standing := self._summary()) is None:
            return f"{line})"
        over = "closed, " if self.status is Status.closed else ""
        paused = self._waiting.paused if hasattr(self, "_waiting") else 0
        queues = ", ".join(self._why_queued())
        nodes = one_line(standing, self._bounds(), paused=paused, queue=queues)
        return f"{'; '.join([line, over + nodes, *self._hints()])})"

    def _why_queued(self) -> list[str]:
        """Why nodes queue, in a few words each."""
        fleets = [pool.fleet for pool in self._pools.values()]
        reasons = (reason for fleet in fleets for reason in fleet.reports.reasons)
        return list(dict.fromkeys(reason.partition(":")[0] for reason in reasons))

    @property
    def _cluster_class_name(self) -> str:
        # Dask takes a cluster's name for that of its class.
        return type(self).__name__

    def timeline(self, path: str | Path | None = None) -> Any:
        """Draw the run: a bar for each node, coloured by what it was at.

        Below it stands how many nodes were in each state. Also after `close`.

        Parameters
        ----------
        path
            Where to save it, too, as ``.html``; it needs no network to be looked at.

        Returns
        -------
        bokeh.models.Model
            For ``bokeh.io.show``; in a notebook after ``bokeh.io.output_notebook``.

        Raises
        ------
        OptionError
            If bokeh is not installed, or `path` does not end in ``.html``.
        ClusterNotRunning
            If the cluster has not started.
        """
        self._require_started()
        from dask_gridengine.views.timeline import draw, save

        picture = draw(self.view)
        if path is not None:
            save(picture, Path(path), title=f"{type(self).__name__} {self.name}")
        return picture

    def _summary(self) -> NodeSummary | None:
        """How the nodes stand; None while the cluster is not open yet."""
        view = getattr(self, "view", None)
        if view is not None and getattr(self, "_stands", None) is None:
            self._stands = NodeSummary(view)
        return getattr(self, "_stands", None)

    def _bounds(self) -> str:
        """Of adaptive scaling, in nodes; "" without it."""
        adaptive = getattr(self, "_adaptive", None)
        if adaptive is None or not adaptive.periodic_callback:
            return ""
        if not isinstance(adaptive, AdaptivePools):
            (only,) = self._pools.values()
            return _nodes(adaptive, only)
        kinds = list(adaptive.items())  # one step: another thread may end one of them
        of = {name: _nodes(each, self.pool(name)) for name, each in kinds}
        return ", ".join(f"{name} {said}" for name, said in of.items())

    def _scaling(self) -> str:
        if self.status is Status.closed:
            return "closed"
        if bounds := self._bounds():
            return f"adaptive, {bounds} nodes"
        return f"kept at {self.view.requested}"

    def _repr_html_(self, cluster_status: Any = None) -> str:
        if (standing := self._summary()) is None:
            return str(super()._repr_html_(cluster_status))
        return self._table(standing, log=self._own_log(LOG_LINES))

    def _table(self, standing: NodeSummary, log: str = "") -> str:
        return table(
            standing,
            kind=type(self).__name__,
            link=self.dashboard_link.replace("/status", "/gridengine"),
            address="" if self.status is Status.closed else self.scheduler_address,
            # Dask leaves the last ones there when it closes.
            workers={} if self.status is Status.closed else self._means(),
            scaling=self._scaling(),
            reasons=self._reasons(standing),
            log=log,
        )

    def _means(self) -> dict[str, WorkerResources]:
        return worker_resources(self._infos)

    def _reasons(self, standing: NodeSummary) -> list[str]:
        """What `explain` says; it looks at every node, so not at each glance."""
        if not hasattr(self, "_waiting"):
            return []  # it is starting, or could not start
        now, kept = time.monotonic(), getattr(self, "_explained", None)
        stamp = (self.view.requested, *self.view.counts().values())
        if kept is None or kept[0] != stamp or now - kept[1] > REASONS_AGAIN:
            kept = self._explained = (stamp, now, interesting_lines(self.explain()))
        lines: list[str] = kept[2]
        return lines

    def _own_log(self, most: int) -> str:
        lines = [text for _, text in self._cluster_manager_logs]
        return "\n".join(lines[-most:])

    def _scaling_status(self) -> str:
        # Beside the controls of Dask's widget, which counts workers only.
        return f"<p>{self._scaling()}</p>" if self._summary() else ""

    def _widget(self) -> Any:
        # Dask's controls cannot name a pool.
        return None if self.options.pools else super()._widget()


def _nodes(adaptive: Any, pool: Pool) -> str:
    """Between how many nodes; Dask counts workers."""
    processes = pool.options.processes
    least, most = math.ceil(adaptive.minimum / processes), adaptive.maximum
    return f"{least} to {most // processes if math.isfinite(most) else 'any'}"
