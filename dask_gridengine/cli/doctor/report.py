"""How findings are shown: a table on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dask_gridengine._version import __version__
from dask_gridengine.cli.doctor.finding import Finding, Status, worst

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


class TextReport:
    """Shows findings as they are made; skipped ones with the same reason as one.

    Rejected: one table that grows. It is drawn again for each row, and a terminal
    that is lower than the table repeats it.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._skipped: list[Finding] = []
        if self._console.is_terminal:
            self._live.start()

    def show(self, finding: Finding) -> None:
        """Show a finding, unless the next may belong to it."""
        if self._skipped and self._skipped[0].sentence != finding.sentence:
            self._show_skipped()
        if finding.status is Status.SKIP and not finding.advice:
            self._skipped.append(finding)
        else:
            self._show(finding)

    def progress(self, text: str) -> None:
        """Show what happens now, on a terminal."""
        self._live.update(Spinner("dots", Text(without_control(text))))

    def close(self, *texts: str) -> None:
        """Show what is left, and some last paragraphs."""
        self._show_skipped()
        self._live.stop()
        for text in filter(None, texts):
            self._print(Text(f"\n{without_control(text)}"))

    def _show_skipped(self) -> None:
        skipped, self._skipped = self._skipped, []
        if len(skipped) > 1:
            names = ", ".join(finding.name for finding in skipped)
            title = f"{len(skipped)} checks"
            skipped = [replace(skipped[0], name=title, evidence=(names,))]
        for finding in skipped:
            self._show(finding)

    def _show(self, finding: Finding) -> None:
        status, name = finding.status, finding.name
        advice = [f"Hint: {finding.advice}"] if finding.advice else []
        lines = [finding.sentence, *finding.evidence, *advice]
        text = Text("\n".join(map(without_control, lines)))
        if not self._console.is_terminal:
            head = f"{status.value}  {name:{NAME_WIDTH}}  "
            self._print(Text(head + text.plain.replace("\n", "\n" + " " * len(head))))
            return
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=NAME_WIDTH)
        row.add_column(overflow="fold")
        row.add_row(Text(status.value, STYLES[status]), Text(name), text)
        self._console.print(row)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def as_json(findings: Sequence[Finding], end: str, profile: str) -> str:
    """Return one object with everything, for programs."""
    body = {
        "dask-gridengine": __version__,
        "host": socket.gethostname(),
        "status": worst(findings).value,
        "summary": end,
        "checks": [asdict(finding) for finding in findings],
        "profile": profile,
    }
    return json.dumps(body, indent=2)


def summary(findings: Sequence[Finding], *, interrupted: bool = False) -> str:
    """Summarise all findings in a sentence."""
    found = [finding.status for finding in findings]
    counts = ", ".join(f"{found.count(s)} {s.value}" for s in Status if s in found)
    if interrupted:
        return f"Interrupted ({counts}). The nodes were deleted."
    if Status.FAIL in found:
        names = ", ".join(f.name for f in findings if f.status is Status.FAIL)
        return f"A cluster will not work here yet ({counts}): see {names}."
    warnings = "; see the warnings" if Status.WARN in found else ""
    return f"A cluster will work here ({counts}){warnings}."
