"""What went wrong with nodes."""

from __future__ import annotations

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
        failures.note(record, Diagnosis(cause=cause), LOGS)
    return failures


def test_alike_failures_are_one_sentence_and_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred nodes without Python are said to be a hundred, once."""
    registry = NodeRegistry()
    registry.submitted(NodeId("7", i + 1) for i in range(101))
    *many, last = registry
    failures = Failures()
    assert not failures
    for record in many:
        failures.note(record, WHY, LOGS)
    failures.note(last, Diagnosis(cause=Cause.KILLED, detail="SIGKILL"), LOGS)
    first, second = failures.reasons()
    assert first.startswith("100 nodes (e.g. node 7.1) could not find Python")
    assert second.startswith("node 7.101 was killed: SIGKILL")
    assert len(failures) == 101
    assert len(caplog.records) == 2
    assert "/logs/7.1.log" not in caplog.text, "the sentence has said it all"
    assert "/logs/7.101.log" in caplog.text


@pytest.mark.parametrize(
    ("places", "hosts", "persistent_failure"),
    [
        ("ab", 9, False),  # too few to be a pattern
        ("aaaa", 9, False),  # it may be the host
        ("aaaa", None, False),  # so it may if nobody knows the others
        ("aab", 9, True),
        ("aaa", 1, True),  # there is no other host
    ],
)
def test_alike_failures_on_different_hosts_leave_no_hope(
    places: str, hosts: int | None, persistent_failure: bool
) -> None:
    """What they have in common will make the next one fail as well."""
    found = failed(*places).persistent_failure(hosts=hosts)
    assert found is (Cause.NO_PYTHON if persistent_failure else None)


def test_a_host_that_is_not_known_cannot_be_excused() -> None:
    """Nodes that could not even write a log do not say where they were."""
    assert failed(*[""] * ALIKE).persistent_failure() is Cause.NO_PYTHON
    assert failed("a", "a", "").persistent_failure() is Cause.NO_PYTHON
    assert failed(*[""] * (ALIKE - 1)).persistent_failure() is None


def test_different_causes_are_no_pattern() -> None:
    """Bad luck of three kinds is not one thing that is wrong."""
    registry, failures = NodeRegistry(), Failures()
    registry.submitted(NodeId("7", i + 1) for i in range(3))
    causes = (Cause.NO_PYTHON, Cause.KILLED, Cause.UNREACHABLE)
    for record, cause in zip(registry, causes, strict=True):
        record.host = str(record.id)
        failures.note(record, Diagnosis(cause=cause), LOGS)
    assert failures.persistent_failure() is None


def test_a_node_that_had_worked_is_no_sign_of_hopelessness() -> None:
    """Walltimes and memory limits come after work that was done."""
    registry, failures = NodeRegistry(), Failures()
    registry.submitted(NodeId("7", i + 1) for i in range(9))
    for record in registry:
        record.host, record.working = str(record.id), 1.0
        failures.note(record, Diagnosis(cause=Cause.WALLTIME), LOGS)
    assert failures.persistent_failure() is None
    assert len(failures) == 9


def test_a_worker_or_the_user_ends_the_row() -> None:
    """The books are kept, but counting begins anew."""
    failures = failed(*"abc")
    failures.reset()
    assert failures.persistent_failure() is None
    assert len(failures) == 3


def test_refusals_of_the_grid_count_too() -> None:
    """Of whole arrays, wherever they would have run."""
    failures = Failures()
    for _ in range(ALIKE):
        failures.rejected(Diagnosis(cause=Cause.REJECTED, detail="no such queue"))
    assert failures.persistent_failure() is Cause.REJECTED


def test_what_is_known_better_later_is_corrected() -> None:
    """The accounting speaks half a minute after the end."""
    failures = failed(*"ab")
    better = Diagnosis(cause=Cause.NOT_STARTED, detail="28: changing directory")
    failures.correct(WHY, better)
    first, second = failures.reasons()
    assert first.startswith("node 7.1 on a could not find Python")
    assert "changing directory" in second
    assert len(failures) == 2
    failures.correct(Diagnosis(cause=Cause.MEMORY), better)
    assert len(failures) == 2, "what was never entered cannot be corrected"
    failures.correct(WHY, better)
    (reason,) = failures.reasons()
    assert reason.startswith("2 nodes (e.g. node 7.1 on a) could not be started")
    failures.correct(better, better)
    assert failures.reasons() == [reason]


def test_what_was_no_failure_after_all_is_struck_out() -> None:
    """A node given up as lost may turn out to have been deleted."""
    failures = failed("a")
    failures.correct(WHY, Diagnosis(cause=Cause.DELETED))
    assert failures.reasons() == []
