"""The small figures on the page."""

from __future__ import annotations

import pytest

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.summary import BUCKETS, Delays, NodeSummary
from dask_gridengine.views.charts import MAX_HOSTS, MIN_BUCKETS, DelayChart, HostChart
from tests.simulated import Nodes


def test_delays_are_shown_with_their_median() -> None:
    """From the shortest to the longest; without delays the figure is empty."""
    delays = Delays()
    chart = DelayChart("time in the queue", delays, "#888888")
    chart.update()
    assert chart.source.data["nodes"] == []
    for seconds in (1.5, 1.5, 700.0):
        delays.add(seconds)
    chart.update()
    data = chart.source.data
    shown = dict(zip(data["range"], data["nodes"], strict=True))
    assert (shown["1 s to 2 s"], shown["10 min to 20 min"]) == (2, 1)
    assert sum(data["nodes"]) == 3
    assert chart.figure.title.text == "time in the queue: median 1.5 s"
    chart.update()
    assert chart.source.data is data, "nothing new is not sent again"


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_single_bar_has_room_around_it(seconds: float) -> None:
    """Also in the first and in the last bucket."""
    delays = Delays()
    delays.add(seconds)
    chart = DelayChart("", delays, "#888888")
    chart.update()
    x = chart.source.data["x"]
    assert len(x) >= MIN_BUCKETS
    assert (min(x) >= 0, max(x) < len(BUCKETS)) == (True, True)


def by_host(chart: HostChart) -> dict[str, dict[str, int]]:
    data = chart.source.data
    return {
        host: {n: data[n][i] for n in data if n != "host" and data[n][i]}
        for i, host in enumerate(data["host"])
    }


def test_each_host_has_its_live_and_failed_nodes() -> None:
    """Queued nodes have no host, and nodes that ended as intended are not counted."""
    nodes = Nodes()
    a, b, c, d, _ = nodes.submit(5)
    chart, summary = HostChart(), NodeSummary(nodes.history)
    for record, host in ((a, "node1"), (b, "node1"), (c, "node2"), (d, "node2")):
        nodes.arrive(record, host)
    nodes.work(a)
    chart.update(summary.update())
    assert by_host(chart) == {
        "node1": {"working": 1, "arrived": 1},
        "node2": {"arrived": 2},
    }
    nodes.end(b, Cause.MEMORY)
    for record in (c, d):
        nodes.end(record, Cause.LEFT)
    chart.update(summary.update())
    assert by_host(chart) == {"node1": {"working": 1, "failed": 1}}


def test_hosts_with_failures_come_first() -> None:
    """Of many hosts some are shown; the title has the number of all."""
    nodes = Nodes()
    chart, summary = HostChart(), NodeSummary(nodes.history)
    count = MAX_HOSTS + 5
    records = nodes.submit(count)
    for i, record in enumerate(records):
        nodes.arrive(record, f"node{i:03d}")
    nodes.end(records[-1])
    chart.update(summary.update())
    hosts = chart.source.data["host"]
    assert len(hosts) == MAX_HOSTS
    assert f"node{count - 1:03d}" in hosts
    assert f"({MAX_HOSTS} of {count})" in chart.figure.title.text
