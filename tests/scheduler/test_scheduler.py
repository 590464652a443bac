"""The cluster's Scheduler: its addresses, and tasks that fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client, Worker

from dask_gridengine.errors import NodesFailed
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.clusters import running as running_cluster
from tests.samples import two_in_a_row
from tests.scheduler.scene import running, working
from tests.waiting import until, wait_until


async def test_the_first_free_port_is_taken() -> None:
    """Of those that a firewall lets through; the error names the option."""
    with two_in_a_row() as (held, ports):
        async with running(ports=ports) as scheduler:
            assert scheduler.port == held + 1
            with pytest.raises(RuntimeError) as none:
                await ClusterScheduler(
                    ports=ports, host="127.0.0.1", dashboard_address=":0"
                )
    error = str(none.value.__cause__)
    assert f"scheduler_port='{ports}'" in error


@pytest.mark.parametrize("host", ["[::1]", None])
async def test_a_port_goes_with_any_host(host: str | None) -> None:
    """IPv6 keeps its brackets; without a host it is all of them."""
    with two_in_a_row() as (_, ports):
        async with running(ports=ports, host=host) as scheduler:
            # What is held is held for IPv4.
            port = ports.first if host else ports.last
            assert scheduler.port == port
            assert host is None or scheduler.address == f"tcp://[::1]:{port}"


async def test_the_network_address_stays_the_address() -> None:
    """Workers get the network's; the one in this process is an addition."""
    async with running(dashboard=False) as scheduler:
        assert scheduler.address.startswith("tcp://127.0.0.1:")
        assert scheduler.in_process_address.startswith("inproc://")
        async with (
            Worker(scheduler.address, nthreads=1),
            Client(scheduler.in_process_address, asynchronous=True) as client,
        ):
            assert await client.submit(sum, [1, 2]) == 3


async def test_a_heartbeat_of_a_worker_that_has_left_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was sent before the worker left; from any other address it is one (D9)."""
    async with working(tmp_path) as (scheduler, _, (w,)):
        address, unknown = w.address, "tcp://127.0.0.1:1"
        await w.close()
        await until(lambda: not scheduler.workers, "it has left")
        for sender in (address, unknown):
            answer = scheduler.heartbeat_worker(address=sender, metrics={})
            assert answer == {"status": "missing"}
    warned = [text for text in caplog.messages if "unregistered" in text]
    assert len(warned) == 1
    assert unknown in warned[0]


async def test_a_silent_worker_is_removed(tmp_path: Path) -> None:
    """After worker-ttl, as with Dask's own."""
    async with working(tmp_path) as (scheduler, _, (w,)):
        scheduler.worker_ttl = 60
        scheduler.workers[w.address].last_seen -= 3600
        await scheduler.check_worker_ttl()
        assert w.address not in scheduler.workers


async def test_all_tasks_that_wait_fail_if_no_worker_may_come() -> None:
    """Unrunnable and queued tasks end with the error, and what depends on them."""
    error = NodesFailed(1, 0, ["node 1.1 could not find Python"])

    async with (
        running(dashboard=False) as scheduler,
        Client(scheduler.address, asynchronous=True) as client,
    ):
        assert scheduler.fail_waiting(error) == 0
        restricted = client.submit(abs, -1, workers=["10.0.0.1"])
        queued = client.map(abs, range(20))
        dependent = client.submit(sum, queued)
        await until(lambda: len(scheduler.tasks) == 22, "all are there")
        assert scheduler.unrunnable
        assert scheduler.queued
        scheduler.fail_waiting(error)
        for future in [restricted, *queued, dependent]:
            with pytest.raises(NodesFailed, match="could not find Python"):
                await future
        async with Worker(scheduler.address, nthreads=1):
            assert await client.submit(abs, -5) == 5


async def test_a_signal_of_a_node_is_answered_with_its_time(tmp_path: Path) -> None:
    """A node that the cluster does not drain has to drain itself: it gets an error."""
    async with working(tmp_path) as (scheduler, client, _):
        assert client.scheduler is not None
        send = client.scheduler.gridengine_node_signal
        with pytest.raises(LookupError):
            await send(name="w0", signal="SIGUSR1")
        received: list[tuple[str, str]] = []

        def on_signal(name: str, signal: str) -> float:
            received.append((name, signal))
            return 7.0

        scheduler.on_node_signal = on_signal
        assert await send(name="w0", signal="SIGUSR1") == 7.0
        assert received == [("w0", "SIGUSR1")]


def test_statuses_of_workers_are_those_of_now(shared: Path) -> None:
    """In the cluster's ``scheduler_info``, also of workers that come later."""

    def statuses() -> list[str]:
        return [w["status"] for w in cluster.scheduler_info["workers"].values()]

    with running_cluster(shared, jobs=1) as cluster:
        wait_until(lambda: statuses() == ["running"], "it runs", 30, statuses)
        cluster.scale(2)
        wait_until(lambda: statuses() == ["running"] * 2, "both run", 30, statuses)
