"""Tables and colours of the commands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.formatting import format_duration

COLOURS = {
    "alive": "green",
    "working": "green",
    "gone": "red",
    "silent": "yellow",
    "queued": "yellow",
    "arrived": "cyan",
    "importing": "cyan",
    "suspended": "yellow",
    "draining": "magenta",
}
_UNLIMITED = 1000  # columns of output that is not a terminal: nothing is wrapped


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with colours on a terminal, and plain text elsewhere."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console = Console(highlight=False, width=_UNLIMITED)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def format_process(connection: Connection | None) -> tuple[str, str]:
    """Format where a cluster's process runs, and for how long it has run."""
    if connection is None:
        return "-", "-"
    age = format_duration(time.time() - connection.started)
    return f"{connection.host} {connection.pid}", age
