"""What the doctor finds: one line for people each, and the book they are kept in."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gridengine.errors import GridEngineError

logger = logging.getLogger(__name__)


class Status(str, enum.Enum):
    """How a check ended."""

    PASS = "PASS"  # as it should be
    WARN = "WARN"  # a cluster works, but less well or less often than it could
    FAIL = "FAIL"  # no cluster will work like this
    SKIP = "SKIP"  # not looked at, and the sentence says why


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A key of ``gridengine.yaml`` that this site needs."""

    key: str  # e.g. "memory-resource"
    value: Any
    because: str  # what was seen, for the comment above it
    optional: bool = False  # of use to some clusters, and so written as a comment


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    name: str  # of the check, e.g. "submit host"
    status: Status
    sentence: str
    evidence: tuple[str, ...] = ()  # what was seen: words of the grid's, addresses
    advice: str = ""  # what to type next
    settings: tuple[Setting, ...] = ()


def passed(name: str, sentence: str, *evidence: str) -> Finding:
    """A finding that all is well."""
    return Finding(name=name, status=Status.PASS, sentence=sentence, evidence=evidence)


def warned(name: str, sentence: str, advice: str, *evidence: str) -> Finding:
    """A finding that something could be better."""
    return Finding(
        name=name,
        status=Status.WARN,
        sentence=sentence,
        evidence=evidence,
        advice=advice,
    )


def failed(name: str, sentence: str, advice: str, *evidence: str) -> Finding:
    """A finding that something is broken."""
    return Finding(
        name=name,
        status=Status.FAIL,
        sentence=sentence,
        evidence=evidence,
        advice=advice,
    )


def skipped(name: str, why: str, advice: str = "") -> Finding:
    """A finding that nothing was looked at."""
    return Finding(name=name, status=Status.SKIP, sentence=why, advice=advice)


class Book:
    """The findings in their order, and what may still be looked at.

    Parameters
    ----------
    tell
        Given each finding as soon as there is one.
    """

    def __init__(self, tell: Callable[[Finding], object]) -> None:
        self._tell = tell
        self.findings: list[Finding] = []
        #: What failed, or was skipped for it, and which failure that comes from.
        self._roots: dict[str, str] = {}

    def add(self, finding: Finding) -> None:
        """Enter a finding, and tell it."""
        self.findings.append(finding)
        if finding.status is Status.FAIL:
            self._roots[finding.name] = finding.name
        self._tell(finding)

    def obstacle(self, needs: Sequence[str]) -> str:
        """The failure that keeps one of these checks from telling; "" if none does."""
        return next((self._roots[need] for need in needs if need in self._roots), "")

    def passed(self, name: str) -> bool:
        """Whether a check was made, and all was well."""
        return any(f.name == name and f.status is Status.PASS for f in self.findings)

    @property
    def status(self) -> Status:
        """The worst of all: FAIL, WARN or PASS."""
        found = {finding.status for finding in self.findings}
        worst = (Status.FAIL, Status.WARN)
        return next((status for status in worst if status in found), Status.PASS)

    async def check(
        self,
        name: str,
        look: Callable[[], Awaitable[Finding]],
        *,
        needs: Sequence[str] = (),
        timeout: float = 30.0,
    ) -> Finding:
        """Make a check, unless one it needs has failed.

        Parameters
        ----------
        name
            Of the check.
        look
            Makes it. Whatever it raises becomes a finding.
        needs
            Checks without which this one would only repeat what is known.
        timeout
            Seconds it may take.
        """
        if obstacle := self.obstacle(needs):
            finding = skipped(name, f"because of: {obstacle}")
            self._roots[name] = obstacle
        else:
            finding = await _bounded(name, look, timeout)
        self.add(finding)
        return finding


async def _bounded(
    name: str, look: Callable[[], Awaitable[Finding]], timeout: float
) -> Finding:
    try:
        return await asyncio.wait_for(look(), timeout)
    except asyncio.TimeoutError:
        return failed(
            name,
            f"no answer in {timeout:g} s",
            "something hangs: a file server, a resolver of names or Grid Engine's"
            " master; try again, and ask your admins if it stays so",
        )
    except GridEngineError as exc:
        first, *evidence = map(str.strip, exc.message.splitlines())
        return failed(name, first, exc.hint, *evidence)
    except OSError as exc:
        return failed(name, str(exc), "")
    except Exception as exc:  # a broken site is never a traceback
        logger.debug("the check of %s failed", name, exc_info=True)
        return failed(
            name,
            f"the check itself failed: {type(exc).__name__}: {exc}",
            "this is a bug in dask-gridengine; please report the line above",
        )
