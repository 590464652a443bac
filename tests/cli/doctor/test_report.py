"""Findings as people and programs read them, and the profile."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
import yaml

from dask_gridengine.cli.doctor.finding import (
    Finding,
    Findings,
    Setting,
    Status,
    failed,
    passed,
    warned,
)
from dask_gridengine.cli.doctor.report import (
    TextReport,
    as_json,
    profile_text,
    settings_of,
    summary,
)
from dask_gridengine.errors import LauncherUnavailable


class Terminal(io.StringIO):
    """Output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def ignore(finding: Finding) -> None:
    pass


def findings(*found: Finding) -> Findings:
    made = Findings(ignore)
    for number, finding in enumerate(found):
        made.add(f"check {number}", finding)
    return made


def shown(out: io.StringIO) -> str:
    report = TextReport(out)
    found = Findings(report.show)
    report.progress("checking")
    found.add("cell", passed("exists, \x1b[2J"))
    found.add("qmaster", failed("does not answer", "ask the admins", "commlib error"))
    found.skip_rest(["cell", "queues", "memory"])
    report.close(summary(found), "gridengine: {}")
    statuses = [
        check["status"] for check in json.loads(as_json(found, "", ""))["checks"]
    ]
    assert statuses == ["PASS", "FAIL", "SKIP", "SKIP"]
    return out.getvalue()


def test_lines_in_a_pipe() -> None:
    """One line for each finding, and one for all that a failure makes useless; text of
    a host or of the grid cannot steer a terminal."""
    text = shown(io.StringIO())
    lines = text.splitlines()
    assert lines[0] == "PASS  cell             exists, ?[2J"
    assert "Hint: ask the admins" in text
    assert sum(line.startswith("SKIP") for line in lines) == 1
    assert "because of: qmaster" in text
    assert "see qmaster" in lines[-3]
    assert "\x1b" not in text


def test_table() -> None:
    """A terminal gets the same text in columns."""
    text = shown(Terminal())
    for part in ("PASS", "does not answer", "2 checks", "gridengine: {}"):
        assert part in text


def test_summary() -> None:
    """The summary names the failures."""
    assert summary(findings(passed("a"))) == "A cluster will work here (1 PASS)."
    assert "see the warnings" in summary(findings(warned("a", "b")))
    broken = findings(passed("a"), failed("a", "b"))
    assert "see check 1" in summary(broken)
    assert summary(broken, interrupted=True).startswith("Interrupted")


def test_profile_is_a_configuration() -> None:
    """Dask reads what the site needs and what was given; optional keys are comments."""
    needed = Setting(key="host", value="10.1.0.1", reason="nodes reach it")
    maybe = Setting(key="queue", value="all.q", reason="it is free", optional=True)
    found = findings(passed("a", needed, maybe))
    text = profile_text(settings_of(found, {"memory": "4 GB", "launcher": "drmaa"}))
    settings = {"host": "10.1.0.1", "memory": "4 GB"}
    assert yaml.safe_load(text) == {"gridengine": settings}
    assert "# nodes reach it" in text
    assert "# queue: all.q" in text
    assert yaml.safe_load(profile_text([])) == {"gridengine": {}}


@pytest.mark.parametrize(
    ("error", "sentence", "advice"),
    [
        (LauncherUnavailable("drmaa", "no lib", "install it"), "no lib", "install it"),
        (OSError(28, "No space left on device"), "No space left", ""),
        (ZeroDivisionError("x"), "ZeroDivisionError", "bug"),
    ],
)
def test_errors_become_findings(error: Exception, sentence: str, advice: str) -> None:
    """An error of a check fails it; the advice of our own errors is kept."""

    async def raising() -> Finding:
        raise error

    found = Findings(ignore)
    assert not asyncio.run(found.check("a", raising()))
    (finding,) = found.all
    assert finding.status is found.worst is Status.FAIL
    assert sentence in finding.sentence
    assert advice in finding.advice
