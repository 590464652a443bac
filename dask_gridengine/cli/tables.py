"""Tables and colours, where somebody looks; plain columns where a program reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 1000  # columns where there is no terminal: nothing is cut off there

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


def console() -> Console:
    """Standard output; as wide as it is, or as it needs to be."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=WIDE)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their headings; trailing blanks are left out."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        out.print(line.rstrip(), markup=False)


def format_answer(counts: dict[str, int], *, without: Iterable[str] = ()) -> str:
    """``{"queued": 3, "working": 2}`` as "3 queued, 2 working"."""
    left = {what: n for what, n in counts.items() if n and what not in {*without}}
    return ", ".join(f"{n} {what}" for what, n in left.items())


def since(seconds: float) -> str:
    """A length of time in the one or two units that people would say it in."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
