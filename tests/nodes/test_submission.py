"""What is asked of the grid, on a launcher that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.errors import ArrayTooLarge, LauncherError, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.nodes.admission import AdmissionControl
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT, HostBlocklist
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.nodes.submission import LARGE_ARRAY, ArraySubmitter
from dask_gridengine.options import Options
from tests.samples import allocation, hello


@dataclass
class Launcher:
    """Hands out numbers, or refuses, as it is told."""

    largest: int = 0  # nodes an array may have; 0 is any number
    running: int | None = None  # nodes of an array that may run at once
    trouble: Exception | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # about `running`
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    submitted: list[tuple[int, NodeRequest]] = field(default_factory=list)
    dialect: GridEngine = field(default_factory=GridEngine)

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        await self.taken.wait()
        if self.trouble is not None:
            raise self.trouble
        if self.largest and count > self.largest:
            raise ArrayTooLarge("too many tasks", count, "", limit=self.largest)
        self.submitted.append((count, request))
        return [NodeId(str(len(self.submitted)), i + 1) for i in range(count)]

    async def array_running(self) -> int | None:
        await self.answers.wait()
        return self.running

    @property
    def counts(self) -> list[int]:
        return [count for count, _ in self.submitted]


class Stage:
    """Arrays with all they need."""

    def __init__(self, **given: Any) -> None:
        self.registry, self.blocklist = NodeRegistry(), HostBlocklist()
        self.admission = AdmissionControl(
            self.registry,
            versions=hello().versions,
            max_importing=64,
            make_allocation=lambda name, _: allocation(name=name),
            block_seconds=lambda host: self.ban,
        )
        self.ban = 0.0  # seconds for which the door of every host is shut
        self.launcher = Launcher()
        self.launcher.taken.set()
        self.cancelled: list[NodeRecord] = []
        self.notes: list[str] = []
        self.arrays = ArraySubmitter(
            Options.resolve(given),
            self.registry,
            self.admission,
            self.blocklist,
            cancel=self._cancel,
            note=self.notes.append,
        )

    async def _cancel(self, records: Collection[NodeRecord]) -> None:
        self.cancelled += records
        for record in records:
            self.registry.move(record, NodeState.DRAINING)

    def open(self, native: str = "") -> None:
        request = NodeRequest(name="x", command=("true",), native=native)
        self.arrays.open(self.launcher, request)  # type: ignore[arg-type]

    @property
    def queued(self) -> int:
        return self.registry.counts[NodeState.QUEUED]


def names(count: int) -> list[str]:
    return [f"ge-{i}" for i in range(count)]


def test_all_that_is_missing_is_one_array_with_a_mark() -> None:
    """Whatever the number; a node proves by the mark which submission it is of."""

    async def scenario() -> None:
        stage = Stage()
        stage.open()
        await stage.arrays.submit(names(3))
        await stage.arrays.submit(names(2))
        assert stage.launcher.counts == [3, 2]
        marks = [r.environment[SUBMISSION] for _, r in stage.launcher.submitted]
        assert len(set(marks)) == 2
        assert [r.submission_id for r in stage.registry] == [
            *[marks[0]] * 3,
            *[marks[1]] * 2,
        ]
        stage.arrays.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("option", ["max_jobs", "max_queued_jobs"])
def test_what_there_is_no_room_for_is_owed(option: str) -> None:
    """The names are kept, and the nodes are asked for when there is room."""

    async def scenario() -> None:
        stage = Stage(**{option: 4})
        stage.open()
        await stage.arrays.submit(names(6))
        assert (stage.launcher.counts, stage.registry.backlog) == ([4], 2)
        assert len(stage.registry.unbound) == 6
        assert (stage.arrays.room, stage.arrays.short()) == (0, 0)
        stage.registry.move(next(iter(stage.registry)), NodeState.GONE)
        assert (stage.arrays.room, stage.arrays.short()) == (1, 1)
        stage.arrays.close()

    asyncio.run(scenario())


def test_an_array_that_is_too_large_teaches_how_large_one_may_be() -> None:
    """The rest is owed; the next one is not too large any more."""

    async def scenario() -> None:
        stage = Stage()
        stage.launcher.largest = 5
        stage.open()
        await stage.arrays.submit(names(12))
        assert (stage.launcher.counts, stage.registry.backlog) == ([5], 7)
        assert stage.arrays.room == 5
        stage.arrays.close()

    asyncio.run(scenario())


def test_a_large_array_waits_until_it_is_known_how_many_may_run() -> None:
    """A small one does not, and what of it could never run is asked for anew."""

    async def scenario() -> None:
        stage = Stage()
        stage.launcher.running = 10
        stage.open()
        await stage.arrays.submit(names(LARGE_ARRAY))
        assert stage.launcher.counts == [LARGE_ARRAY]
        more = asyncio.create_task(stage.arrays.submit(names(LARGE_ARRAY + 1)))
        await asyncio.wait([more], timeout=0.05)
        assert not more.done()
        stage.launcher.answers.set()
        await more
        assert stage.launcher.counts == [LARGE_ARRAY, 10]
        assert len(stage.cancelled) == LARGE_ARRAY - 10
        assert [record.id.index for record in stage.cancelled[:2]] == [11, 12]
        assert stage.registry.backlog + stage.queued == 2 * LARGE_ARRAY + 1
        assert "runs 10 nodes of an array at once: 90 of job 1" in stage.notes[0]
        stage.arrays.close()

    asyncio.run(scenario())


def test_nothing_is_booked_of_what_was_refused() -> None:
    """Neither names nor nodes; the caller is told."""

    async def scenario() -> None:
        stage = Stage()
        stage.launcher.trouble = SubmitError("no such queue", 1, "")
        stage.open()
        with pytest.raises(LauncherError):
            await stage.arrays.submit(names(3))
        assert (len(stage.registry.unbound), stage.registry.backlog) == (0, 0)
        assert stage.admission.submitting == 0
        stage.arrays.close()

    asyncio.run(scenario())


def test_what_is_queued_while_the_door_shuts_is_deleted() -> None:
    """Who closes the cluster has not seen these nodes."""

    async def scenario() -> None:
        stage = Stage()
        stage.launcher.taken.clear()
        stage.open()
        late = asyncio.create_task(stage.arrays.submit(names(3)))
        await asyncio.sleep(0)
        assert stage.admission.submitting == 1
        stage.admission.closed = True
        stage.launcher.taken.set()
        await late
        assert len(stage.cancelled) == 3
        stage.arrays.close()

    asyncio.run(scenario())


def test_a_shut_host_is_left_out() -> None:
    """In the grid's own words, beside what the user has asked for."""

    async def scenario() -> None:
        stage, why = Stage(), Diagnosis(cause=Cause.NO_PYTHON)
        stage.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            stage.blocklist.failed("node1", why, stage.registry.clock())
        stage.open("-q long.q")
        await stage.arrays.submit(names(1))
        (_, request) = stage.launcher.submitted[0]
        assert "long.q" in request.native
        assert "node1" in request.native
        stage.arrays.close()

    asyncio.run(scenario())


def test_whoever_sleeps_at_a_shut_hosts_door_stands_for_nobody() -> None:
    """Another node is asked for in its place; a place in the queue does count."""

    async def scenario() -> None:
        stage = Stage()
        stage.admission.ready = True
        stage.ban = 60.0
        stage.open()
        await stage.arrays.submit(names(2))
        assert stage.arrays.short() == 0
        record = next(iter(stage.registry))
        stage.admission.answer(
            hello(
                job=record.id.job,
                index=record.id.index,
                submission_id=record.submission_id,
            )
        )
        assert stage.arrays.short() == 1
        stage.arrays.close()

    asyncio.run(scenario())
