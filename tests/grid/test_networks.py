"""Networks between the cluster and its nodes: two networks, firewalls, NAT, IPv6."""

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
SCHEDULER, BOOTSTRAP = 18786, 14711  # not among those the kernel gives to clients
WORKERS = (19000, 19039)


@pytest.fixture
def wall(grid: Cell) -> Iterator[Callable[..., None]]:
    """A firewall on the first network; the test sets the open ports."""
    yield lambda *ports: grid.control("firewall", *map(str, ports)) and None
    grid.control("no-firewall")


@pytest.fixture
def second(grid: Cell) -> Iterator[dict[str, str]]:
    """A second network; returns the addresses of this host on it, by kind."""
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
    """Return this host's address on the first network, which Grid Engine uses, too."""
    return socket.gethostbyname(socket.gethostname())


def size(*parts: bytes) -> int:
    return sum(map(len, parts))


def all_to_all(client: Client) -> list[str]:
    """Let each worker use the data of all; return the addresses of the workers."""
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
    # The scheduler connects to each worker, and to each Nanny.
    assert client.run(int) == client.run(int, nanny=True) == dict.fromkeys(workers, 0)
    assert "cannot" not in client.cluster.explain()
    return workers


def explained(cluster: GridEngineCluster) -> str:
    """Return the explanation of the node submitted last."""
    return cluster.explain(str(cluster.jobs()[-1].id))


def test_only_the_second_network_is_reachable(
    options: dict[str, Any], wall: Callable[..., None], second: dict[str, str]
) -> None:
    """No configuration is needed. Workers use the addresses of that network, and the
    explanation of a node has the result for the first network."""
    wall()
    with (
        GridEngineCluster(jobs=JOBS, **options) as cluster,
        Client(cluster) as client,
    ):
        network = second["4"].rpartition(".")[0]
        for address in all_to_all(client):
            assert address.startswith(f"tls://{network}.")
        explanation = explained(cluster)
    assert f"it reached the cluster at {second['4']}:" in explanation
    assert f"  {first()}:" in explanation
    assert ": no answer in 0." in explanation


def test_no_network_is_reachable(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """The error has the result for each address, and the options to change."""
    wall()
    options["death_timeout"] = 6
    with (
        GridEngineCluster(jobs=JOBS, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(JOBS, timeout=90)
    message = str(caught.value)
    assert "could not reach the cluster" in message
    assert f"{first()}:" in message
    assert "(a firewall, or no route)" in message
    for option in ("interface=", "bootstrap_port=", "contact_address="):
        assert option in message


def test_a_firewall_lets_some_ports_through(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """A port for the scheduler, one for the bootstrap, and a range for workers do."""
    wall(SCHEDULER, BOOTSTRAP, "{}-{}".format(*WORKERS))
    ports = {
        "scheduler_port": SCHEDULER,
        "bootstrap_port": BOOTSTRAP,
        "worker_port": "{}:{}".format(*WORKERS),
    }
    with (
        GridEngineCluster(jobs=JOBS, **ports, **options) as cluster,
        Client(cluster) as client,
    ):
        for address in all_to_all(client):
            assert WORKERS[0] <= int(address.rpartition(":")[2]) <= WORKERS[1]
        assert cluster.scheduler.address == f"tls://{first()}:{SCHEDULER}"


def test_a_firewall_closes_the_schedulers_port_only(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """The error comes within seconds, with address, port, result and option."""
    wall(BOOTSTRAP)
    ports = {"scheduler_port": SCHEDULER, "bootstrap_port": BOOTSTRAP}
    with (
        GridEngineCluster(jobs=JOBS, **ports, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(JOBS, timeout=90)
    message = str(caught.value)
    assert "reached the bootstrap port, but not the scheduler" in message
    assert f"{first()}:{SCHEDULER}: no answer in 3 s" in message
    assert f"the bootstrap at {first()}:{BOOTSTRAP} did answer" in message
    assert "scheduler_port=" in message


def test_a_firewall_closes_the_workers_ports(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """Nodes become workers, but computations would hang; a warning says so."""
    wall(SCHEDULER, BOOTSTRAP)
    ports = {"scheduler_port": SCHEDULER, "bootstrap_port": BOOTSTRAP}
    with GridEngineCluster(jobs=JOBS, **ports, **options) as cluster:
        cluster.wait_for_workers(JOBS, timeout=60)
        wait_until(
            lambda: cluster.explain().count("cannot be reached from here") == 2,
            "a warning about both hosts",
            30,
            cluster.explain,
        )
        assert "worker_port=" in cluster.explain()


@pytest.fixture
def parted(grid: Cell, wall: Callable[..., None]) -> Iterator[None]:
    """Packets from node2 to node1 are dropped."""
    wall("1-65534")
    rule = f"pref 9 iif eth0 from {socket.gethostbyname('node2')} ipproto tcp blackhole"
    grid.control("run", "node1", "ip", "rule", "add", *rule.split())
    yield
    grid.control("run", "node1", "ip", "rule", "del", *rule.split())


@pytest.mark.usefixtures("parted")
def test_a_firewall_between_two_nodes(options: dict[str, Any]) -> None:
    """The workers are tested, and explain() names the one that cannot connect."""
    with GridEngineCluster(jobs=JOBS, **options) as cluster:
        cluster.wait_for_workers(JOBS, timeout=60)
        text = "cannot reach those on"
        wait_until(lambda: text in cluster.explain(), "explained", 30, cluster.explain)
        assert "workers on node" in cluster.explain()
        assert "no answer in 3 s" in cluster.explain()
        assert "worker_interface=" in cluster.explain()


def test_ipv6_from_end_to_end(options: dict[str, Any], second: dict[str, str]) -> None:
    """Bootstrap, scheduler, Nannies and workers use it."""
    with (
        GridEngineCluster(jobs=JOBS, host=second["6"], **options) as cluster,
        Client(cluster) as client,
    ):
        prefix = f"tls://[{second['6'].rpartition(':')[0]}:"
        assert all(address.startswith(prefix) for address in all_to_all(client))
        assert f"[{second['6']}]:" in cluster.scheduler.address


def test_nat_forwards_two_ports(
    options: dict[str, Any], wall: Callable[..., None]
) -> None:
    """Nodes cannot reach the cluster's addresses, but the ports of the gateway."""
    out = {28786: SCHEDULER, BOOTSTRAP: BOOTSTRAP}
    wall("{}-{}".format(*WORKERS), *out)
    given = {
        "host": "127.0.0.1",
        "scheduler_port": SCHEDULER,
        "bootstrap_port": BOOTSTRAP,
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
def test_workers_use_the_given_interface(
    options: dict[str, Any], second: dict[str, str], given: str
) -> None:
    """An interface of the nodes, such as a fast network, which may not exist here."""
    with (
        GridEngineCluster(jobs=JOBS, worker_interface=given, **options) as cluster,
        Client(cluster) as client,
    ):
        network = second["4"].rpartition(".")[0]
        for address in all_to_all(client):
            assert address.startswith(f"tls://{network}.")
        assert f"tls://{first()}:" in cluster.scheduler.address
