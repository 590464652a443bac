"""Findings as people and programs read them, and the profile."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from dask_gridengine.cli.doctor.finding import (
    Setting,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.cli.doctor.profile import render, settings_of, write
from dask_gridengine.cli.doctor.report import (
    TextReport,
    as_json,
    summary,
)

FOUND = [
    passed("cell", "exists"),
    failed("qmaster", "does not answer", "ask the admins", "commlib error"),
    skipped("queues", "because of: qmaster"),
    skipped("memory", "because of: qmaster"),
]


class Terminal(io.StringIO):
    """Output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO) -> str:
    report = TextReport(out)
    for finding in FOUND:
        report.progress("checking")
        report.show(finding)
    report.close(summary(FOUND), "gridengine: {}")
    return out.getvalue()


def test_plain_lines() -> None:
    """One line for each finding, and one for all that were skipped for one reason."""
    text = shown(io.StringIO())
    lines = text.splitlines()
    assert lines[0].split() == ["PASS", "cell", "exists"]
    assert "Hint: ask the admins" in text
    assert sum(line.startswith("SKIP") for line in lines) == 1
    assert "see qmaster" in lines[-3]
    assert "\x1b" not in text


def test_table() -> None:
    """A terminal gets the same text in columns."""
    text = shown(Terminal())
    for part in ("PASS", "does not answer", "2 checks", "gridengine: {}"):
        assert part in text


def test_json() -> None:
    """One object, with each check."""
    body = json.loads(as_json(FOUND, summary(FOUND), ""))
    assert body["status"] == "FAIL"
    statuses = [check["status"] for check in body["checks"]]
    assert statuses == ["PASS", "FAIL", "SKIP", "SKIP"]


def test_pipe_gets_no_control_characters() -> None:
    """Text of a host or of the grid cannot steer a terminal."""
    out = io.StringIO()
    TextReport(out).show(passed("cell", "evil \x1b[2J"))
    assert out.getvalue() == "PASS  cell             evil ?[2J\n"


def test_summary() -> None:
    """The summary names the failures."""
    assert summary([passed("a", "b")]) == "A cluster will work here (1 PASS)."
    assert "see the warnings" in summary([warned("a", "b", "c")])
    assert "see qmaster" in summary(FOUND)
    assert summary(FOUND, interrupted=True).startswith("Interrupted")


def test_profile_is_a_configuration() -> None:
    """Dask reads what the site needs and what was given; optional keys are comments."""
    needed = Setting(key="host", value="10.1.0.1", reason="nodes reach it")
    maybe = Setting(key="queue", value="all.q", reason="it is free", optional=True)
    found = [passed("a", "b", settings=[needed, maybe])]
    text = render(settings_of(found, {"memory": "4 GB", "launcher": "drmaa"}))
    settings = {"host": "10.1.0.1", "memory": "4 GB"}
    assert yaml.safe_load(text) == {"gridengine": settings}
    assert "# nodes reach it" in text
    assert "# queue: all.q" in text
    assert yaml.safe_load(render([])) == {"gridengine": {}}


def test_profile_never_replaces_a_file(tmp_path: Path) -> None:
    """An existing file may be written by hand."""
    file = tmp_path / "new" / "gridengine.yaml"
    write(file, "a")
    with pytest.raises(FileExistsError):
        write(file, "b")
    assert file.read_text() == "a"
