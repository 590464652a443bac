"""Show a running cluster: a live picture on a terminal, or else lines of text."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dask_gridengine.cli.formatting import COLOURS
from dask_gridengine.cli.ps import format_requested
from dask_gridengine.clock import steady_time
from dask_gridengine.formatting import format_counts, format_duration, plural

MAX_HOSTS = 12
MAX_PROBLEM_LINES = 6
LOGGERS = ("", "distributed", "tornado", "bokeh")


class LiveView:
    """Shows snapshots of a cluster until it is left.

    Never fails: a terminal that was closed (SIGHUP) must not keep the cluster from
    finishing its tasks.
    """

    def __init__(self) -> None:
        # A shell may export the size that its window had at the start.
        unset = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self._console = Console(highlight=False, _environ=unset)
        self._live: Live | None = None
        self._last_line = ""
        self._closed = False
        self._started = steady_time()
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._try(self._live.start)
            self._redirect_logs()
        return self

    def __exit__(self, *_: object) -> None:
        for handler, stream in self._streams:
            handler.setStream(stream)
        if self._live is not None:
            self._try(self._live.stop)

    def show(self, status: dict[str, Any], problems: str, footer: str) -> None:
        """Show a snapshot: replace the picture, or print a line if it differs."""
        if self._live is not None:
            age = format_duration(steady_time() - self._started)
            picture = _picture(status, age, problems, footer)
            self._try(lambda live: live.update(picture, refresh=True), self._live)
        elif (line := _one_line(status)) != self._last_line:
            self._last_line = line
            self.print(f"{time.strftime('%H:%M:%S')} {line}")

    def print(self, text: str) -> None:
        """Print a line that stays."""
        self._try(self._print, text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
        self._console.file.flush()

    def _try(self, action: Callable[..., object], *arguments: object) -> None:
        if not self._closed:
            try:
                action(*arguments)
            except OSError:
                self._closed = True

    def _redirect_logs(self) -> None:
        """Print log lines above the picture: `Live` has replaced ``sys.stderr``."""
        for name in LOGGERS:
            for handler in logging.getLogger(name).handlers:
                if (
                    isinstance(handler, logging.StreamHandler)
                    and handler.stream is sys.__stderr__
                ):
                    self._streams.append((handler, handler.stream))
                    handler.setStream(sys.stderr)


def _picture(
    status: dict[str, Any], age: str, problems: str, footer: str
) -> RenderableType:
    name = Text(status["name"], style="bold")
    rows = Table.grid(padding=(0, 1))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("dashboard", Text(status["dashboard"] or "-"))
    rows.add_row("nodes", _nodes(status))
    rows.add_row("hosts", Text(_hosts(status)))
    rows.add_row("queue", Text(_queue(status)))
    rows.add_row("tasks", Text(_tasks(status)))
    return Group(
        Text.assemble(name, f"  {status['launcher']}, for {age}"),
        rows,
        *(
            Text(line, style="yellow", overflow="ellipsis", no_wrap=True)
            for line in problems.splitlines()[:MAX_PROBLEM_LINES]
        ),
        Text(footer, style="dim"),
    )


def _one_line(status: dict[str, Any]) -> str:
    states = format_counts(status["states"]) or "none"
    return f"{format_requested(status)} requested: {states}; hosts: {_hosts(status)}"


def _nodes(status: dict[str, Any]) -> Text:
    states = [
        Text(f"{count} {state}", style=COLOURS.get(state, ""))
        for state, count in status["states"].items()
        if count
    ]
    requested = Text(f"{format_requested(status)} requested: ")
    return requested + Text(", ").join(states or [Text("none")])


def _hosts(status: dict[str, Any]) -> str:
    hosts = [f"{host} {sum(n.values())}" for host, n in status["hosts"].items()]
    more = len(hosts) - MAX_HOSTS
    rest = f" and {more} more" if more > 0 else ""
    return f"{', '.join(hosts[:MAX_HOSTS])}{rest}" or "none yet"


def _queue(status: dict[str, Any]) -> str:
    queue, parts = status["queue"], []
    if queue["waiting"]:
        longest = format_duration(queue["longest"])
        parts.append(f"{plural(queue['waiting'], 'node')}, for up to {longest}")
    if queue["median_wait"] is not None:
        median = format_duration(queue["median_wait"])
        parts.append(f"nodes waited {median} (median)")
    return "; ".join(parts) or "empty"


def _tasks(status: dict[str, Any]) -> str:
    tasks = format_counts(status["tasks"]) or "none"
    workers, threads = status["workers"], status["threads"]
    return f"{tasks}  ({plural(workers, 'worker')}, {plural(threads, 'thread')})"
