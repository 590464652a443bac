"""Show findings: a table on a terminal, lines in a pipe, JSON, and a profile."""

from __future__ import annotations

import json
import re
import socket
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TextIO

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dask_gridengine._version import __version__
from dask_gridengine.cli.doctor.finding import Finding, Findings, Setting, Status
from dask_gridengine.errors import HINT

STYLES = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.SKIP: "dim",
}
NAME_WIDTH = 15  # of the longest check's name
#: Characters that a terminal obeys: findings quote text from hosts and from the grid.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class TextReport:
    """Shows findings as they are made.

    Rejected: one table that grows. It is drawn again for each row, and a terminal
    that is lower than the table repeats it.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out)
        self._progress = self._console.status("")
        if self._console.is_terminal:
            self._progress.start()

    def show(self, finding: Finding) -> None:
        """Show a finding."""
        status, name = finding.status, finding.name
        advice = [f"{HINT} {finding.advice}"] if finding.advice else []
        text = _text("\n".join([finding.sentence, *finding.evidence, *advice]))
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

    def progress(self, text: str) -> None:
        """Show what happens now, on a terminal."""
        self._progress.update(_text(text))

    def close(self, *paragraphs: str) -> None:
        """Show some last paragraphs."""
        self._progress.stop()
        for text in filter(None, paragraphs):
            self._print(_text(f"\n{text}"))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _text(text: str) -> Text:
    return Text(_CONTROL.sub("?", text))


def as_json(findings: Findings, end: str, profile: str) -> str:
    """Return one object with everything, for programs."""
    body = {
        "dask-gridengine": __version__,
        "host": socket.gethostname(),
        "status": findings.worst.value,
        "summary": end,
        "checks": [asdict(finding) for finding in findings.all],
        "profile": profile,
    }
    return json.dumps(body, indent=2)


def summary(findings: Findings, *, interrupted: bool = False) -> str:
    """Summarise all findings in a sentence."""
    found = [finding.status for finding in findings.all]
    counts = ", ".join(f"{found.count(s)} {s.value}" for s in Status if s in found)
    if interrupted:
        return f"Interrupted ({counts}). The nodes were deleted."
    if Status.FAIL in found:
        names = ", ".join(f.name for f in findings.all if f.status is Status.FAIL)
        return f"A cluster will not work here yet ({counts}): see {names}."
    warnings = "; see the warnings" if Status.WARN in found else ""
    return f"A cluster will work here ({counts}){warnings}."


def settings_of(findings: Findings, given: Mapping[str, Any]) -> list[Setting]:
    """Combine what the site needs with the user's options; each key once."""
    reason = "an option of the doctor, whose cluster ran with it"
    own = (
        Setting(key=name.replace("_", "-"), value=value, reason=reason)
        for name, value in given.items()
        if name != "launcher"
    )
    found = (setting for finding in findings.all for setting in finding.settings)
    return list({setting.key: setting for setting in (*found, *own)}.values())


def profile_text(settings: Sequence[Setting]) -> str:
    """Return a file of Dask's configuration, with the reasons as comments."""
    head = [
        f"# Made by `dask gridengine doctor` of dask-gridengine {__version__} on"
        f" {socket.gethostname()}.",
        "# Dask reads it from ~/.config/dask/, or from where DASK_CONFIG says.",
    ]
    empty = all(setting.optional for setting in settings)
    top = "gridengine:" + (" {}  # no settings are needed" if empty else "")
    body = [line for setting in settings for line in _lines(setting)]
    return "\n".join([*head, top, *body, ""])


def _lines(setting: Setting) -> Iterable[str]:
    for line in textwrap.wrap(" ".join(setting.reason.split()), 84):
        yield f"  # {line}"
    value = yaml.safe_dump({setting.key: setting.value}, default_flow_style=False)
    yield textwrap.indent(value.rstrip(), "  # " if setting.optional else "  ")
