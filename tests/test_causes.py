"""Why a node ended."""

from __future__ import annotations

import pytest

from dask_gridengine.causes import EXIT_STATUS, Cause, Diagnosis, diagnose_end
from dask_gridengine.launchers.base import NodeEnd, NodeId

NODE = NodeId("3", 1)


def test_no_status_makes_grid_engine_run_or_park_the_job_again() -> None:
    """99 reruns a job and 100 parks it in Eqw; a node never exits with either."""
    assert not {99, 100} & set(EXIT_STATUS.values())


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (NodeEnd(node=NODE, exit_status=0), Cause.FINISHED),
        (NodeEnd(node=NODE, exit_status=127), Cause.NO_PYTHON),
        (NodeEnd(node=NODE, exit_status=126), Cause.NO_PYTHON),
        (NodeEnd(node=NODE, exit_status=73), Cause.NO_LOG),
        (NodeEnd(node=NODE, exit_status=78), Cause.UNREADABLE),
        (NodeEnd(node=NODE, exit_status=69), Cause.UNREACHABLE),
        (NodeEnd(node=NODE, exit_status=3), Cause.UNKNOWN),
        (NodeEnd(node=NODE, signal="SIGKILL"), Cause.KILLED),
        (NodeEnd(node=NODE, cancelled=True), Cause.CANCELLED),
        (NodeEnd(node=NODE, cancelled=True, signal="SIGKILL"), Cause.CANCELLED),
        (NodeEnd(node=NODE, reason="deleted before it started"), Cause.DELETED),
        (NodeEnd(node=NODE), Cause.UNKNOWN),
    ],
)
def test_an_end_notice_becomes_a_cause(end: NodeEnd, cause: Cause) -> None:
    """Each kind of end is told apart."""
    assert diagnose_end(end, "", started=cause is Cause.FINISHED).cause is cause


def test_the_last_line_of_the_log_is_the_evidence() -> None:
    """What the node said last stands in the sentence."""
    diagnosis = diagnose_end(
        NodeEnd(node=NODE, exit_status=127),
        "noise\nsh: 1: exec: nopy: not found\n",
        started=False,
    )
    assert "nopy: not found" in diagnosis.sentence("node 3.1")


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.is_failure])
def test_every_failure_says_what_to_do(cause: Cause) -> None:
    """No failure leaves its reader without a next step."""
    sentence = Diagnosis(cause=cause).sentence("node 3.1", "3")
    assert "what to do: " in sentence
    assert "{" not in sentence


def test_who_was_never_heard_of_has_not_finished() -> None:
    """Exit status 0 without a hello is no success: something else ran."""
    end = NodeEnd(node=NODE, exit_status=0)
    assert diagnose_end(end, "", started=False).cause is Cause.UNKNOWN


def test_who_was_heard_of_was_not_deleted_before_it_started() -> None:
    """An end lost in an outage of the grid is not mistaken for a qdel."""
    end = NodeEnd(node=NODE, reason="deleted before it started")
    assert diagnose_end(end, "", started=True).cause is Cause.UNKNOWN
