"""Seconds in buckets."""

from __future__ import annotations

import math

from dask_gridengine.nodes.history import ChangeFollower
from dask_gridengine.nodes.startup_times import BUCKETS, DelayHistogram, StartupTimes
from tests.simulated import Nodes


def test_buckets_go_up_to_everything() -> None:
    """Whatever takes how long, it is counted somewhere."""
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert BUCKETS[-1] == math.inf
    delays = DelayHistogram()
    for seconds in (0.0, 1.0, 1.1, 1e9):
        delays.add(seconds)
    assert len(delays) == 4
    assert delays.counts[BUCKETS.index(1)] == 1  # a bound belongs to what is below it
    assert delays.counts[BUCKETS.index(2)] == 1
    assert delays.total == 1e9 + 2.1
    assert delays.median() == 1.05


def test_nothing_has_no_median() -> None:
    """Rather than one of zero seconds."""
    assert DelayHistogram().median() is None


def test_each_node_counts_once() -> None:
    """However often it changes afterwards."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    follower, starts = ChangeFollower(nodes.view), StartupTimes()
    for step in (nodes.arrive, nodes.work, nodes.end):
        nodes.clock.now += 10
        step(record)
        starts.take(follower.look())
        assert len(starts.wait) == 1
    assert (len(starts.startup), starts.startup.total) == (1, 10.0)
