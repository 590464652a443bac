"""Nodes by host."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.history import ChangeFollower
from dask_gridengine.views.hosts import MOST_HOSTS, Hosts
from tests.simulated import Nodes


def counted(hosts: Hosts) -> dict[str, dict[str, int]]:
    """Host -> what -> number, without zeros."""
    data = hosts.source.data
    return {
        host: {n: data[n][i] for n in data if n != "host" and data[n][i]}
        for i, host in enumerate(data["host"])
    }


def test_each_host_has_its_nodes_and_failures() -> None:
    """Who is in the queue is nowhere; who went as wanted leaves nothing."""
    nodes = Nodes()
    a, b, c, d, _ = nodes.submit(5)
    hosts, follower = Hosts(), ChangeFollower(nodes.view)
    for record, host in ((a, "node1"), (b, "node1"), (c, "node2"), (d, "node2")):
        nodes.arrive(record, host)
    nodes.work(a)
    hosts.take(follower.look())
    assert counted(hosts) == {
        "node1": {"working": 1, "arrived": 1},
        "node2": {"arrived": 2},
    }
    assert hosts.busy() == 2
    nodes.end(b, Cause.MEMORY)
    for record in (c, d):
        nodes.end(record, Cause.LEFT)
    hosts.take(follower.look())
    assert counted(hosts) == {"node1": {"working": 1, "failed": 1}}
    assert hosts.busy() == 1


def test_hosts_with_failures_are_shown_first() -> None:
    """Of hundreds only some can be; the title says how many there are."""
    nodes = Nodes()
    hosts, follower = Hosts(), ChangeFollower(nodes.view)
    count = MOST_HOSTS + 5
    records = nodes.submit(count)
    for i, record in enumerate(records):
        nodes.arrive(record, f"node{i:03d}")
    nodes.end(records[-1])
    hosts.take(follower.look())
    shown = hosts.source.data["host"]
    assert len(shown) == MOST_HOSTS
    assert f"node{count - 1:03d}" in shown
    assert f"({MOST_HOSTS} of {count})" in hosts.figure.title.text
