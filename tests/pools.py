"""A pool without a grid and without Dask: its launcher does what a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.errors import ArrayTooLarge, LauncherError, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.nodes.registry import NodeRecord
from dask_gridengine.options import Options
from tests.samples import hello


@dataclass
class FakeLauncher:
    """A launcher without a grid: it returns ids, or fails."""

    error: Exception | None = None
    hold: asyncio.Event | None = None  # submissions wait for it
    attempts: int = 0
    submissions: list[int] = field(default_factory=list)
    requests: list[NodeRequest] = field(default_factory=list)
    refused: int = 0
    asked: list[NodeId] = field(default_factory=list)
    cancelled: list[NodeId] = field(default_factory=list)
    places: frozenset[str] | None = frozenset({"node1", "node2"})
    searched: int = 0  # requests for them
    found: frozenset[NodeId] | None = None  # suspended nodes
    suspended_requests: int = 0
    largest: int = 0  # nodes an array may have; 0 is any number
    running: int | None = None  # nodes of an array that may run at once
    answers: asyncio.Event | None = None  # the answer to that waits for it
    kind: str = "fake"
    description: str = "no grid"
    slots: int | None = None
    batch_system: BatchSystem = field(default_factory=BatchSystem)

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        self.attempts += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.largest and count > self.largest:
            words = f"you tried to submit a job with more than {self.largest} tasks"
            raise ArrayTooLarge(words, count, "", limit=self.largest)
        if self.error is not None:
            self.refused += count * isinstance(self.error, SubmitError)
            raise self.error
        self.submissions.append(count)
        self.requests.append(request)
        job = str(len(self.submissions))
        return [NodeId(job, i + 1) for i in range(count)]

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        self.cancelled += nodes

    async def recheck(self, nodes: Collection[NodeId]) -> None:
        self.asked += nodes

    async def hosts(self, native: str) -> frozenset[str] | None:
        self.searched += 1
        return self.places

    async def array_running(self) -> int | None:
        if self.answers is not None:
            await self.answers.wait()
        return self.running

    async def queue_limit(self, queue: str) -> None:
        return None

    async def report(self, job: str, native: str) -> None:
        return None

    async def account(self, node: NodeId, timeout: float = 0.0) -> None:
        return None

    async def suspended(self) -> frozenset[NodeId] | None:
        self.suspended_requests += 1
        return self.found

    async def aclose(self) -> None:
        """Nothing was started."""


class FakeScheduler:
    """A scheduler that knows no workers."""

    address = contact_address = "tcp://10.0.0.1:8786"

    def __init__(self) -> None:
        self.workers: dict[str, Any] = {}
        self.silent_workers: list[str] = []
        self.changes: list[tuple[list[str], bool]] = []
        self.liveness = self

    def silent(self, seconds: float) -> list[str]:
        self.limit = seconds
        return self.silent_workers

    def set_suspended(self, names: Collection[str], now: bool) -> None:
        self.changes.append((sorted(names), now))


class FakeLifecycle:
    """Keeps the work that a pool starts, which `World` does not run."""

    def release(self, work: Any) -> None:
        work.close()


class FakeCluster:
    """What a pool uses of its cluster."""

    def __init__(self, scheduler: Any = None) -> None:
        self.worker_spec: dict[str, Any] = {}
        self.workers: dict[str, Any] = {}
        self.scheduler = scheduler or FakeScheduler()
        self.name = "fake"
        self.notes: list[str] = []
        self.resumed: list[float] = []
        self.persistent_failures = 0
        self.passes = 0
        self.pools: list[NodePool] = []
        self._changed = asyncio.Event()
        self._lifecycle = FakeLifecycle()
        self._tls, self._working_directory = None, ""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def _on_resume(self, seconds: float) -> None:
        self.resumed.append(seconds)

    def _on_persistent_failure(self, pool: NodePool) -> None:
        self.persistent_failures += 1

    def _request_pass(self) -> None:
        self.passes += 1

    def _share_of_machine(self, pool: NodePool, slots: int) -> None:
        return None


def make_pool(
    name: str = "",
    *,
    cluster: FakeCluster | None = None,
    launcher: FakeLauncher | None = None,
    directory: Path = Path("/shared"),
    clock: Callable[[], float] = steady_time,
    native: str = "",
    **options: Any,
) -> NodePool:
    """A pool that has not been opened."""
    given: Any = cluster or FakeCluster()
    starts: Any = launcher or FakeLauncher()
    pool = NodePool(
        given,
        name,
        Options.resolve(options),
        launcher=starts,
        request=NodeRequest(name="x", command=("true",), native=native),
        directory=directory,
        clock=clock,
    )
    pool.admission.versions = hello().versions
    pool.admission.ready = True
    given.pools.append(pool)
    return pool


def bearing(pool: NodePool, worker: str, number: int) -> NodeRecord:
    """A node of the pool, on ``node1``, that works as this worker."""
    registry, node = pool.registry, NodeId("12", number)
    registry.submitted([node])
    record = registry.records[node]
    pool.cluster.worker_spec[worker] = {}
    registry.unbound.append(worker)
    registry.arrive(record, hello(index=number))
    registry.bind(record)
    registry.registered(worker)
    return record


class World:
    """A pool with its own clock, whose passes a test runs."""

    def __init__(self, desired: int = 0, **options: Any) -> None:
        self.now = 1000.0
        options.setdefault("log_directory", "/shared/logs")  # keeps the logs
        self.launcher, self.cluster = FakeLauncher(), FakeCluster()
        self.pool = make_pool(
            cluster=self.cluster,
            launcher=self.launcher,
            clock=lambda: self.now,
            **options,
        )
        self.registry, self.reconciler = self.pool.registry, self.pool.reconciler
        self.pool.scale(desired, by_user=True)

    @property
    def names(self) -> list[str]:
        return self.pool.names

    async def scale(self, count: int, *, by_user: bool = True) -> LauncherError | None:
        """Change the number, and run a pass."""
        self.pool.scale(count, by_user=by_user)
        return await self.pool.reconcile()

    async def turn(
        self, seconds: float = 0.0, after: Callable[[], None] = lambda: None
    ) -> None:
        """Let `seconds` pass in ticks, with a check and a pass in each."""
        tick = 2.0
        while seconds > tick:
            self.now += tick
            seconds -= tick
            await self._turn()
            after()
        self.now += seconds
        await self._turn()
        after()

    async def _turn(self) -> None:
        await self.pool.monitor.check()
        await self.pool.reconcile()

    def greet(self, record: NodeRecord, host: str) -> None:
        """A node says hello, and gets its answer."""
        job, index = record.id
        self.pool.admission.answer(
            hello(
                job=job,
                index=index,
                process_token=f"{job:0>8}{index:0>8}",
                host=host,
                submission_id=record.submission_id,
            )
        )

    def work(self, record: NodeRecord, host: str = "node1") -> None:
        """A queued node arrives and becomes a worker."""
        self.registry.arrive(record, hello(job=record.id.job, host=host))
        self.pool.registered(self.registry.bind(record))

    async def die(
        self, record: NodeRecord, cause: Cause = Cause.KILLED, host: str = ""
    ) -> None:
        """A node ends, and its end notice comes."""
        record.host = host or record.host
        record.diagnosis = record.diagnosis or Diagnosis(cause=cause)
        self.pool.exits.on_end_notice(EndNotice(node=record.id))
        await self.pool.exits.drain(timeout=5)

    def decided(self, words: str) -> list[str]:
        """Decisions with these words."""
        return [text for text in self.reconciler.decisions if words in text]

    def in_state(self, *states: Any) -> list[NodeRecord]:
        return self.registry.in_state(*states)
