"""What the doctor finds: one `Finding` for each check."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gridengine.errors import GridEngineError

logger = logging.getLogger(__name__)

Check = Callable[[], Awaitable["Finding"]]
#: What a line of advice begins with, in errors and in `GridEngineCluster.explain`.
HINT = "Hint:"


class Status(str, enum.Enum):
    """The result of a check."""

    PASS = "PASS"
    WARN = "WARN"  # a cluster works, but less well than it could
    FAIL = "FAIL"  # a cluster does not work
    SKIP = "SKIP"  # not checked; the sentence has the reason


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A key of ``gridengine.yaml`` that this site needs."""

    key: str  # e.g. "memory-resource"
    value: Any
    reason: str  # the comment above it in the profile
    optional: bool = False  # not every cluster needs it: commented out in the profile


@dataclass(frozen=True)
class Finding:
    """The result of one check, in words."""

    name: str  # of the check, e.g. "submit host"
    status: Status
    sentence: str
    evidence: tuple[str, ...] = ()  # output of commands, log lines, addresses
    advice: str = ""  # what to type or to do
    settings: tuple[Setting, ...] = ()


def passed(name: str, sentence: str, settings: Sequence[Setting] = ()) -> Finding:
    """Report success."""
    return Finding(name, Status.PASS, sentence, settings=tuple(settings))


def warned(
    name: str,
    sentence: str,
    advice: str,
    *evidence: str,
    settings: Sequence[Setting] = (),
) -> Finding:
    """Report what could be better."""
    return Finding(name, Status.WARN, sentence, evidence, advice, tuple(settings))


def failed(name: str, sentence: str, advice: str, *evidence: str) -> Finding:
    """Report what is broken."""
    return Finding(name, Status.FAIL, sentence, evidence, advice)


def skipped(name: str, reason: str, advice: str = "") -> Finding:
    """Report that nothing was checked."""
    return Finding(name, Status.SKIP, reason, advice=advice)


def worst(findings: Iterable[Finding]) -> Status:
    """Return the worst of FAIL, WARN and PASS."""
    found = {finding.status for finding in findings}
    return next((s for s in (Status.FAIL, Status.WARN) if s in found), Status.PASS)


def split_hints(text: str) -> tuple[list[str], str]:
    r"""Separate the lines of a message from its advice.

    Examples
    --------
    >>> split_hints("no queue\n  seen: a.q\n  Hint: use another queue")
    (['no queue', 'seen: a.q'], 'use another queue')
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    hints = [line.partition(":")[2].strip() for line in lines if line.startswith(HINT)]
    return [line for line in lines if not line.startswith(HINT)], " ".join(hints)


class Findings:
    """All findings in order; decides which checks are worth making."""

    def __init__(self, on_finding: Callable[[Finding], object]) -> None:
        self._on_finding = on_finding
        self._all: list[Finding] = []
        #: Checks that failed, or were skipped because of a failure: name to that
        #: failure's name.
        self._failures: dict[str, str] = {}

    @property
    def all(self) -> Sequence[Finding]:
        """The findings so far."""
        return self._all

    def add(self, finding: Finding) -> None:
        """Add a finding and report it."""
        self._all.append(finding)
        if finding.status is Status.FAIL:
            self._failures[finding.name] = finding.name
        self._on_finding(finding)

    def skip(self, names: Sequence[str], failure: str) -> None:
        """Add these checks as skipped because of a failure."""
        for name in names:
            self._failures[name] = failure
            self.add(skipped(name, f"because of: {failure}"))

    def failure_of(self, needs: Sequence[str]) -> str:
        """Return the failure that makes one of these checks useless, or ""."""
        return next((self._failures[n] for n in needs if n in self._failures), "")

    async def check(
        self,
        name: str,
        check: Check,
        *,
        needs: Sequence[str] = (),
        timeout: float = 30.0,
    ) -> None:
        """Make a check unless one that it needs has failed; never raises its error."""
        if failure := self.failure_of(needs):
            self.skip([name], failure)
        else:
            self.add(await _result(name, check, timeout))


async def _result(name: str, check: Check, timeout: float) -> Finding:
    try:
        return await asyncio.wait_for(check(), timeout)
    except asyncio.TimeoutError:
        return failed(
            name,
            f"no answer in {timeout:g} s",
            "a file server, the name resolver or Grid Engine's master hangs; try again,"
            " and tell your admins if it lasts",
        )
    except GridEngineError as exc:
        (first, *rest), advice = split_hints(str(exc))
        return failed(name, first, advice, *rest)
    except OSError as exc:
        return failed(name, str(exc), "")
    except Exception as exc:  # users of a broken site need a sentence, no traceback
        logger.debug("the check %r failed", name, exc_info=True)
        return failed(
            name,
            f"the check itself failed: {type(exc).__name__}: {exc}",
            "this is a bug in dask-gridengine; please report the line above",
        )
