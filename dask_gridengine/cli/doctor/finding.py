"""What the doctor finds: one `Finding` for each check."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_gridengine.errors import HINT, GridEngineError
from dask_gridengine.formatting import format_duration, plural


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

    status: Status
    sentence: str
    evidence: Sequence[str] = ()  # output of commands, log lines, addresses
    advice: str = ""  # what to type or to do
    settings: Sequence[Setting] = ()
    name: str = ""  # of the check, e.g. "submit host"; `Findings` sets it


def passed(sentence: str, *settings: Setting) -> Finding:
    """Report success."""
    return Finding(Status.PASS, sentence, settings=settings)


def warned(sentence: str, advice: str, *evidence: str) -> Finding:
    """Report what could be better."""
    return Finding(Status.WARN, sentence, evidence, advice)


def failed(sentence: str, advice: str, *evidence: str) -> Finding:
    """Report what is broken."""
    return Finding(Status.FAIL, sentence, evidence, advice)


def skipped(reason: str, advice: str = "") -> Finding:
    """Report that nothing was checked."""
    return Finding(Status.SKIP, reason, advice=advice)


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
    """All findings in order, each shown as soon as it is added."""

    def __init__(self, show: Callable[[Finding], object]) -> None:
        self._show = show
        self.all: list[Finding] = []

    @property
    def worst(self) -> Status:
        """The worst of FAIL, WARN and PASS."""
        found = {finding.status for finding in self.all}
        return next((s for s in (Status.FAIL, Status.WARN) if s in found), Status.PASS)

    def add(self, name: str, finding: Finding) -> bool:
        """Add the finding of a check; returns whether that has not failed."""
        self.all.append(replace(finding, name=name))
        self._show(self.all[-1])
        return finding.status is not Status.FAIL

    async def check(
        self, name: str, check: Awaitable[Finding], timeout: float = 30.0
    ) -> bool:
        """Add what a check finds; its error or a timeout is a failure."""
        return self.add(name, await _result(check, timeout))

    def skip_rest(self, names: Iterable[str]) -> None:
        """Add those checks that were not made as skipped; shown as one finding."""
        made = {finding.name for finding in self.all}
        rest = [name for name in names if name not in made]
        failures = (f.name for f in self.all if f.status is Status.FAIL)
        failure = next(failures, "")
        if rest and failure:
            finding = skipped(f"because of: {failure}")
            self.all += [replace(finding, name=name) for name in rest]
            finding = replace(finding, evidence=(", ".join(rest),))
            self._show(replace(finding, name=plural(len(rest), "check")))


async def _result(check: Awaitable[Finding], timeout: float) -> Finding:
    try:
        return await asyncio.wait_for(check, timeout)
    except asyncio.TimeoutError:
        return failed(
            f"no answer in {format_duration(timeout)}",
            "a file server, the name resolver or the grid's master hangs; try again,"
            " and tell your admins if it lasts",
        )
    except GridEngineError as exc:
        first, *rest = exc.message.splitlines()
        return failed(first, exc.hint, *rest)
    except OSError as exc:
        return failed(str(exc), "")
    except Exception as exc:  # noqa: BLE001 - a user needs a sentence, no traceback
        return failed(
            f"the check itself failed: {type(exc).__name__}: {exc}",
            "this is a bug in dask-gridengine; please report the line above",
        )
