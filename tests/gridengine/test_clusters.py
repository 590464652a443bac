"""A cluster with its client, which go together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridengine.clusters import OwnCluster
from gridengine.schedulers import DASK_SCHEDULER
from tests.waiting import wait_until


def options(directory: Path, slots: int = 2) -> dict[str, Any]:
    """Of a cluster on this host that takes no port of others."""
    return {
        "launcher": "process",
        "slots": slots,
        "quiet": True,
        "shared_directory": directory,
        "scheduler_options": DASK_SCHEDULER,
    }


@pytest.fixture
def own(session_directory: Path) -> Iterator[OwnCluster]:
    made = OwnCluster(1, **options(session_directory))
    yield made
    made.close()


def test_it_closes_once(own: OwnCluster) -> None:
    """close() may be called again, and from several threads at once."""
    assert own.alive
    threads = [threading.Thread(target=own.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not own.alive


def test_slots_while_there_are_no_workers(own: OwnCluster) -> None:
    """What was asked for counts until the first worker is there."""
    assert own.slots() == 1
    own.grow(2)
    assert own.wanted == 2
    own.grow(1)
    assert own.wanted == 2
    own.client.wait_for_workers(2, timeout=30)
    assert own.slots() == 2


def test_rest_and_wake(own: OwnCluster) -> None:
    """Nodes are given back after a rest, unless there is work again before."""
    own.client.wait_for_workers(1, timeout=30)
    own.rest_after(3600)
    own.rest_after(None)
    own.grow(1)
    assert own.wanted == 1
    own.rest_after(0.01)
    wait_until(lambda: own.wanted == 0, "no nodes", 20, lambda: own.wanted)


def test_whoever_comes_while_it_goes_to_rest_has_nodes(own: OwnCluster) -> None:
    """However close the two are: what was grown is there, or on its way."""
    for pause in (0.0, 0.0005, 0.001, 0.002, 0.004):
        own.rest_after(0.001)
        time.sleep(pause)
        own.grow(2)
        assert own.wanted == 2


def test_what_waits_in_the_queue_is_counted(session_directory: Path) -> None:
    """Nodes beyond the slots there are wait; nobody has to look at all nodes for it."""
    own = OwnCluster(3, **options(session_directory, slots=1))
    try:
        own.client.wait_for_workers(1, timeout=30)
        wait_until(lambda: own.queued == 2, "two queued", 20, lambda: own.queued)
        assert own.wanted == 3
        assert own.cluster.jobs().counts()["queued"] == own.queued
    finally:
        own.close()


def test_the_address_is_of_this_process(own: OwnCluster) -> None:
    """The client needs no encryption to talk to the scheduler beside it."""
    assert own.client.scheduler.address.startswith("inproc://")
    assert own.cluster.scheduler_address.startswith("tls://")
    assert own.client.submit(os.getpid).result() != os.getpid()


def test_messages_are_not_kept(own: OwnCluster) -> None:
    """What Dask keeps for debugging would hold the arguments of the last chunks."""
    assert own.client.submit(abs, -1).result() == 1
    scheduler = own.cluster.scheduler
    streams = [*scheduler.stream_comms.values(), own.client.scheduler_comm]
    assert len(streams) == 2
    assert all(len(stream.recent_message_log) == 0 for stream in streams)


def test_a_cluster_that_does_not_open_leaves_nothing(session_directory: Path) -> None:
    """An option that makes no sense is an error; nothing was started."""
    before = threading.active_count()
    with pytest.raises(TypeError, match="no option 'nonsense'"):
        OwnCluster(1, nonsense=1)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
