"""Messages to the host: all of them, in order, and no queue stays behind."""

from __future__ import annotations

import time
from typing import Any

import pytest
from distributed import Client, LocalCluster

from gridengine.channel import Channel, new_name
from gridengine.controller import JobController
from gridengine.run import Run
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


def send(channel: str, ident: int, count: int) -> None:
    controller = JobController(0, ident, channel)
    for i in range(count):
        controller.send(i)


def queues(client: Client) -> Any:
    return client.run_on_scheduler(
        lambda dask_scheduler: [*dask_scheduler.extensions["queues"].queues]
    )


def test_after_a_flush_all_is_there(client: Client) -> None:
    """What ended tasks have sent has been delivered, each run its own, in order."""
    name = new_name()
    channel = Channel(client, name)
    runs = [Run(f"job {i}", daemon=True) for i in range(3)]
    for run in runs:
        channel.add(run)
    client.gather([client.submit(send, name, run.ident, 50) for run in runs])
    client.submit(send, name, 1, 1).result()  # of nobody: dropped
    channel.flush()
    for run in runs:
        assert [run.receive(0) for _ in range(50)] == list(range(50))
        assert not run.poll(0)
    channel.close()
    wait_until(lambda: queues(client) == [], "no queue", 5, lambda: queues(client))


def test_runs_that_are_forgotten_are_not_kept(client: Client) -> None:
    """Messages for them are dropped."""
    name = new_name()
    channel = Channel(client, name)
    run = Run("a job", daemon=True)
    channel.add(run)
    ident = run.ident
    del run
    client.submit(send, name, ident, 5).result()
    channel.flush()
    channel.close()


def test_a_client_that_has_gone_holds_nobody(somebodys: LocalCluster) -> None:
    """flush and close return when there is nobody to answer."""
    with Client(somebodys, set_as_default=False) as client:
        channel = Channel(client, new_name())
    started = time.monotonic()
    channel.flush()
    channel.close()
    assert time.monotonic() - started < 2
