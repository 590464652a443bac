"""Metrics of the nodes on Dask's ``/metrics`` route.

Dask collects from a registry that the whole process shares. So one collector reports
all clusters of the process, each with its name as a label.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import dask.config

from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.nodes.summary import BUCKETS, Delays, NodeSummary


class ClusterCounters:
    """The delays of one cluster's nodes, by pool; a scrape updates them."""

    def __init__(self, history: NodeHistory) -> None:
        self.history = history
        self._pools: dict[str, NodeSummary] = {}

    def update(self) -> dict[str, NodeSummary]:
        for pool in self.history.registries():
            if pool not in self._pools:
                self._pools[pool] = NodeSummary(self.history, pool=pool)
            self._pools[pool].update()
        return self._pools


class Collector:
    """Reports to `prometheus_client` on every cluster that is connected."""

    def __init__(self) -> None:
        # Weak: a cluster without other references is not reported.
        self._counters: weakref.WeakSet[ClusterCounters] = weakref.WeakSet()
        self._lock = threading.Lock()  # clusters have threads of their own
        self._registered = False

    def add(self, counters: ClusterCounters, registry: Any) -> None:
        with self._lock:
            self._counters.add(counters)
            registered, self._registered = self._registered, True
        if not registered:
            registry.register(self)

    def discard(self, counters: ClusterCounters) -> None:
        with self._lock:
            self._counters.discard(counters)

    def describe(self) -> Sequence[Any]:
        return []  # the registry would call `collect` to find out

    def collect(self) -> Iterator[Any]:
        """Answer one scrape."""
        with self._lock:
            counters = sorted(self._counters, key=lambda each: each.history.name)
        yield from _families(counters)


COLLECTOR = Collector()


def connect(history: NodeHistory) -> ClusterCounters | None:
    """Report these nodes, for as long as the caller keeps what is returned.

    None where Dask does not use `prometheus_client`: it is not imported for this.
    """
    client = sys.modules.get("prometheus_client")
    if client is None:
        return None
    counters = ClusterCounters(history)
    COLLECTOR.add(counters, client.REGISTRY)
    return counters


def disconnect(counters: ClusterCounters | None) -> None:
    """Stop reporting these nodes."""
    if counters is not None:
        COLLECTOR.discard(counters)


def _families(all_counters: Sequence[ClusterCounters]) -> list[Any]:
    """Make the metrics of one scrape."""
    nodes = _family("Gauge", "nodes", "Nodes by state", "state")
    requested = _family("Gauge", "nodes_wanted", "Requested nodes")
    submitted = _family("Counter", "nodes_submitted", "Submitted nodes")
    ended = _family("Counter", "nodes_ended", "Ended nodes", "cause", "failed")
    queue_wait = _family("Histogram", "queue_wait_seconds", "Time in the grid's queue")
    startup = _family(
        "Histogram",
        "startup_seconds",
        "Time from a node's first moment until its worker registered",
    )
    for counters in all_counters:
        history = counters.history
        for pool, count in history.requested_by_pool().items():
            requested.add_metric([history.name, pool], count)
        for pool, summary in counters.update().items():
            labels = [history.name, pool]
            for state, count in history.counts(pool).items():
                if state != "gone":
                    nodes.add_metric([*labels, state], count)
            registry = history.registries()[pool]
            submitted.add_metric(labels, registry.total)
            # A counter must not go down: each node counts by its first known cause.
            for cause, count in list(registry.ended.items()):
                if cause is not None:
                    failed = str(cause.is_failure).lower()
                    ended.add_metric([*labels, cause.value, failed], count)
            for family, delays in (
                (queue_wait, summary.queue_wait),
                (startup, summary.startup),
            ):
                family.add_metric(labels, _cumulative(delays), delays.total)
    return [nodes, requested, submitted, ended, queue_wait, startup]


def _family(kind: str, name: str, text: str, *labels: str) -> Any:
    """Make a metric whose name begins as those of Dask do."""
    from prometheus_client import core

    namespace = dask.config.get("distributed.dashboard.prometheus.namespace")
    full = "_".join(filter(None, [namespace, "gridengine", name]))
    make = getattr(core, f"{kind}MetricFamily")
    return make(full, text, labels=["cluster", "pool", *labels])


def _cumulative(delays: Delays) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(BUCKETS, delays.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == BUCKETS[-1] else str(float(bound)), total))
    return buckets
