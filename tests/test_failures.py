"""What went wrong with nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine.causes import Cause, Diagnosis
from dask_gridengine.failures import Failures
from dask_gridengine.launchers.base import NodeId
from dask_gridengine.nodes import Roster


def test_alike_failures_are_one_sentence_and_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred nodes without Python are said to be a hundred, once."""
    roster = Roster()
    roster.submitted(NodeId("7", i + 1) for i in range(101))
    *many, last = roster
    failures = Failures()
    assert not failures
    for record in many:
        failures.note(record, Diagnosis(cause=Cause.NO_PYTHON), Path("/logs"))
    failures.note(last, Diagnosis(cause=Cause.KILLED, detail="SIGKILL"), Path("/logs"))
    first, second = failures.reasons()
    assert first.startswith("100 nodes (e.g. node 7.1) could not find Python")
    assert second.startswith("node 7.101 was killed: SIGKILL")
    assert len(failures) == 101
    assert len(caplog.records) == 2
    assert "/logs/7.1.log" not in caplog.text, "the sentence has said it all"
    assert "/logs/7.101.log" in caplog.text
