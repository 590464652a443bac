"""How findings are shown: a table on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import json
import re
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dask_gridengine._version import __version__
from dask_gridengine.cli.doctor.finding import Finding, Status

STYLES = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.SKIP: "dim",
}
NAME_WIDTH = 15  # of the longest check's name
#: Characters that a terminal obeys: findings quote text from hosts and from the grid.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_control(text: str) -> str:
    r"""Replace control characters.

    Examples
    --------
    >>> without_control("node1\x1b[2J")
    'node1?[2J'
    """
    return _CONTROL.sub("?", text)


class Report(ABC):
    """Shows findings as they are made; skipped ones with the same reason as one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._skipped: list[Finding] = []

    def show(self, finding: Finding) -> None:
        """Show a finding, unless the next may belong to it."""
        if self._skipped and self._skipped[0].sentence != finding.sentence:
            self._show_skipped()
        if finding.status is Status.SKIP and not finding.advice:
            self._skipped.append(finding)
        else:
            self._show(finding)

    def progress(self, text: str) -> None:  # noqa: B027 - most reports have none
        """Show what happens now."""

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Show the summary, and the profile's text if there is one."""
        self._show_skipped()
        self._close(end, findings, profile)

    def _show_skipped(self) -> None:
        skipped, self._skipped = self._skipped, []
        if len(skipped) > 1:
            names = ", ".join(finding.name for finding in skipped)
            title = f"{len(skipped)} checks"
            skipped = [replace(skipped[0], name=title, evidence=(names,))]
        for finding in skipped:
            self._show(finding)

    @abstractmethod
    def _show(self, finding: Finding) -> None: ...

    @abstractmethod
    def _close(self, end: str, findings: Sequence[Finding], profile: str) -> None: ...


class PlainReport(Report):
    """Lines that people and `grep` read."""

    def _show(self, finding: Finding) -> None:
        head = f"{finding.status.value}  {finding.name:{NAME_WIDTH}}  "
        self._print(head + finding.sentence)
        for line in _details(finding):
            self._print(" " * len(head) + line)

    def _close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        for text in (end, profile):
            if text:
                self._print(f"\n{text}")

    def _print(self, text: str) -> None:
        print(without_control(text), file=self._out, flush=True)


class RichReport(Report):
    """Rows of a table, and below them what happens now.

    Rejected: one table that grows. It is drawn anew for each row, and a terminal that
    is lower than the table repeats it.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._console = Console(file=out)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def progress(self, text: str) -> None:
        self._live.update(Spinner("dots", Text(without_control(text))))

    def _show(self, finding: Finding) -> None:
        text = Text(without_control(finding.sentence))
        for line in _details(finding):
            style = "bold" if line.startswith("Hint") else "dim"
            text.append(f"\n{without_control(line)}", style)
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=NAME_WIDTH)
        row.add_column(overflow="fold")
        status = Text(finding.status.value, STYLES[finding.status])
        row.add_row(status, Text(finding.name), text)
        self._console.print(row)

    def _close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        self._live.stop()
        self._console.print(Text(f"\n{without_control(end)}", "bold"))
        if profile:
            self._console.print(Text(f"\n{without_control(profile)}"))


class JsonReport(Report):
    """One object at the end, and nothing else."""

    def _show(self, finding: Finding) -> None:
        pass

    def _close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        found = {finding.status for finding in findings}
        worst = (Status.FAIL, Status.WARN)
        status = next((s for s in worst if s in found), Status.PASS)
        body = {
            "dask-gridengine": __version__,
            "host": socket.gethostname(),
            "status": status.value,
            "summary": end,
            "checks": [asdict(finding) for finding in findings],
            "profile": profile,
        }
        json.dump(body, self._out, indent=2)
        self._out.write("\n")


def _details(finding: Finding) -> list[str]:
    advice = [f"Hint: {finding.advice}"] if finding.advice else []
    return [*finding.evidence, *advice]


def summary(findings: Sequence[Finding], *, interrupted: bool = False) -> str:
    """Summarise all findings in a sentence."""
    statuses = [finding.status for finding in findings]
    counts = ", ".join(
        f"{statuses.count(s)} {s.value}" for s in Status if s in statuses
    )
    if interrupted:
        return f"Interrupted ({counts}). The nodes were deleted."
    if Status.FAIL in statuses:
        names = ", ".join(f.name for f in findings if f.status is Status.FAIL)
        return f"A cluster will not work here yet ({counts}): see {names}."
    if Status.WARN in statuses:
        return f"A cluster will work here ({counts}); see the warnings."
    return f"A cluster will work here ({counts})."


def choose(*, as_json: bool, out: TextIO | None = None) -> Report:
    """Choose the report for an output."""
    out = out or sys.stdout
    if as_json:
        return JsonReport(out)
    return RichReport(out) if out.isatty() else PlainReport(out)
