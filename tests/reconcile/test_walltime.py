"""How long nodes may run, and when they have to drain."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.batch import batch_system
from dask_gridengine.grid_types import ArrayReport, NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.walltime import (
    GRID_SLACK,
    HAND_OVER,
    LEAST_HAND_OVER,
    LEAST_LEAD,
    LONGEST_LEAD,
    USEFUL,
    WalltimeLimits,
    hand_over_seconds,
    lead,
    margin,
)
from tests.pools import FakeLauncher, make_pool

SECONDS = st.floats(0.0, 1e6)


@given(lifetime=SECONDS, task=SECONDS, moving=SECONDS)
def test_a_node_is_used_for_half_its_life(
    lifetime: float, task: float, moving: float
) -> None:
    """Whatever tasks take; and a longer task never makes the margin shorter."""
    found = margin(lifetime, task=task, hand_over=moving)
    assert 0 <= found <= (1 - USEFUL) * lifetime
    assert found <= margin(lifetime, task=task + 1, hand_over=moving)


def test_the_margin_depends_on_tasks_and_data() -> None:
    """There is time for one more task, and to move the data."""
    moving = hand_over_seconds(3600, nbytes=1e9, bandwidth=1e8, longest=30)
    assert moving > HAND_OVER + 10
    assert margin(3600, task=60, hand_over=moving) > GRID_SLACK + 60 + moving
    endless = hand_over_seconds(3600, nbytes=1e15, bandwidth=0, longest=30)
    assert endless == HAND_OVER + 30
    brief = hand_over_seconds(10, nbytes=0, bandwidth=1e8, longest=30)
    assert brief == LEAST_HAND_OVER


@given(useful=SECONDS, starts=st.lists(SECONDS))
def test_a_replacement_is_requested_as_early_as_starts_take(
    useful: float, starts: list[float]
) -> None:
    """The slowest seen counts; within bounds, so that nodes are not always doubled."""
    found = lead(useful, starts)
    assert found <= LONGEST_LEAD * useful
    assert found >= min(LONGEST_LEAD * useful, max([LEAST_LEAD, *starts]))


class Queues(FakeLauncher):
    """A launcher that knows the limits of queues, and one that is in force."""

    def __init__(self, limits: dict[str, float | None], found: ArrayReport) -> None:
        super().__init__(batch_system=batch_system("gridengine"))
        self.limits, self.found = limits, found
        self.queues: list[str] = []

    async def report(  # type: ignore[override]
        self, job: str, native: str
    ) -> ArrayReport:
        return self.found

    async def queue_limit(self, queue: str) -> float | None:  # type: ignore[override]
        self.queues.append(queue)
        return self.limits.get(queue)


def walltimes(
    native: str = "",
    walltime: float | None = None,
    found: ArrayReport | None = None,
    **queues: float | None,
) -> tuple[WalltimeLimits, Queues]:
    launcher = Queues(queues, found or ArrayReport())
    options = {"walltime": walltime} if walltime else {}
    pool = make_pool(launcher=launcher, native=native, **options)
    if found is None:
        pool.reports.close()
    return pool.rotation.limits, launcher


def node(queue: str = "", notify: float = 0.0) -> NodeRecord:
    return NodeRecord(
        id=NodeId("1", 1),
        state=NodeState.WORKING,
        since=0.0,
        submitted=0.0,
        queue=queue,
        notify=notify,
    )


async def test_the_shorter_of_request_and_queue_counts() -> None:
    """A queue is asked about once, and until it has answered the request counts."""
    limits, launcher = walltimes("-l h_rt=100", long=3600.0, short=60.0)
    assert limits.of(node()) == 100
    assert limits.of(node("short")) == 100
    await asyncio.sleep(0)
    assert [limits.of(node(queue)) for queue in ("short", "long", "")] == [
        *[60, 100, 100]
    ]
    await asyncio.sleep(0)
    assert limits.of(node("long")) == 100
    assert launcher.queues == ["short", "long"]


@pytest.mark.parametrize("in_force", [20.0, 200.0])
async def test_the_request_in_force_counts(in_force: float) -> None:
    """A site's defaults, or its verifier, may change the request."""
    limits, _ = walltimes("-l h_rt=100", found=ArrayReport(walltime=in_force))
    assert limits.of(node()) == 100
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert limits.of(node()) == in_force


async def test_without_any_limit_there_is_no_end() -> None:
    """Neither of the request, nor of the queue."""
    limits, _ = walltimes("-q a.q", **{"all.q": None})
    limits.of(node("all.q"))
    await asyncio.sleep(0)
    assert limits.of(node("all.q")) is None


def test_local_processes_have_the_requested_walltime() -> None:
    """They have neither submit options nor queues."""
    limits, launcher = walltimes(walltime=30.0)
    assert limits.of(node()) == 30.0
    assert launcher.queues == []


@pytest.mark.parametrize(
    ("native", "signal", "notify", "seconds"),
    [
        ("-notify", "SIGUSR2", 10.0, 9.0),
        ("-notify", "SIGUSR1", 10.0, 9.0),
        ("-l s_rt=60", "SIGUSR1", 10.0, 30.0),
        ("", "SIGTERM", 10.0, 30.0),
        ("-notify", "SIGUSR2", 0.0, 30.0),
        ("-notify", "SIGUSR2", 60.0, 30.0),
    ],
)
def test_how_long_a_node_has_after_a_signal(
    native: str, signal: str, notify: float, seconds: float
) -> None:
    """The queue's notify where the grid will kill or suspend, else drain-timeout."""
    limits, _ = walltimes(native)
    assert limits.after(signal, node(notify=notify), otherwise=30.0) == seconds


async def test_a_drain_ends_before_the_grid_kills() -> None:
    """Slurm's KillWait is the time from SIGTERM to SIGKILL."""
    limits, _ = walltimes(found=ArrayReport(kill_delay=20.0))
    assert limits.after("SIGTERM", node(), otherwise=30.0) == 30.0
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert limits.after("SIGTERM", node(), otherwise=30.0) == 19.0
    assert limits.after("SIGTERM", node(), otherwise=5.0) == 5.0
