"""Ending tasks by force: those that have begun, and those that have not."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client, Queue

import gridengine
from gridengine.lanes import Flight
from gridengine.sealed import Sealed
from gridengine.source import Batch
from gridengine.stoppable import StoppableLanes
from tests.gridengine.deeds import mark_and_wait
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


def send(lanes: StoppableLanes, mark: Path) -> Flight:
    batch = Batch(start=0, items=[str(mark)])
    flight = Flight(batch=batch, seconds=None, stop=False)
    lanes.send(flight, Sealed.of(batch.items, "items"))
    return flight


def waiting_lanes(client: Client) -> StoppableLanes:
    def wait(mark: str) -> str:
        return mark_and_wait(mark, "/never")

    function = Sealed.of(wait, "f")
    return StoppableLanes(client, function, "wait", direct=False, inline=2**20)


@pytest.mark.parametrize("nanny", [True, False])
def test_a_begun_task_ends_with_its_worker(
    fresh: gridengine.ProcessScheduler, tmp_path: Path, nanny: bool
) -> None:
    """With or without a nanny; the reason lands when it has ended."""
    fresh._options["nanny"] = nanny
    with fresh.session(1) as client:
        lanes = waiting_lanes(client)
        flight = send(lanes, tmp_path / "mark")
        wait_until((tmp_path / "mark").exists, "begun", 30)
        [before] = client.scheduler_info()["workers"]
        reason = KeyError("why")
        with_no_ticket = Queue("stoppable", client=client)
        lanes.stop(flight, reason, with_no_ticket, by_force=True)
        landing = lanes.land(10)
        assert landing is not None
        assert (landing.flight, landing.error) == (flight, reason)
        wait_until(
            lambda: before not in client.scheduler_info()["workers"], "worker gone"
        )
        with_no_ticket.close()


def test_a_task_that_has_not_begun_costs_no_worker(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Whoever has its ticket may forget it, and no process is ended."""
    client = warm.client
    before = set(client.scheduler_info()["workers"])
    lanes = waiting_lanes(client)
    batch = Batch(start=0, items=[0])
    flight = Flight(batch=batch, seconds=None, stop=False)
    ticket = Queue("stoppable", client=client)
    ticket.put(True)
    lanes.stop(flight, KeyError("why"), ticket, by_force=True)
    assert lanes.land(10) is not None
    assert ticket.qsize() == 0
    assert set(client.scheduler_info()["workers"]) == before
    ticket.close()
