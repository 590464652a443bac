"""Metrics of the nodes on Dask's ``/metrics`` route.

Dask collects from a registry that the whole process shares. So one collector reports
all clusters of the process, each with its name as a label.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
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
        for summary in self._pools.values():
            summary.update()
        return self._pools


class Collector:
    """Reports to `prometheus_client` on every cluster that is connected."""

    def __init__(self) -> None:
        # Weak: a cluster without other references is not reported.
        self._counters: weakref.WeakSet[ClusterCounters] = weakref.WeakSet()
        self._lock = threading.Lock()
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
        families = _Families()
        for each in counters:
            families.add(each)
        yield from families.all


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


class _Families:
    """The metrics of one scrape."""

    def __init__(self) -> None:
        from prometheus_client import core

        self.all: list[Any] = []
        gauge, counter = core.GaugeMetricFamily, core.CounterMetricFamily
        self._nodes = self._family(gauge, "nodes", "Nodes by state", "state")
        self._requested = self._family(gauge, "nodes_wanted", "Requested nodes")
        self._submitted = self._family(counter, "nodes_submitted", "Submitted nodes")
        self._ended = self._family(
            counter, "nodes_ended", "Ended nodes by cause", "cause", "failed"
        )
        self._queue_wait = self._family(
            core.HistogramMetricFamily,
            "queue_wait_seconds",
            "Time of nodes in the grid's queue",
        )
        self._startup = self._family(
            core.HistogramMetricFamily,
            "startup_seconds",
            "Time from a node's first moment until its worker registered",
        )

    def _family(self, kind: Callable[..., Any], name: str, *texts: str) -> Any:
        """Make a metric; the name begins as those of Dask do."""
        namespace = dask.config.get("distributed.dashboard.prometheus.namespace")
        full = "_".join(filter(None, [namespace, "gridengine", name]))
        family = kind(full, texts[0], labels=["cluster", "pool", *texts[1:]])
        self.all.append(family)
        return family

    def add(self, counters: ClusterCounters) -> None:
        history = counters.history
        for pool, count in history.requested_by_pool().items():
            self._requested.add_metric([history.name, pool], count)
        for pool, registry in history.registries().items():
            labels = [history.name, pool]
            for state, count in history.counts(pool).items():
                if state != "gone":
                    self._nodes.add_metric([*labels, state], count)
            self._submitted.add_metric(labels, registry.total)
            # A counter must not go down: each node counts by its first known cause.
            for cause, count in list(registry.ended.items()):
                if cause is not None:
                    ended = [*labels, cause.value, str(cause.is_failure).lower()]
                    self._ended.add_metric(ended, count)
        for pool, summary in counters.update().items():
            labels = [history.name, pool]
            for family, delays in (
                (self._queue_wait, summary.queue_wait),
                (self._startup, summary.startup),
            ):
                family.add_metric(labels, _cumulative(delays), delays.total)


def _cumulative(delays: Delays) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(BUCKETS, delays.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == BUCKETS[-1] else str(float(bound)), total))
    return buckets
