"""Findings: skipped checks, and errors of checks."""

from __future__ import annotations

import asyncio

import pytest

from dask_gridengine.cli.doctor.finding import (
    Finding,
    Findings,
    Status,
    failed,
    passed,
    worst,
)
from dask_gridengine.errors import LauncherUnavailable
from tests.cli.doctor.conftest import run


async def good() -> Finding:
    return passed("good", "well")


async def bad() -> Finding:
    return failed("bad", "broken", "repair it")


async def slow() -> Finding:
    await asyncio.sleep(600)
    return passed("slow", "well")


def test_skipped_checks_name_the_failure() -> None:
    """A check is skipped for the failure itself, not for another skipped check."""
    shown: list[Finding] = []
    findings = Findings(shown.append)
    run(findings.check("bad", bad))
    run(findings.check("b", good, needs=("bad",)))
    run(findings.check("c", good, needs=("b",)))
    assert shown == findings.all
    assert shown[-1].status is Status.SKIP
    assert shown[-1].sentence == "because of: bad"
    assert worst(findings.all) is Status.FAIL


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

    findings = Findings(lambda finding: None)
    run(findings.check("a", raising))
    (finding,) = findings.all
    assert finding.status is Status.FAIL
    assert sentence in finding.sentence
    assert advice in finding.advice


def test_checks_have_a_time_limit() -> None:
    """A check that hangs fails."""
    findings = Findings(lambda finding: None)
    run(findings.check("slow", slow, timeout=0.1))
    assert worst(findings.all) is Status.FAIL
