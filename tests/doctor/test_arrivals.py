"""What is made of nodes that come, or do not."""

from __future__ import annotations

from collections.abc import Callable

from dask_gridengine.doctor import arrivals
from dask_gridengine.doctor.finding import Status
from dask_gridengine.doctor.outcome import Outcome
from dask_gridengine.doctor.standing import Standing
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.grid_types import NodeId
from tests.doctor.conftest import VERSIONS, make_ended, options

ControlReply = Callable[..., Outcome]


def queued() -> Outcome:
    return Outcome(node=NodeId("7", 1))


def test_nobody_came(told: ControlReply) -> None:
    """Grid Engine's own words say why."""
    why = Standing(reasons=("cannot run in queue all.q: full",))
    found = arrivals.waiting([queued()], 5, why)
    assert found.status is Status.FAIL
    assert found.evidence == why.reasons
    assert arrivals.nodes([queued()], "7").status is Status.SKIP


def test_some_came(told: ControlReply) -> None:
    """A full grid is a warning."""
    found = arrivals.waiting([told(), queued()], 5, Standing())
    assert found.status is Status.WARN
    assert "1 of 2 nodes" in found.sentence


def test_one_runs_and_is_silent() -> None:
    """It is not in the queue any more: something hangs, there."""
    found = arrivals.waiting([queued()], 5, Standing(running={1: "all.q@node1"}))
    assert found.status is Status.FAIL
    assert "all.q@node1" in found.sentence


def test_a_long_wait(told: ControlReply) -> None:
    """Whoever waits for minutes is told what helps."""
    slow = told()
    slow.waited = 300.0
    assert arrivals.waiting([slow], 600, Standing()).status is Status.WARN


def test_one_that_was_killed() -> None:
    """The end it had, and the last words of its log."""
    found = arrivals.nodes(
        [make_ended(log="on node1\nout of room", signal="SIGKILL")], "7"
    )
    assert found.status is Status.FAIL
    assert "killed by SIGKILL" in found.sentence
    assert "out of room" in found.evidence


def test_one_that_hangs(told: ControlReply) -> None:
    """The step it was at is known by name."""
    found = arrivals.nodes([told(step="import of dask")], "7")
    assert "hangs at: import of dask" in found.sentence


def test_a_directory_that_is_not_shared() -> None:
    """By the exit status alone: such a node cannot write a word."""
    blind = make_ended(exit_status=EXIT_STATUS[Cause.UNREADABLE])
    found = arrivals.directory([blind], options())
    assert found.status is Status.FAIL
    assert "--shared-directory" in found.advice


def test_a_python_that_is_not_there() -> None:
    """It is named."""
    lost = make_ended(exit_status=EXIT_STATUS[Cause.NO_PYTHON])
    found = arrivals.python([lost], options(python="/nowhere/python"))
    assert "no /nowhere/python" in found.sentence


def test_a_python_without_us() -> None:
    """The herald's line says which it was."""
    log = "on node1\nherald\tnode1\t/usr/bin/python3\t3.9.2\tModuleNotFoundError: x"
    foreign = make_ended(log=log, exit_status=EXIT_STATUS[Cause.NO_IMPORT])
    found = arrivals.python([foreign], options())
    assert "3.9.2 (/usr/bin/python3)" in found.sentence
    assert found.evidence == ("ModuleNotFoundError: x",)


def test_other_versions(told: ControlReply) -> None:
    """The door of a cluster would refuse them, with the same sentence."""
    ours = {**VERSIONS, "dask": "2026.7.0"}
    found = arrivals.versions([told()], ours)
    assert found.status is Status.FAIL
    assert "2026.7.0" in found.sentence
    assert arrivals.versions([told()], VERSIONS).status is Status.PASS
