"""Whether workers can be reached: real servers and firewalls, and the findings."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Scheduler, Worker
from distributed.core import Server

from dask_gridengine.cluster import reachability as reachability
from dask_gridengine.cluster.reachability import ReachabilityChecker, answer_from
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.worker import network as reaching
from tests.bootstrap.test_client import black_hole, closed_port
from tests.waiting import until


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and for loopback, too, which is all that a test may be sure of."""
    for name in ("CONNECT_SECONDS", "PROBE_SECONDS"):
        monkeypatch.setattr(reaching, name, 0.3)
    monkeypatch.setattr(reachability, "_local", lambda address: "::1" in address)


class Anything:
    """Addresses of workers, all of which are registered."""

    def __contains__(self, address: object) -> bool:
        return True


ANYTHING = Anything()


def checker(
    note: Callable[[str], Any] = print,
    *,
    workers: Any = ANYTHING,
    answers: Callable[[str, str], str] = lambda worker, other: CONNECTED,
) -> ReachabilityChecker:
    """At a scheduler with these workers, which get these answers from each other."""
    scheduler: Any = SimpleNamespace(connection_args={}, workers=workers)

    async def ask(scheduler: Scheduler, worker: str, other: str) -> str:
        return answers(worker, other)

    return ReachabilityChecker(scheduler, note, ask=ask)


async def looked(ways: ReachabilityChecker) -> None:
    await until(lambda: not ways._tasks, "it has looked", 10)


async def listening(server: Server) -> str:
    await server.listen("tcp://127.0.0.1:0")
    return str(server.address)


async def test_a_host_behind_a_wall_is_told_once() -> None:
    """Which, where, what came back, and what to type; until a worker of it answers."""
    noted: list[str] = []
    ways = checker(noted.append)
    failed = ways.failed
    with black_hole() as wall:
        for _ in range(2):
            ways.check("node1", f"tcp://{wall}")
            await looked(ways)
    assert [*failed] == ["node1"]
    assert noted == [*failed.values()]
    assert "workers on node1 cannot be reached from here" in noted[0]
    assert f"{wall}: no answer in 0.3 s" in noted[0]
    assert "worker_port=" in noted[0]
    async with Server({}) as server:
        ways.check("node1", await listening(server))
        await looked(ways)
    assert not failed
    await ways.aclose()


async def test_a_wall_between_two_hosts_is_told() -> None:
    """Each is checked with the one before it, in both directions."""
    asked: list[tuple[str, str]] = []

    def answers(worker: str, other: str) -> str:
        asked.append((worker, other))
        return "no answer in 3 s" if worker.startswith("tcp://127.0.0.2") else CONNECTED

    ways = checker(answers=answers)
    failed = ways.failed
    async with Server({}) as one, Server({}) as other:
        first = await listening(one)
        await other.listen("tcp://127.0.0.2:0")
        ways.check("node1", first)
        await looked(ways)
        assert not asked
        ways.check("node2", other.address)
        await looked(ways)
        assert asked == [(first, other.address), (other.address, first)]
    place = first.removeprefix("tcp://")
    assert failed["node2"].startswith(
        "workers on node2 cannot reach those on node1, so data cannot be moved"
        f" between them: {place}: no answer in 3 s"
    )


async def test_a_worker_that_has_gone_is_behind_no_wall() -> None:
    """Between its coming and the look it may have been scaled away."""
    ways = checker(workers=())
    failed = ways.failed
    with closed_port() as gone:
        ways.check("node1", f"tcp://{gone}")
        await looked(ways)
    assert not failed


async def test_one_worker_of_each_host_is_tried() -> None:
    """A thousand workers are not a thousand connections; local ones are none."""
    async with Server({}) as server:
        address = await listening(server)
        ways = checker()
        for host in ("node1", "node1", "node2"):
            ways.check(host, address)
        ways.check("node3", "tcp://[::1]:9")
        assert len(ways._tasks) == 2
        await looked(ways)
    assert not ways.failed


async def test_a_worker_tells_what_another_one_answers_it() -> None:
    """Through Dask's own `run`, so it works as soon as the worker does."""
    options: dict[str, Any] = {"dashboard_address": ":0", "dashboard": False}
    async with (
        Scheduler(host="127.0.0.1", port=0, **options) as scheduler,
        Worker(scheduler.address, nthreads=1) as one,
        Worker(scheduler.address, nthreads=1) as other,
    ):
        reply = await answer_from(scheduler, one.address, other.address)
        assert reply == CONNECTED
        with closed_port() as closed:
            reply = await answer_from(scheduler, one.address, f"tcp://{closed}")
        assert reply == "connection refused"
