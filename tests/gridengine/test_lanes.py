"""Chunks on their way there and back."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from distributed import Client, KilledWorker

from gridengine.lanes import DEATHS, FUNCTION_BYTES, Flight, Lanes
from gridengine.sealed import Sealed
from gridengine.source import Batch
from tests.waiting import wait_until

INLINE_BYTES = 2**20
pytestmark = pytest.mark.keeps_cluster


def lanes(client: Client, function: Any = abs, *, direct: bool = True) -> Lanes:
    sealed = Sealed.of(function, "f")
    return Lanes(client, sealed, "f", direct=direct, inline=INLINE_BYTES)


def flight(items: list[Any], **options: Any) -> tuple[Flight, Sealed]:
    batch = Batch(start=0, items=items)
    fields = {"seconds": None, "stop": False, **options}
    return Flight(batch=batch, **fields), Sealed.of(items, "items")


@pytest.mark.parametrize("direct", [True, False])
def test_there_and_back(client: Client, direct: bool) -> None:
    """A chunk lands with its results, straight from the worker or not."""
    sender = lanes(client, direct=direct)
    sent, items = flight([-1, -2])
    sender.send(sent, items)
    landing = sender.land(20)
    assert landing is not None
    assert landing.flight is sent
    assert landing.done is not None
    assert landing.done.values.open() == [1, 2]


def test_nothing_lands(client: Client) -> None:
    """The wait ends after its time."""
    assert lanes(client).land(0.01) is None


def test_heavy_items_and_functions(client: Client) -> None:
    """What is too big for a task goes to the worker by itself, and arrives."""
    table = np.arange(FUNCTION_BYTES)
    sender = lanes(client, lambda a: int(a.sum() + table[-1]))
    sent, items = flight([np.ones(INLINE_BYTES)])
    for _ in range(2):  # the second one uses the function that is there
        sender.send(sent, items)
        landing = sender.land(20)
        assert landing is not None
        assert landing.done is not None, landing.error
        assert landing.done.values.open() == [INLINE_BYTES + FUNCTION_BYTES - 1]


def test_called_back(client: Client) -> None:
    """A chunk that was called back does not land, and its worker is known as busy."""
    sender = lanes(client, time.sleep)
    sent, items = flight([1.5])
    sender.send(sent, items)
    wait_until(
        lambda: any(client.processing().values()), "it to run", 20, client.processing
    )
    sender.cancel({sent})
    busy = client.sync(sender.still_running, {sent})
    assert busy == list(client.scheduler_info()["workers"])
    assert sender.land(0.1) is None
    wait_until(
        lambda: client.sync(sender.still_running, {sent}) == [],
        "its end",
        20,
        lambda: 0,
    )


def test_what_raises_outside_of_items(client: Client) -> None:
    """A function that cannot be rebuilt on the worker is an error of the chunk."""
    broken = Sealed("f", b"not a pickle")
    sender = Lanes(client, broken, "f", direct=True, inline=INLINE_BYTES)
    sender.send(*flight([1]))
    landing = sender.land(20)
    assert landing is not None
    assert "cannot be rebuilt there" in str(landing.error)
    assert not isinstance(landing.error, DEATHS)
    assert KilledWorker in DEATHS
