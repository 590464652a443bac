"""The small figure on the page: nodes by host."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.charts import MAX_HOSTS, HostChart
from tests.simulated import Nodes


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
