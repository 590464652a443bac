"""A cluster's snapshot as people look at it: a live picture, or lines in a log."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from dask_gridengine.cli.tables import COLOURS, format_answer, since
from dask_gridengine.clock import steady_time

HOSTS_SHOWN = 12
WINDOW = ("COLUMNS", "LINES")
TROUBLE_SHOWN = 6  # lines of what is the matter
STATES = (
    "queued",
    "arrived",
    "importing",
    "working",
    "suspended",
    "draining",
    "gone",
)


class Screen:
    """Shows snapshots until it is left; never fails, for there may be nobody left.

    A terminal that is gone (SIGHUP) must not keep a cluster from being drained.
    """

    def __init__(self, out: Console | None = None) -> None:
        # A shell may export COLUMNS of long ago; the window is what counts.
        environment = {k: v for k, v in os.environ.items() if k not in WINDOW}
        self._out = out or Console(highlight=False, _environ=environment)
        self._live: Live | None = None
        self._line = ""
        self._dead = False
        self._began = steady_time()
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []

    def __enter__(self) -> Screen:
        if self._out.is_terminal:
            self._live = Live(console=self._out, auto_refresh=False, transient=True)
            self._try(self._live.start)
            self._take_logs()
        return self

    def __exit__(self, *_: object) -> None:
        for handler, stream in self._streams:
            handler.setStream(stream)
        if self._live is not None:
            self._try(self._live.stop)

    def show(self, status: dict[str, Any], trouble: str, footer: str) -> None:
        """Show how things are now."""
        if self._live is not None:
            whole = picture(status, trouble, footer, steady_time() - self._began)
            self._try(lambda live: live.update(whole, refresh=True), self._live)
        elif (line := summary(status)) != self._line:
            self._line = line
            self.say(f"{time.strftime('%H:%M:%S')} {line}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._try(self._print, text)

    def _print(self, text: str) -> None:
        self._out.print(text, markup=False, soft_wrap=True)
        self._out.file.flush()

    def _try(self, action: Callable[..., object], *arguments: object) -> None:
        if not self._dead:
            try:
                action(*arguments)
            except OSError:
                self._dead = True

    def _take_logs(self) -> None:
        """Have log lines scroll by above the picture, not through it."""
        for name in ("", "distributed", "tornado", "bokeh"):
            for handler in logging.getLogger(name).handlers:
                if (
                    isinstance(handler, logging.StreamHandler)
                    and handler.stream is sys.__stderr__
                ):
                    self._streams.append((handler, handler.stream))
                    handler.setStream(sys.stderr)


def picture(
    status: dict[str, Any], trouble: str, footer: str, seconds: float
) -> RenderableType:
    """All that matters in a dozen lines."""
    name = Text(status["name"], style="bold")
    head = Text.assemble(name, f"  {status['launcher']}, for {since(seconds)}")
    lines = [
        head,
        _row("dashboard", Text(status["dashboard"] or "-")),
        _row("nodes", _states(status)),
        _row("hosts", Text(hosts(status))),
        _row("queue", Text(queue(status))),
        _row("tasks", Text(tasks(status))),
    ]
    for line in trouble.splitlines()[:TROUBLE_SHOWN]:
        lines.append(Text(line, style="yellow", overflow="ellipsis", no_wrap=True))
    return Group(*lines, Text(footer, style="dim"))


def summary(status: dict[str, Any]) -> str:
    """Nodes and hosts in a line; how it is told apart from the line before."""
    states = format_answer(status["states"]) or "no node"
    return f"{_wanted(status)}: {states}; hosts: {hosts(status)}"


def hosts(status: dict[str, Any]) -> str:
    """Each host and how many nodes it has, those with the most first."""
    found = status["hosts"]
    some = [f"{host} {sum(counts.values())}" for host, counts in found.items()]
    more = len(some) - HOSTS_SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return f"{', '.join(some[:HOSTS_SHOWN])}{rest}" or "none yet"


def queue(status: dict[str, Any]) -> str:
    """How long nodes wait, and have waited."""
    waits = status["queue"]
    told = []
    if waits["waiting"]:
        told.append(f"{waits['waiting']} wait, the first for {since(waits['longest'])}")
    if waits["median_wait"] is not None:
        told.append(f"those that came had waited {waits['median_wait']:.1f} s (median)")
    return "; ".join(told) or "empty"


def tasks(status: dict[str, Any]) -> str:
    """Dask's tasks by state, and who there is to run them."""
    counts = format_answer(status["tasks"]) or "none"
    return f"{counts}  ({status['workers']} workers, {status['threads']} threads)"


def _wanted(status: dict[str, Any]) -> str:
    if bounds := status["adaptive"]:
        return f"{status['wanted']} wanted (adaptive, {bounds})"
    return f"{status['wanted']} wanted"


def _states(status: dict[str, Any]) -> Text:
    text = Text(f"{_wanted(status)}: ")
    parts = [
        Text(f"{count} {state}", style=COLOURS.get(state, ""))
        for state in STATES
        if (count := status["states"].get(state, 0))
    ]
    return text + (Text(", ").join(parts) if parts else Text("none is there"))


def _row(title: str, body: Text) -> Text:
    return Text.assemble((f"{title:10}", "bold"), body)
