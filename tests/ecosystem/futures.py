"""Futures as they come, tasks bound to resources, actors, and things shared by name."""

from __future__ import annotations

import threading
import time
from typing import Any

from distributed import (
    Event,
    Lock,
    MultiLock,
    Queue,
    Semaphore,
    Variable,
    as_completed,
    get_worker,
    worker_client,
)

from tests.ecosystem.habits import WORKERS, Site


def completed(site: Site) -> None:
    """as_completed gives futures as they are done, and takes new ones meanwhile."""
    gate = Event("gate", client=site.client)
    slow = site.client.submit(lambda: Event("gate").wait(30), pure=False)
    quick = site.client.submit(abs, -1, pure=False)
    order = as_completed([slow, quick])
    first = next(order)
    assert first is quick
    order.add(site.client.submit(abs, -2, pure=False))
    assert next(order).result() == 2
    gate.set()
    assert next(order).result() is True
    assert order.is_empty()


def resources(site: Site) -> None:
    """Tasks that each need all of a worker's TOKEN never run there side by side."""

    def alone(_: int) -> tuple[str, int]:
        worker = get_worker()
        running = getattr(worker, "with_token", 0)
        worker.with_token = running + 1
        time.sleep(0.01)
        worker.with_token -= 1
        return str(worker.name), running

    futures = site.client.map(alone, range(8), resources={"TOKEN": 1}, pure=False)
    found = site.client.gather(futures)
    assert {running for _, running in found} == {0}
    assert {name for name, _ in found} <= set(site.names())


def missing_resource(site: Site) -> None:
    """A task that needs what no worker has waits, and can be called back."""
    future = site.client.submit(abs, -1, resources={"NOBODY": 1}, pure=False)
    site.client.submit(abs, -1, pure=False).result(timeout=30)
    assert future.status == "pending"
    future.cancel()
    assert future.cancelled()


class Counter:
    """Counts, where it lives."""

    n = 0

    def add(self, n: int) -> int:
        self.n += n
        return self.n


def actors(site: Site) -> None:
    """An actor keeps its state on its worker, and tasks elsewhere can call it."""
    counter = site.client.submit(Counter, actor=True).result(timeout=30)
    assert [counter.add(1).result(timeout=30) for _ in range(3)] == [1, 2, 3]

    def ask(actor: Any) -> int:
        return int(actor.add(10).result())

    futures = [
        site.client.submit(ask, counter, workers=[name], pure=False)
        for name in site.names()
    ]
    assert sorted(site.client.gather(futures)) == [13, 23]
    assert counter.n == 23


def queue(site: Site) -> None:
    """What tasks put into a Queue comes out here."""

    def put(i: int) -> None:
        Queue("results").put(i)

    results = Queue("results", client=site.client)
    futures = site.client.map(put, range(5), pure=False)
    assert sorted(results.get(timeout=30) for _ in range(5)) == [0, 1, 2, 3, 4]
    site.client.gather(futures)
    results.close()


def variable(site: Site) -> None:
    """A future in a Variable is the same data for a task elsewhere."""
    future = site.client.submit(sum, [1, 2, 3], pure=False)
    shared = Variable("shared", client=site.client)
    shared.set(future)

    def read() -> int:
        with worker_client():
            return int(Variable("shared").get(timeout=10).result())

    assert site.client.submit(read, pure=False).result(timeout=30) == 6
    shared.delete()


def event(site: Site) -> None:
    """Tasks wait for an Event that is set from here."""
    go = Event("go", client=site.client)
    waiting = [
        site.client.submit(lambda: Event("go").wait(30), workers=[name], pure=False)
        for name in site.names()
    ]
    go.set()
    assert site.client.gather(waiting) == [True] * WORKERS
    go.clear()


def lock(site: Site) -> None:
    """A Lock lets one worker of all in at a time; a lost update would be seen."""
    total = site.directory / "total"
    total.write_text("0")

    def add(_: int) -> None:
        with Lock("total"):
            n = int(total.read_text())
            time.sleep(0.002)
            total.write_text(str(n + 1))

    site.client.gather(site.client.map(add, range(20), pure=False))
    assert total.read_text() == "20"
    with MultiLock(["a", "b"], client=site.client):
        pass


def semaphore(site: Site) -> None:
    """A Semaphore of one lease is held by one worker at a time, and released."""
    one = Semaphore(max_leases=1, name="one")

    def hold(_: int, lease: Semaphore) -> int:
        with lease:
            return int(lease.get_value())

    found = site.client.gather(site.client.map(hold, range(8), lease=one, pure=False))
    assert found == [1] * 8
    assert one.get_value() == 0
    one.close()


def events_of_workers(site: Site) -> None:
    """What a worker logs under a topic arrives at a client that has subscribed."""
    came, messages = threading.Event(), []

    def hear(message: Any) -> None:
        messages.append(message[1])
        came.set()

    site.client.subscribe_topic("habit", hear)
    site.client.submit(lambda: get_worker().log_event("habit", "hello"), pure=False)
    assert came.wait(30)
    assert messages == ["hello"]
    site.client.unsubscribe_topic("habit")
