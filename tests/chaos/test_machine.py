"""Random sequences of user actions and faults: never too many nodes, right results."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

import dask
import psutil
import pytest
from distributed import Client, Future
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dask_gridengine import GridEngineCluster
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.registry import NodeState
from tests.chaos.conftest import states, working
from tests.chaos.tasks import slow_identity
from tests.waiting import wait_until

SLOTS = 3
HEALED = 30.0  # seconds; early losses in a row are replaced after pauses that double


class Trouble(logging.Handler):
    """Collects log lines that must not occur."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class UserAndFaults(RuleBasedStateMachine):
    """A cluster of local processes, the actions of its user, and faults."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._most = 0  # nodes that may be there, or on their way
        self._fixed: int | None = 0  # how many there must be in the end
        self._sent: list[tuple[int, Future]] = []
        self._trouble = Trouble()

    @initialize(jobs=st.integers(0, 3))
    def open(self, jobs: int) -> None:
        log = logging.getLogger("dask_gridengine")
        log.addHandler(self._trouble)
        self._stack.callback(log.removeHandler, self._trouble)
        self.cluster = self._stack.enter_context(
            GridEngineCluster(jobs=jobs, **self.options)
        )
        self.client = self._stack.enter_context(Client(self.cluster))
        self._most = self._fixed = jobs

    @rule(jobs=st.integers(0, 4))
    def scale(self, jobs: int) -> None:
        self.cluster.scale(jobs)
        self._most = self._fixed = jobs

    @rule(minimum=st.integers(0, 2), more=st.integers(0, 2))
    def adapt(self, minimum: int, more: int) -> None:
        # What is there above the maximum goes only when the work does.
        self._most = max(self._most, minimum + more)
        self._fixed = None
        self.cluster.adapt(
            minimum=minimum, maximum=minimum + more, interval="100ms", wait_count=2
        )

    @rule(count=st.integers(1, 30))
    def submit(self, count: int) -> None:
        numbers = range(len(self._sent), len(self._sent) + count)
        futures = self.client.map(slow_identity, numbers, pure=False, seconds=0.02)
        self._sent += zip(numbers, futures, strict=True)

    @rule(which=st.integers(0, SLOTS - 1))
    def kill_node(self, which: int) -> None:
        if rows := self.some():
            with suppress(ProcessLookupError):
                os.kill(rows[which % len(rows)].pid, signal.SIGKILL)

    @rule(which=st.integers(0, SLOTS - 1))
    def kill_worker(self, which: int) -> None:
        if rows := self.some():
            with suppress(psutil.NoSuchProcess, IndexError):
                node = psutil.Process(rows[which % len(rows)].pid)
                leaves = [p for p in node.children(recursive=True) if not p.children()]
                leaves[-1].kill()

    @precondition(lambda self: self._fixed is not None)
    @rule()
    def heal(self) -> None:
        wait_until(
            lambda: (
                len(working(self.cluster)) == min(self._fixed or 0, SLOTS)
                and self.wanted() == self._fixed
            ),
            f"{self._fixed} nodes, {SLOTS} slots",
            HEALED,
            lambda: (states(self.cluster), self.cluster.explain()),
        )

    @invariant()
    def there_are_never_more_nodes_than_requested(self) -> None:
        if hasattr(self, "cluster"):
            assert self.wanted() <= self._most, states(self.cluster)

    @invariant()
    def each_worker_has_its_own_name(self) -> None:
        if hasattr(self, "cluster"):
            names = [row.worker for row in self.cluster.jobs() if row.worker]
            assert len(names) == len({*names}), names

    @invariant()
    def nothing_impossible_happens(self) -> None:
        assert self._trouble.lines == []

    def some(self) -> list[JobRow]:
        """Return the working nodes; at least one if one was requested."""
        if self._fixed:
            wait_until(lambda: working(self.cluster), "a node works", HEALED)
        return working(self.cluster)

    def wanted(self) -> int:
        """Return how many nodes run or are queued, without those that are leaving."""
        registry = self.cluster.pool().registry
        return sum(not (r.ending or r.cancelled) for r in registry)

    def teardown(self) -> None:
        with self._stack:
            if not hasattr(self, "cluster"):
                return
            self.scale(2)
            self.heal()
            results = self.client.gather([future for _, future in self._sent])
            assert results == [number for number, _ in self._sent]
            self.there_are_never_more_nodes_than_requested()
        assert {r.state for r in self.cluster.pool().registry} <= {NodeState.GONE}
        assert not list(self.options["shared_directory"].rglob("*.json"))
        self.nothing_impossible_happens()


@pytest.fixture
def many_deaths() -> Iterator[None]:
    """Raise the number of worker deaths that a task survives: many die here."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 1000}):
        yield


@pytest.mark.usefixtures("many_deaths")
@pytest.mark.parametrize("launcher", ["process"], indirect=True)
def test_any_history_ends_well(options: dict[str, Any]) -> None:
    """scale(), adapt(), tasks and deaths in any order: the results are right, there is
    never a node too many, no name occurs twice, and nothing is left."""
    options["scheduler_options"]["dashboard_address"] = ":0"

    class OnProcesses(UserAndFaults):
        pass

    OnProcesses.options = options
    run_state_machine_as_test(
        OnProcesses,
        settings=settings(
            max_examples=5,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
