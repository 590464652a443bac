"""Failures of nodes, grouped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.failures import ALIKE, Failures
from dask_gridengine.nodes.registry import NodeRegistry

LOGS = Path("/logs")
WHY = Diagnosis(cause=Cause.NO_PYTHON)


def failed(*hosts: str, cause: Cause = Cause.NO_PYTHON) -> Failures:
    """As many nodes as hosts, one after the other."""
    registry, failures = NodeRegistry(), Failures()
    registry.submitted(NodeId("7", i + 1) for i in range(len(hosts)))
    for record, host in zip(registry, hosts, strict=True):
        record.host = host
        failures.add(record, Diagnosis(cause=cause), LOGS)
    return failures


def test_alike_failures_are_one_sentence_and_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred nodes without Python are one sentence."""
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(101))
    *many, last = registry
    failures = Failures()
    assert not failures
    for record in many:
        failures.add(record, WHY, LOGS)
    failures.add(last, Diagnosis(cause=Cause.KILLED, detail="SIGKILL"), LOGS)
    first, second = failures.reasons()
    assert first.startswith("100 nodes (e.g. node 7.1) could not find Python")
    assert second.startswith("node 7.101 was killed: SIGKILL")
    assert len(failures) == 101
    assert len(caplog.records) == 2
    assert "/logs/7.1.log" not in caplog.text, "the log would not help"
    assert "/logs/7.101.log" in caplog.text


@pytest.mark.parametrize(
    ("places", "hosts", "persistent_failure"),
    [
        ("ab", 9, False),  # too few to be a pattern
        ("aaaa", 9, False),  # it may be the host
        ("aaaa", None, False),  # or if the other hosts are unknown
        ("aab", 9, True),
        ("aaa", 1, True),  # there is no other host
        (["a", "a", ""], None, True),  # an unknown host counts as another one
    ],
)
def test_alike_failures_on_different_hosts_are_persistent(
    places: Sequence[str], hosts: int | None, persistent_failure: bool
) -> None:
    """The next node is expected to fail as well; until a node works."""
    failures = failed(*places)
    found = failures.persistent_failure(hosts=hosts)
    assert found is (Cause.NO_PYTHON if persistent_failure else None)
    failures.reset()
    assert failures.persistent_failure(hosts=hosts) is None
    assert len(failures) == len(places), "the groups are kept"


def test_rejected_arrays_count_too() -> None:
    """On whichever host they would have run; other causes do not."""
    failures = failed("a", "b")
    failures.rejected()
    assert failures.persistent_failure() is None
    for _ in range(ALIKE - 1):
        failures.rejected()
    assert failures.persistent_failure() is Cause.REJECTED


def test_a_node_that_had_worked_does_not_count() -> None:
    """As with a walltime, after work was done."""
    registry, failures = NodeRegistry(), Failures()
    registry.submitted(NodeId("7", i + 1) for i in range(9))
    for record in registry:
        record.host, record.working = str(record.id), 1.0
        failures.add(record, Diagnosis(cause=Cause.WALLTIME), LOGS)
    assert failures.persistent_failure() is None
    assert len(failures) == 9


def test_a_diagnosis_can_be_corrected() -> None:
    """The accounting has its record half a minute after the end."""
    failures = failed(*"ab")
    better = Diagnosis(cause=Cause.NOT_STARTED, detail="28: changing directory")
    failures.correct(WHY, better)
    first, second = failures.reasons()
    assert first.startswith("node 7.1 on a could not find Python")
    assert "changing directory" in second
    assert len(failures) == 2
    failures.correct(Diagnosis(cause=Cause.MEMORY), better)
    assert len(failures) == 2, "it was never added"
    failures.correct(WHY, better)
    (reason,) = failures.reasons()
    assert reason.startswith("2 nodes (e.g. node 7.1 on a) could not be started")
    failures.correct(better, better)
    assert failures.reasons() == [reason]
    failures.correct(better, Diagnosis(cause=Cause.DELETED))
    assert len(failures) == 1, "one was no failure"
