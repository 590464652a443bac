"""Metrics of the nodes on Dask's ``/metrics``, beside Dask's own.

Dask collects from a registry that is the process's, so one collector speaks for all
clusters in it, each by its name.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import dask.config

from dask_gridengine.nodes.history import ChangeFollower, NodeHistory, counts_of
from dask_gridengine.nodes.startup_times import BUCKETS, DelayHistogram, StartupTimes


class ClusterCounters:
    """What has been counted of one cluster; goes on where it stopped.

    Parameters
    ----------
    view
        The nodes.
    """

    def __init__(self, view: NodeHistory) -> None:
        self.view, self._follower = view, ChangeFollower(view)
        self.starts: dict[str, StartupTimes] = {}  # by pool

    def look(self) -> None:
        """Count what is new."""
        for change in self._follower.look():
            self.starts.setdefault(change.new.pool, StartupTimes()).take([change])


class Metrics:
    """A collector of `prometheus_client`: what the nodes of every cluster are at."""

    def __init__(self) -> None:
        # Whoever is counted keeps its tally, so that it goes with it.
        self._tallies: weakref.WeakSet[ClusterCounters] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._joined = False

    def join(self, registry: Any) -> None:
        """Be asked whenever that one is; once."""
        with self._lock:
            joined, self._joined = self._joined, True
        if not joined:
            registry.register(self)

    def add(self, tally: ClusterCounters) -> None:
        """Speak for this one, too, for as long as somebody keeps it."""
        with self._lock:
            self._tallies.add(tally)

    def remove(self, tally: ClusterCounters) -> None:
        """Speak no more for this one."""
        with self._lock:
            self._tallies.discard(tally)

    def describe(self) -> Sequence[Any]:
        """Nothing: what is there is known when it is asked for."""
        return []

    def collect(self) -> Iterator[Any]:
        """Answer a scrape."""
        with self._lock:
            tallies = sorted(self._tallies, key=lambda tally: tally.view.name)
        for tally in tallies:
            tally.look()
        yield from _families(tallies)


_METRICS = Metrics()


def connect(view: NodeHistory) -> ClusterCounters | None:
    """Have ``/metrics`` tell of these nodes, too; whoever calls keeps the tally.

    Returns
    -------
    Tally or None
        None where `prometheus_client` is not installed, or Dask does not use it: it
        is not loaded for this.
    """
    client = sys.modules.get("prometheus_client")
    if client is None:
        return None
    _METRICS.join(client.REGISTRY)
    tally = ClusterCounters(view)
    _METRICS.add(tally)
    return tally


def disconnect(tally: ClusterCounters | None) -> None:
    """Tell of these nodes no more."""
    if tally is not None:
        _METRICS.remove(tally)


def _families(tallies: Sequence[ClusterCounters]) -> Iterator[Any]:
    from prometheus_client import core

    nodes = core.GaugeMetricFamily(
        _name("nodes"), "Nodes by state", labels=["cluster", "pool", "state"]
    )
    wanted = core.GaugeMetricFamily(
        _name("nodes_wanted"),
        "How many nodes there shall be",
        labels=["cluster", "pool"],
    )
    submitted = core.CounterMetricFamily(
        _name("nodes_submitted"), "Nodes asked of the grid", labels=["cluster", "pool"]
    )
    ended = core.CounterMetricFamily(
        _name("nodes_ended"),
        "Nodes that are gone, by cause",
        labels=["cluster", "pool", "cause", "failed"],
    )
    for tally in tallies:
        name = tally.view.name
        for pool, count in tally.view.wanted_of().items():
            wanted.add_metric([name, pool], count)
        for pool, registry in tally.view.rosters().items():
            for state, count in counts_of(registry).items():
                if state != "gone":
                    nodes.add_metric([name, pool, state], count)
            submitted.add_metric([name, pool], registry.total)
            # Counters may not go down: each counts by the cause that was known first.
            for cause, count in list(registry.ended.items()):
                if cause is not None:
                    failed = str(cause.is_failure).lower()
                    ended.add_metric([name, pool, cause.value, failed], count)
    yield from (nodes, wanted, submitted, ended)
    for what, said in _DELAYS.items():
        family = core.HistogramMetricFamily(
            _name(f"{what}_seconds"), said, labels=["cluster", "pool"]
        )
        for tally in tallies:
            for pool, starts in tally.starts.items():
                delays = starts.wait if what == "queue_wait" else starts.startup
                buckets = _cumulative(delays)
                labels = [tally.view.name, pool]
                family.add_metric(labels, buckets, sum_value=delays.total)
        yield family


_DELAYS = {
    "queue_wait": "Time of nodes in the grid's queue",
    "startup": "Time from a node's first moment until the scheduler had its worker",
}


def _cumulative(delays: DelayHistogram) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(BUCKETS, delays.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == BUCKETS[-1] else str(float(bound)), total))
    return buckets


def _name(name: str) -> str:
    """As Dask names its own; ``dask_gridengine_...`` if nothing is configured."""
    namespace = dask.config.get("distributed.dashboard.prometheus.namespace")
    return "_".join(filter(None, [namespace, "gridengine", name]))
