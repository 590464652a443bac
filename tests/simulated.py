"""Registries of many nodes that lived for simulated hours."""

from __future__ import annotations

import random

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from tests.samples import hello

START = 1_700_000_000.0  # seconds since the epoch

_ENDS = (Cause.MEMORY, Cause.KILLED, Cause.CANCELLED, Cause.EXPIRED, Cause.DELETED)


class Clock:
    """Seconds since the epoch, which a test sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Nodes:
    """A registry whose nodes change when a test says so."""

    def __init__(self, clock: Clock | None = None, name: str = "simulated") -> None:
        self.clock = clock or Clock()
        self.registry = NodeRegistry(clock=self.clock)
        self.history = NodeHistory(
            name, lambda: {"": self.registry}, lambda: {"": len(self.registry.live)}
        )

    def submit(self, count: int, job: str = "7") -> list[NodeRecord]:
        """Queue more nodes."""
        self.registry.submitted(NodeId(job, i + 1) for i in range(count))
        return list(self.registry)[-count:]

    def arrive(self, record: NodeRecord, host: str = "node1", age: float = 0.0) -> None:
        """Let a node arrive, and a worker name wait for it."""
        job, index = record.id.job, record.id.index
        self.registry.unbound.append(f"ge-{len(self.registry.by_worker)}")
        self.registry.arrive(record, hello(job=job, index=index, host=host, age=age))

    def work(self, record: NodeRecord) -> None:
        """Let its worker register."""
        self.registry.registered(self.registry.bind(record))

    def restart(self, record: NodeRecord) -> None:
        """Let its worker die and its Nanny start another one."""
        record.restarts, record.restarted = record.restarts + 1, self.clock()
        record.death = Diagnosis(cause=Cause.KILLED, source="Nanny")

    def end(self, record: NodeRecord, cause: Cause = Cause.KILLED) -> None:
        """End it for this cause."""
        record.diagnosis = Diagnosis(cause=cause, source="exit report")
        self.registry.move(record, NodeState.GONE)


def pooled(**pools: int) -> tuple[NodeHistory, dict[str, Nodes]]:
    """Make a cluster with these numbers of queued nodes in each pool."""
    nodes = {name: Nodes() for name in pools}
    for name, count in pools.items():
        nodes[name].registry = NodeRegistry(pool=name, clock=nodes[name].clock)
        nodes[name].submit(count)
    registries = {name: each.registry for name, each in nodes.items()}
    return NodeHistory("pooled", lambda: registries, lambda: pools), nodes


def many(count: int, hosts: int, *, until: float = START, hours: float = 1.0) -> Nodes:
    """Simulate nodes that arrive one after the other, of which a third ends again.

    All this takes `hours`, until the time `until`.
    """
    chance = random.Random(count)
    nodes = Nodes(Clock(until - hours * 3600))
    events: list[tuple[float, str, NodeRecord]] = []
    for i, record in enumerate(nodes.submit(count, "77")):
        arrives = nodes.clock.now + hours * (
            chance.expovariate(1 / 700) + i * 1500 / count
        )
        works = arrives + 2 + chance.random() * 20
        events += [(arrives, "arrive", record), (works, "work", record)]
        if chance.random() < 0.3:
            ends = works + hours * chance.expovariate(1 / 1200)
            events.append((ends, "end", record))
    for when, what, record in sorted(events, key=lambda event: event[0]):
        if when > until or record.state is NodeState.GONE:
            continue
        nodes.clock.now = when
        if what == "arrive":
            nodes.arrive(record, f"node{chance.randrange(hosts):03d}")
        elif what == "work":
            nodes.work(record)
        else:
            nodes.end(record, chance.choice(_ENDS))
    nodes.clock.now = until
    return nodes
