"""Findings about the nodes of the trial cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.cli.doctor import node_checks
from dask_gridengine.cli.doctor.finding import Finding, Status
from dask_gridengine.cli.doctor.node_report import NodeReport, Scratch, measure
from dask_gridengine.cli.doctor.trial import NodeResult
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.registry import NodeState
from tests.cli.doctor.conftest import options

SCRATCH = Scratch(directory="/scratch", free=10**11, speed=1e9)
REPORT = NodeReport(
    host="node1",
    python="3.11.7 (/usr/bin/python3)",
    threads=1,
    memory_limit=10**9,
    open_files=4096,
    scheduler="tls://10.0.0.1:8786",
    scratch=SCRATCH,
)
KNOWN: dict[str, Any] = {
    **dict.fromkeys(JobRow._fields),
    "id": NodeId("7", 1),
    "host": "node1",
    "state": NodeState.WORKING,
    "cause": "",
    "submitted": 0.0,
    "arrived": 1.0,
    "working": 2.0,
}
ROW = JobRow(**KNOWN)
GOOD = NodeResult(row=ROW, explanation="node 7.1", answer=CONNECTED, report=REPORT)


def reporting(**fields: Any) -> NodeResult:
    return replace(GOOD, report=replace(REPORT, **fields))


def ended(cause: Cause, explanation: str) -> NodeResult:
    row = ROW._replace(state=NodeState.GONE, cause=cause.value)
    return NodeResult(row=row, explanation=f"node 7.1: gone\n{explanation}")


def queued() -> NodeResult:
    row = ROW._replace(state=NodeState.QUEUED, arrived=None, working=None, host="")
    return NodeResult(row=row, explanation="node 7.1: queued\nwhy it queues: full")


def findings(*results: NodeResult) -> dict[str, Finding]:
    return dict(node_checks.findings(results, options(), timeout=5))


def not_passed(*results: NodeResult) -> dict[str, Status]:
    found = findings(*results)
    return {n: f.status for n, f in found.items() if f.status is not Status.PASS}


def test_good_nodes() -> None:
    """All checks pass and name both hosts; without nodes all are skipped."""
    row = ROW._replace(host="node2", id=NodeId("7", 2))
    found = findings(GOOD, replace(GOOD, row=row))
    assert {finding.status for finding in found.values()} == {Status.PASS}
    assert "node1 and node2" in found["nodes"].sentence
    assert {finding.status for finding in findings().values()} == {Status.SKIP}


@pytest.mark.parametrize(
    ("cause", "log", "name"),
    [
        (Cause.NO_LOG, "", "directory there"),
        (Cause.UNREADABLE, "", "directory there"),
        (Cause.NO_PYTHON, "", "python"),
        (Cause.NEVER_ARRIVED, "No module named 'dask_gridengine'", "python"),
        (Cause.VERSIONS, "", "versions"),
        (Cause.UNREACHABLE, "", "addresses"),
        (Cause.NO_SCHEDULER, "", "addresses"),
        (Cause.NO_SCRATCH, "", "scratch"),
        (Cause.NO_START, "OSError: No space left on device", "scratch"),
        (Cause.NO_START, "SSL: certificate is not yet valid", "clock"),
        (Cause.KILLED, "by SIGKILL", "nodes"),
    ],
)
def test_failed_nodes(cause: Cause, log: str, name: str) -> None:
    """The check that a cause belongs to fails, with the cluster's explanation."""
    text = f"it {cause.value}: {log}\n  Hint: repair it"
    found = findings(GOOD, ended(cause, text))
    failures = [n for n, f in found.items() if f.status is Status.FAIL]
    assert failures == [name]
    assert found[name].sentence.startswith(f"node1: {cause.value}")
    assert f"it {cause.value}: {log}".strip() in found[name].evidence
    assert found[name].advice


def test_logs_are_quoted_where_nothing_else_has_the_cause() -> None:
    """The last lines of a log may hold a traceback."""
    log = "the end of its log:\n  | Traceback"
    killed = findings(ended(Cause.KILLED, f"it was killed\n{log}"))["nodes"]
    assert killed.evidence[-1] == "| Traceback"
    python = findings(ended(Cause.NO_PYTHON, f"no Python\n{log}"))["python"]
    assert python.evidence == ("node 7.1: gone", "no Python")


def test_queued_nodes() -> None:
    """None started: a failure with the grid's reasons. Some started: a warning."""
    finding = findings(queued())["waiting"]
    assert finding.status is Status.FAIL
    assert finding.evidence == ("why it queues: full",)
    assert not_passed(GOOD, queued()) == {"waiting": Status.WARN}


def test_nodes_that_hang() -> None:
    """A node that connected and does not become a worker is a failure."""
    row = ROW._replace(state=NodeState.IMPORTING, working=None)
    hanging = NodeResult(row=row, explanation="node 7.1")
    assert findings(hanging)["nodes"].status is Status.FAIL
    broken = replace(GOOD, report=None, error="its worker did not answer")
    assert findings(broken)["nodes"].status is Status.FAIL


@pytest.mark.parametrize(
    ("result", "name", "status"),
    [
        (replace(GOOD, answer="no answer", report=None), "worker ports", Status.FAIL),
        (reporting(unreachable={"a:1": "no answer"}), "worker ports", Status.FAIL),
        (reporting(open_files=256), "nodes", Status.WARN),
        (reporting(python="3.12.1 (/opt/python)"), "python", Status.WARN),
        (reporting(scratch=replace(SCRATCH, error="full")), "scratch", Status.FAIL),
        (reporting(scratch=replace(SCRATCH, free=10**8)), "scratch", Status.WARN),
        (reporting(scratch=replace(SCRATCH, speed=1e6)), "scratch", Status.WARN),
        (replace(GOOD, ahead=60.0), "clock", Status.WARN),
        (replace(GOOD, ahead=-60.0), "clock", Status.WARN),
        (replace(GOOD, ahead=0.1), "clock", Status.PASS),
        (replace(GOOD, row=ROW._replace(working=41.0)), "import of dask", Status.WARN),
    ],
)
def test_working_nodes(result: NodeResult, name: str, status: Status) -> None:
    """The worst node decides."""
    finding = findings(GOOD, result)[name]
    assert finding.status is status


def test_scratch_is_measured(tmp_path: Path) -> None:
    """Room and speed are known, and nothing is left there."""
    scratch = measure(str(tmp_path))
    assert scratch.free
    assert scratch.speed
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert measure(str(tmp_path / "file")).error
