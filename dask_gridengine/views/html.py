"""Pieces of HTML that fit a light notebook and a dark one.

Colours of words and grounds are the notebook's. What is given is HTML already: whoever
has words of others escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence

LINE = "border-bottom:1px solid rgba(128,128,128,.35)"  # seen on white and on black


def folded(title: str, content: str, *, open_: bool = False) -> str:
    """Content below a title that opens and shuts it; nothing without content."""
    tag = "details open" if open_ else "details"
    return f"<{tag}><summary>{title}</summary>{content}</details>" if content else ""


def table(head: Sequence[str], lines: Sequence[str]) -> str:
    """A table of these columns; lines are of `row`."""
    cells = "".join(f'<th style="{_align(i)}">{name}</th>' for i, name in _from(head))
    return (
        f'<table style="margin:.3em 0;border-collapse:collapse;line-height:1.4">'
        f'<thead><tr style="{LINE}">{cells}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def row(first: str, cells: Sequence[str]) -> str:
    """A line: what it is about, numbers, and at last words."""
    rest = "".join(
        f'<td style="{_align(i)}">{cell}</td>' for i, cell in _from(cells, 1)
    )
    return (
        f'<tr style="background:none"><td style="{_align(0)}">{first}</td>{rest}</tr>'
    )


def _from(cells: Sequence[str], start: int = 0) -> list[tuple[int, str]]:
    last = start + len(cells) - 1
    return [(0 if i == last else i, cell) for i, cell in enumerate(cells, start)]


def _align(column: int) -> str:
    """Numbers to the right; the first column and the last, which are words, not."""
    return f"text-align:{'right' if column else 'left'};padding:.1em .8em"


def swatch(colour: str) -> str:
    """A little square."""
    return (
        '<span style="display:inline-block;width:.8em;height:.8em;margin-right:.5em;'
        f'background:{colour}"></span>'
    )
