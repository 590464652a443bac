"""Findings as people and programs read them."""

from __future__ import annotations

import io
import json

from dask_gridengine.doctor.finding import failed, passed, skipped, warned
from dask_gridengine.doctor.report import (
    Gathering,
    JsonReport,
    PlainReport,
    RichReport,
    choose,
    summary,
)

FOUND = [
    passed("cell", "is there"),
    failed("qmaster", "does not answer", "ask the admins", "commlib error"),
    skipped("queues", "because of: qmaster"),
    skipped("memory", "because of: qmaster"),
]


def shown(kind: type[PlainReport] | type[RichReport]) -> str:
    out = io.StringIO()
    report = Gathering(kind(out))
    for finding in FOUND:
        report.note("looking")
        report.tell(finding)
    report.close(summary(FOUND), FOUND, "gridengine: {}")
    return out.getvalue()


def test_plain_lines() -> None:
    """One each, what was skipped for one reason together, and no control codes."""
    lines = shown(PlainReport).splitlines()
    assert lines[0].split() == ["PASS", "cell", "is", "there"]
    assert "Hint: ask the admins" in "\n".join(lines)
    assert sum(line.startswith("SKIP") for line in lines) == 1
    assert "see qmaster" in lines[-3]
    assert "\x1b" not in "\n".join(lines)


def test_a_table() -> None:
    """The same words, in columns."""
    said = shown(RichReport)
    for word in ("PASS", "does not answer", "2 checks", "gridengine: {}"):
        assert word in said


def test_json() -> None:
    """One object, with every check."""
    out = io.StringIO()
    JsonReport(out).close("bad", FOUND, "")
    said = json.loads(out.getvalue())
    assert said["status"] == "FAIL"
    assert [check["status"] for check in said["checks"]] == [
        "PASS",
        "FAIL",
        "SKIP",
        "SKIP",
    ]


def test_a_pipe_gets_plain_lines() -> None:
    """Only a terminal gets a table."""
    out = io.StringIO()
    choose(as_json=False, out=out).tell(passed("cell", "evil \x1b[2J"))
    assert out.getvalue() == "PASS  cell             evil ?[2J\n"


def test_how_it_ended() -> None:
    """In a sentence, with the failures by name."""
    assert summary([passed("a", "b")]) == "A cluster will work here (1 PASS)."
    assert "could be better" in summary([warned("a", "b", "c")])
    assert "not work here yet" in summary(FOUND)
    assert summary(FOUND, interrupted=True).startswith("Interrupted")
