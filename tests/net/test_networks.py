"""Clusters on odd networks, as local processes: NAT, fixed ports, IPv6."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.errors import NodesFailed, OptionError
from tests.gate import gate
from tests.samples import two_in_a_row


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "memory": "500 MB", "death_timeout": 10}


def free_ports(count: int) -> list[int]:
    """Find ports that were free a moment ago."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(holder.getsockname()[1]) for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def works(client: Client) -> bool:
    return bool(client.submit(sum, [1, 2]).result(timeout=20) == 3)


def test_behind_nat_nodes_use_the_outer_ports(options: dict[str, Any]) -> None:
    """The scheduler's port differs outside; local clients connect directly."""
    scheduler, bootstrap_port, outer = free_ports(3)
    addresses = {
        "host": "127.0.0.1",
        "scheduler_port": scheduler,
        "bootstrap_port": bootstrap_port,
        "contact_address": f"127.0.0.2:{outer}",
    }
    ports = {bootstrap_port: bootstrap_port, outer: scheduler}
    with (
        gate("127.0.0.2", ports, "127.0.0.1"),
        GridEngineCluster(jobs=1, **addresses, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=30)
        assert works(client)
        assert cluster.scheduler.address == f"tls://127.0.0.1:{scheduler}"
        (record,) = cluster.pool().registry
        assert record.tried == {f"127.0.0.2:{bootstrap_port}": "connected"}
        contacts = client.run(lambda dask_worker: dask_worker.scheduler.address)
        assert [*contacts.values()] == [f"tls://127.0.0.2:{outer}"]


@pytest.mark.timeout(90)
def test_a_gate_that_forwards_one_port_only(options: dict[str, Any]) -> None:
    """The reason names the address and the option."""
    scheduler, bootstrap_port, outer = free_ports(3)
    addresses = {
        "host": "127.0.0.1",
        "scheduler_port": scheduler,
        "bootstrap_port": bootstrap_port,
        "contact_address": f"127.0.0.1:{outer}",
    }
    with (
        GridEngineCluster(jobs=2, **addresses, **options) as cluster,
        pytest.raises(NodesFailed) as caught,
    ):
        cluster.wait_for_workers(1, timeout=60)
    reason = str(caught.value)
    assert f"127.0.0.1:{outer}: connection refused" in reason
    assert f"the bootstrap at 127.0.0.1:{bootstrap_port} did answer" in reason
    assert "scheduler_port=" in reason
    assert "contact_address=" in reason


def test_a_cluster_may_live_on_ipv6(options: dict[str, Any]) -> None:
    """Bootstrap, scheduler, Nanny and workers, TLS on."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with (
        GridEngineCluster(jobs=2, host="::1", **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=30)
        assert works(client)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith("tls://[::1]:") for address in workers)
        assert all(
            info["nanny"].startswith("tls://[::1]:") for info in workers.values()
        )
        assert client.run(int, nanny=True) == dict.fromkeys(workers, 0)


@pytest.mark.parametrize("option", ["scheduler_port", "bootstrap_port"])
def test_a_port_that_is_held_is_an_option_error(
    options: dict[str, Any], option: str
) -> None:
    """Nothing is left of the cluster."""
    with two_in_a_row() as (held, _):
        with pytest.raises(OptionError) as caught:
            GridEngineCluster(jobs=1, **{option: held}, **options)
        assert f"{option}='{held}'" in str(caught.value)
        assert not any(options["shared_directory"].iterdir())


def test_two_clusters_share_a_range(options: dict[str, Any]) -> None:
    """The second takes what the first has left, for all its ports."""
    with two_in_a_row() as (held, _):
        pass
    span = {
        "scheduler_port": f"{held}:{held + 20}",
        "bootstrap_port": f"{held}:{held + 20}",
    }
    with (
        GridEngineCluster(jobs=0, **span, **options) as one,
        GridEngineCluster(jobs=0, **span, **options) as other,
    ):
        ports = [
            *(cluster.scheduler.port for cluster in (one, other)),
            *(cluster.pool().bootstrap.port for cluster in (one, other)),
        ]
        assert len({*ports}) == 4
        assert all(held <= port <= held + 20 for port in ports)
