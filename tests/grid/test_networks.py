"""Odd networks between the cluster and its nodes: two of them, firewalls, NAT, IPv6."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.errors import NodesFailed
from tests.gate import gate
from tests.grid.conftest import Cell
from tests.waiting import wait_until

pytestmark = [pytest.mark.grid, pytest.mark.timeout(120)]

JOBS = 4
SCHEDULER, DOOR = 18786, 14711  # not among those the kernel gives to clients
WORKERS = (19000, 19039)


@pytest.fixture
def wall(grid: Cell) -> Iterator[Callable[..., None]]:
    """A firewall on the first network; what may pass, for as long as a test lasts."""
    yield lambda *ports: grid.control("firewall", *map(str, ports)) and None
    grid.control("no-firewall")


@pytest.fixture
def second(grid: Cell) -> Iterator[dict[str, str]]:
    """A second network for a test: this host's addresses on it, by kind."""
    grid.control("add-network")
    found = psutil.net_if_addrs()["eth1"]
    yield {
        "4": next(a.address for a in found if a.family == socket.AF_INET),
        "6": next(
            a.address
            for a in found
            if a.family == socket.AF_INET6 and "%" not in a.address
        ),
    }
    grid.control("remove-network")


def first() -> str:
    """This host's address on the first network, which Grid Engine uses, too."""
    return socket.gethostbyname(socket.gethostname())


def size(*parts: bytes) -> int:
    return sum(map(len, parts))


def all_to_all(client: Client) -> list[str]:
    """Have each worker compute with what all have; the workers' addresses."""
    client.wait_for_workers(JOBS, timeout=60)
    workers = [*client.scheduler_info(n_workers=-1)["workers"]]
    assert len({address.rpartition(":")[0] for address in workers}) == 2, workers
    parts = [
        client.submit(bytes, 100_000, workers=[worker], key=f"part-{worker}")
        for worker in workers
    ]
    sums = [
        client.submit(size, *parts, workers=[worker], key=f"sum-{worker}")
        for worker in workers
    ]
    assert client.gather(sums) == [100_000 * JOBS] * JOBS
    # The scheduler reaches each worker, and each Nanny, by itself.
    assert client.run(int) == client.run(int, nanny=True) == dict.fromkeys(workers, 0)
    assert "cannot" not in client.cluster.explain()
    return workers


def told(cluster: GridEngineCluster) -> str:
    """The story of the last node that was asked for."""
    return cluster.explain(str(cluster.jobs()[-1].id))


def test_only_the_second_network_is_reachable(
    options: dict[str, Any], wall: Callable[..., None], second: dict[str, str]
) -> None:
    """Without configuration; workers announce that network's addresses, and the node's
    story says what the first one answered."""
    wall()
    with (
        GridEngineCluster(jobs=JOBS, **options) as cluster,
        Client(cluster) as client,
    ):
        network = second["4"].rpartition(".")[0]
        for address in all_to_all(client):
            assert address.startswith(f"tls://{network}.")
        story = told(cluster)
    assert f"it reached the cluster at {second['4']}:" in story
    assert f"  {first()}:" in story
    assert ": no answer in 0." in story


def test_no_network_is_reachable(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """Each address is named with what it answered, and the options to change."""
    wall()
    options["death_timeout"] = 6
    with (
        GridEngineCluster(jobs=JOBS, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(JOBS, timeout=90)
    said = str(caught.value)
    assert "could not reach the cluster" in said
    assert f"{first()}:" in said
    assert "(a firewall, or no route)" in said
    for option in ("interface=", "bootstrap_port=", "contact_address="):
        assert option in said


def test_a_firewall_lets_some_ports_through(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """One for the scheduler, one for the bootstrap, a range for the workers: enough."""
    wall(SCHEDULER, DOOR, "{}-{}".format(*WORKERS))
    ports = {
        "scheduler_port": SCHEDULER,
        "bootstrap_port": DOOR,
        "worker_port": "{}:{}".format(*WORKERS),
    }
    with (
        GridEngineCluster(jobs=JOBS, **ports, **options) as cluster,
        Client(cluster) as client,
    ):
        for address in all_to_all(client):
            assert WORKERS[0] <= int(address.rpartition(":")[2]) <= WORKERS[1]
        assert cluster.scheduler.address == f"tls://{first()}:{SCHEDULER}"


def test_a_firewall_shuts_the_schedulers_port_only(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """Told as that, within seconds, with address, port, answer and option."""
    wall(DOOR)
    ports = {"scheduler_port": SCHEDULER, "bootstrap_port": DOOR}
    with (
        GridEngineCluster(jobs=JOBS, **ports, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(JOBS, timeout=90)
    said = str(caught.value)
    assert "reached the bootstrap port, but not the scheduler" in said
    assert f"{first()}:{SCHEDULER}: no answer in 3 s" in said
    assert f"the bootstrap at {first()}:{DOOR} did answer" in said
    assert "scheduler_port=" in said


def test_a_firewall_shuts_the_workers_ports(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """Nodes become workers, and then all would hang: that is told before."""
    wall(SCHEDULER, DOOR)
    ports = {"scheduler_port": SCHEDULER, "bootstrap_port": DOOR}
    with GridEngineCluster(jobs=JOBS, **ports, **options) as cluster:
        cluster.wait_for_workers(JOBS, timeout=60)
        wait_until(
            lambda: cluster.explain().count("cannot be reached from here") == 2,
            "told of both hosts",
            30,
            cluster.explain,
        )
        assert "worker_port=" in cluster.explain()


@pytest.fixture
def parted(grid: Cell, wall: Callable[..., None]) -> Iterator[None]:
    """node1 does not hear node2; everything else is as ever."""
    wall("1-65534")
    rule = f"pref 9 iif eth0 from {socket.gethostbyname('node2')} ipproto tcp blackhole"
    grid.control("run", "node1", "ip", "rule", "add", *rule.split())
    yield
    grid.control("run", "node1", "ip", "rule", "del", *rule.split())


@pytest.mark.usefixtures("parted")
def test_a_wall_between_two_nodes(options: dict[str, Any]) -> None:
    """The workers are asked, and the one that does not get through says so."""
    with GridEngineCluster(jobs=JOBS, **options) as cluster:
        cluster.wait_for_workers(JOBS, timeout=60)
        said = "cannot reach those on"
        wait_until(lambda: said in cluster.explain(), "told", 30, cluster.explain)
        assert "workers on node" in cluster.explain()
        assert "no answer in 3 s" in cluster.explain()
        assert "worker_interface=" in cluster.explain()


def test_ipv6_from_end_to_end(options: dict[str, Any], second: dict[str, str]) -> None:
    """Bootstrap, scheduler, Nannies, and workers among each other."""
    with (
        GridEngineCluster(jobs=JOBS, host=second["6"], **options) as cluster,
        Client(cluster) as client,
    ):
        prefix = f"tls://[{second['6'].rpartition(':')[0]}:"
        assert all(address.startswith(prefix) for address in all_to_all(client))
        assert f"[{second['6']}]:" in cluster.scheduler.address


def test_nat_hands_on_two_ports(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """The cluster listens where no node gets, and is found by the ports of the gate."""
    out = {28786: SCHEDULER, DOOR: DOOR}
    wall("{}-{}".format(*WORKERS), *out)
    given = {
        "host": "127.0.0.1",
        "scheduler_port": SCHEDULER,
        "bootstrap_port": DOOR,
        "contact_address": f"{first()}:28786",
        "worker_port": "{}:{}".format(*WORKERS),
    }
    with (
        gate(first(), out, "127.0.0.1"),
        GridEngineCluster(jobs=JOBS, **given, **options) as cluster,
        Client(cluster) as client,
    ):
        all_to_all(client)


@pytest.mark.parametrize("given", ["eth1", "10.78.0.0/16"])
def test_workers_talk_on_the_interface_they_are_told(
    options: dict[str, Any], second: dict[str, str], given: str
) -> None:
    """Their own, whatever those here are called: a fast network for the data, say."""
    with (
        GridEngineCluster(jobs=JOBS, worker_interface=given, **options) as cluster,
        Client(cluster) as client,
    ):
        network = second["4"].rpartition(".")[0]
        for address in all_to_all(client):
            assert address.startswith(f"tls://{network}.")
        assert f"tls://{first()}:" in cluster.scheduler.address
