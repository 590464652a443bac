"""How findings are shown: a table on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dask_gridengine._version import __version__
from dask_gridengine.doctor.finding import Finding, Status

STYLES = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.SKIP: "dim",
}
NAME_WIDTH = 15  # of the longest check's name
#: What a terminal obeys. Words of hosts and of the grid are quoted, never executed.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Report(Protocol):
    """Shows findings as they come."""

    def tell(self, finding: Finding) -> None:
        """Show one."""
        ...

    def note(self, line: str) -> None:
        """Show what is waited for."""
        ...

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Show the end: a sentence, and the profile's text or where it is."""
        ...


def harmless(text: str) -> str:
    r"""Without what would steer a terminal.

    Examples
    --------
    >>> harmless("node1\x1b[2J")
    'node1?[2J'
    """
    return _CONTROL.sub("?", text)


class PlainReport:
    """A line each, in a form that `grep` and people read."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def tell(self, finding: Finding) -> None:
        """Print it at once: whoever waits sees how far it is."""
        head = f"{finding.status.value}  {finding.name:{NAME_WIDTH}}  "
        self._print(head + finding.sentence)
        for line in _below(finding):
            self._print(" " * len(head) + line)

    def note(self, line: str) -> None:
        """Nothing: it would be a line among findings."""

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Print the end below."""
        self._print(f"\n{end}")
        if profile:
            self._print(f"\n{profile}")

    def _print(self, text: str) -> None:
        print(harmless(text), file=self._out, flush=True)


class RichReport:
    """Rows of a table, with what is waited for below the last one.

    Each row is printed for good: a table that is drawn anew with each of them is
    repeated by terminals that are lower than it.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._live.start()
        self.note("looking around")

    def tell(self, finding: Finding) -> None:
        """Print a row."""
        text = Text(harmless(finding.sentence))
        for line in _below(finding):
            style = "bold" if line.startswith("Hint") else "dim"
            text.append(f"\n{harmless(line)}", style)
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=NAME_WIDTH)
        row.add_column(overflow="fold")
        status = Text(finding.status.value, STYLES[finding.status])
        row.add_row(status, Text(finding.name), text)
        self._console.print(row)

    def note(self, line: str) -> None:
        """Show it below the rows."""
        self._live.update(Spinner("dots", Text(harmless(line))))

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Print the end below."""
        self._live.stop()
        self._console.print(Text(f"\n{harmless(end)}", "bold"))
        if profile:
            self._console.print(Text(f"\n{harmless(profile)}"))


class JsonReport:
    """One object at the end, and nothing else."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def tell(self, finding: Finding) -> None:
        """Nothing yet."""

    def note(self, line: str) -> None:
        """Nothing."""

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Print the object."""
        found = {finding.status for finding in findings}
        worst = (Status.FAIL, Status.WARN)
        status = next((s for s in worst if s in found), Status.PASS)
        body: dict[str, Any] = {
            "dask-gridengine": __version__,
            "host": socket.gethostname(),
            "status": status.value,
            "summary": end,
            "checks": [asdict(finding) for finding in findings],
            "profile": profile,
        }
        json.dump(body, self._out, indent=2)
        self._out.write("\n")


class Gathering:
    """Shows checks that were skipped for one reason as one, to whoever reads lines.

    Parameters
    ----------
    report
        Which shows them.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._skipped: list[Finding] = []
        self.note = report.note

    def tell(self, finding: Finding) -> None:
        """Show one, unless the next may be like it."""
        if self._skipped and not _alike(self._skipped[-1], finding):
            self._release()
        if finding.status is Status.SKIP and not finding.advice:
            self._skipped.append(finding)
        else:
            self._report.tell(finding)

    def close(self, end: str, findings: Sequence[Finding], profile: str) -> None:
        """Show what is left, and the end."""
        self._release()
        self._report.close(end, findings, profile)

    def _release(self) -> None:
        skipped, self._skipped = self._skipped, []
        if len(skipped) > 1:
            names = ", ".join(finding.name for finding in skipped)
            whole = replace(
                skipped[0], name=f"{len(skipped)} checks", evidence=(names,)
            )
            skipped = [whole]
        for finding in skipped:
            self._report.tell(finding)


def _alike(one: Finding, other: Finding) -> bool:
    return (one.status, one.sentence, one.advice) == (
        other.status,
        other.sentence,
        other.advice,
    )


def _below(finding: Finding) -> list[str]:
    """The lines below the sentence."""
    advice = [f"Hint: {finding.advice}"] if finding.advice else []
    return [*finding.evidence, *advice]


def summary(findings: Sequence[Finding], *, interrupted: bool = False) -> str:
    """How it ended, in a sentence."""
    counts = {
        status: sum(finding.status is status for finding in findings)
        for status in Status
    }
    failures = [f.name for f in findings if f.status is Status.FAIL]
    said = ", ".join(f"{counts[s]} {s.value}" for s in Status if counts[s])
    if interrupted:
        return f"Interrupted ({said}). The probe was deleted."
    if failures:
        return f"A cluster will not work here yet ({said}): see {', '.join(failures)}."
    if counts[Status.WARN]:
        return (
            f"A cluster will work here ({said}); the warnings say what could be better."
        )
    return f"A cluster will work here ({said})."


def choose(*, as_json: bool, out: TextIO | None = None) -> Report:
    """The report for where it goes."""
    out = out or sys.stdout
    if as_json:
        return JsonReport(out)
    return Gathering(RichReport(out) if out.isatty() else PlainReport(out))
