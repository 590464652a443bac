"""Findings: what keeps others from being made, and what a check that breaks becomes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dask_gridengine.doctor.finding import Book, Finding, Status, failed, passed
from dask_gridengine.errors import LauncherUnavailable
from tests.doctor.conftest import run


async def good() -> Finding:
    return passed("a", "well")


async def bad() -> Finding:
    return failed("a", "ill", "a doctor")


def test_a_check_that_needs_a_failed_one_is_skipped() -> None:
    """With the name of the failure itself, however far it is away."""
    book = Book(lambda finding: None)
    run(book.check("a", bad))
    run(book.check("b", good, needs=("a",)))
    finding = run(book.check("c", good, needs=("b",)))
    assert finding.status is Status.SKIP
    assert finding.sentence == "because of: a"
    assert book.status is Status.FAIL


def test_each_finding_is_told_at_once() -> None:
    """Whoever waits sees how far it is."""
    told: list[Finding] = []
    book = Book(told.append)
    run(book.check("a", good))
    assert told == book.findings
    assert book.status is Status.PASS


@pytest.mark.parametrize(
    ("error", "sentence", "advice"),
    [
        (
            LauncherUnavailable("drmaa", "no libdrmaa", "install it"),
            "the drmaa launcher is not available: no libdrmaa",
            "install it",
        ),
        (OSError(28, "No space left on device"), "No space left", ""),
        (ZeroDivisionError("x"), "the check itself failed: ZeroDivisionError", "bug"),
    ],
)
def test_whatever_a_check_raises_is_a_finding(
    error: Exception, sentence: str, advice: str
) -> None:
    """Never a traceback."""

    async def raising() -> Finding:
        raise error

    finding = run(Book(lambda finding: None).check("a", raising))
    assert finding.status is Status.FAIL
    assert sentence in finding.sentence
    assert advice in finding.advice


def test_a_check_that_hangs_fails_in_its_time() -> None:
    """Also one whose thread cannot be ended."""
    never = threading.Event()

    async def hanging() -> Finding:
        await asyncio.sleep(600)
        raise AssertionError(never)

    finding = run(Book(lambda finding: None).check("a", hanging, timeout=0.1))
    assert finding.status is Status.FAIL
    assert finding.sentence == "no answer in 0.1 s"
