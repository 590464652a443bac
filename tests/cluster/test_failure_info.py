"""What the scheduler sees of workers, joined with what is known of their nodes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.scheduler import KilledWorker

from dask_gridengine.cluster.failure_info import ClusterFailureInfo
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.scheduler.failure_attribution import Evidence
from tests.pools import bearing, make_pool


class Scene:
    """A `ClusterFailureInfo`, and one node, which is the worker ``ge-0``."""

    def __init__(self, **options: Any) -> None:
        self.pool = make_pool(**options)
        self.suspects: dict[str, list[str]] = {}
        self.failure_info = ClusterFailureInfo(
            [self.pool],
            lambda key: self.suspects.get(key, []),
        )
        self.node = self.node_of(0)

    def node_of(self, number: int) -> NodeRecord:
        """The node that is the worker of this number, on the one host there is."""
        return bearing(self.pool, f"ge-{number}", number + 1)

    def more(self, count: int) -> None:
        for number in range(1, count + 1):
            self.node_of(number)

    def killed(self, key: str = "f-1", worker: str = "ge-0") -> KilledWorker:
        """What Dask raises for a task that has died with its workers."""
        last: Any = SimpleNamespace(name=worker, address="tcp://10.0.0.1:1")
        return KilledWorker(key, last, 3)

    def ended(self, **why: Any) -> NodeRecord:
        self.node.diagnosis = Diagnosis(**why)
        self.pool.registry.move(self.node, NodeState.GONE)
        return self.node


@pytest.fixture
def scene() -> Scene:
    async def made() -> Scene:
        return Scene()

    return asyncio.run(made())


def exit_event(**changes: Any) -> dict[str, Any]:
    return {
        "name": "ge-0",
        "signal": None,
        "exit_status": None,
        "peak_memory": 0,
        "too_much_memory": 0,
        "memory_limit": 0,
        **changes,
    }


def test_a_missing_worker_is_noted(scene: Scene) -> None:
    """The registry has since when, and whether it was on purpose."""
    scene.failure_info.missing("ge-0", expected=False)
    assert scene.node.lost is not None
    assert not scene.node.retired
    scene.failure_info.missing("ge-0", expected=True)
    assert scene.node.retired
    scene.failure_info.missing("a stranger", expected=False)


def test_advice_on_memory_is_for_all_workers_of_a_node() -> None:
    """The limit is one worker's share, and the option the memory of the whole node."""
    scene = Scene(cores=4, processes=4)
    scene.failure_info.worker_exit(
        "ge-0", exit_event(signal="SIGKILL", too_much_memory=10**9, memory_limit=10**9)
    )
    assert "request memory='6 GB'" in scene.failure_info.deaths(["ge-0"])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"signal": "SIGSEGV"}, "SIGSEGV"),
        ({"exit_status": 3}, "exit status 3"),
    ],
)
def test_a_dead_worker_process_is_remembered(
    scene: Scene, event: dict[str, Any], words: str
) -> None:
    """Its node lives on; how the process ended is what tasks died of."""
    scene.failure_info.worker_exit("ge-0", exit_event(peak_memory=7, **event))
    assert scene.node.restarts == 1
    assert scene.node.restarting
    assert scene.node.peak_memory == 7
    assert scene.node.death is not None
    assert scene.node.death.cause is Cause.KILLED
    assert words in scene.failure_info.deaths(["ge-0"])


def test_a_worker_that_its_nanny_ended_comes_with_advice(scene: Scene) -> None:
    """Dask's own memory limit is distinguished from any other SIGKILL."""
    event = exit_event(signal="SIGKILL", too_much_memory=2**30, memory_limit=2**30)
    scene.failure_info.worker_exit("ge-0", event)
    words = scene.failure_info.deaths(["ge-0"])
    assert "ran into the memory limit: 1 GiB of 1 GiB" in words
    assert "memory=" in words


def test_a_restart_on_purpose_is_no_death(scene: Scene) -> None:
    """client.restart() ends processes with status 0; strangers are not ours."""
    scene.failure_info.worker_exit("ge-0", exit_event(exit_status=0))
    scene.failure_info.worker_exit("a stranger", exit_event(signal="SIGKILL"))
    assert scene.node.death is None
    assert not scene.node.restarts


def test_a_death_is_explained_once_its_cause_is_known(scene: Scene) -> None:
    """None before a report of the node or its Nanny, and then a text."""
    scene.failure_info.missing("ge-0", expected=False)
    assert scene.failure_info.explain(scene.killed()) is None
    scene.failure_info.worker_exit("ge-0", exit_event(signal="SIGSEGV"))
    assert "SIGSEGV" in (scene.failure_info.explain(scene.killed()) or "")


def test_all_suspects_of_a_task_are_named_once(scene: Scene) -> None:
    """Those that died while they ran it, and not only the last one."""
    scene.ended(cause=Cause.WALLTIME)
    scene.suspects["f-1"] = ["ge-0", "ge-0", "a stranger"]
    text = scene.failure_info.explain(scene.killed(worker="another")) or ""
    assert text.count("ge-0") == 1


def test_a_death_on_purpose_counts_against_no_task(scene: Scene) -> None:
    """That is known when the end notice comes, and not before."""
    scene.failure_info.missing("ge-0", expected=False)
    assert scene.failure_info.evidence(["ge-0"]) == Evidence(excluded=[], pending=True)
    scene.ended(cause=Cause.DELETED)
    assert scene.failure_info.evidence(["ge-0"]) == Evidence(excluded=["ge-0"])


@pytest.mark.parametrize("cause", [Cause.KILLED, Cause.MEMORY, Cause.UNKNOWN])
def test_other_deaths_count_against_the_task(scene: Scene, cause: Cause) -> None:
    """The task may have caused them."""
    scene.ended(cause=cause)
    assert scene.failure_info.evidence(["ge-0"]) == Evidence(excluded=[])


def test_a_worker_that_its_nanny_replaced_may_have_died_of_a_task(scene: Scene) -> None:
    """Its Nanny tells at once; the node lives on."""
    scene.failure_info.missing("ge-0", expected=False)
    scene.failure_info.worker_exit("ge-0", exit_event(signal="SIGSEGV"))
    assert scene.failure_info.evidence(["ge-0"]) == Evidence(excluded=[])


def test_what_ends_a_node_ends_all_its_workers_once(scene: Scene) -> None:
    """A task that fell from one to the next has met one death."""
    scene.ended(cause=Cause.KILLED)
    found = scene.failure_info.evidence(
        ["ge-0-1", "ge-0-0", "ge-0-1", "ge-0-3", "a stranger"]
    )
    assert found == Evidence(excluded=["ge-0-0", "ge-0-3"])


def test_what_ends_a_host_ends_all_its_nodes_once(scene: Scene) -> None:
    """A host that is cut off takes them all along."""
    scene.more(2)
    for record in scene.pool.registry:
        record.diagnosis = Diagnosis(cause=Cause.HOST_LOST)
        scene.pool.registry.move(record, NodeState.GONE)
    found = scene.failure_info.evidence(["ge-0", "ge-1", "ge-2"])
    assert found == Evidence(excluded=["ge-1", "ge-2"])
