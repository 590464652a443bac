"""Pieces of HTML for the notebook and the page: no script, no style sheet, no link.

Text and background have the notebook's own colours, which may be dark.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

FAINT = "opacity:.65"
_LINE = "border-bottom:1px solid rgba(128,128,128,.35)"  # visible on white and black


def swatch(colour: str) -> str:
    """Return a small square."""
    return (
        '<span style="display:inline-block;width:.8em;height:.8em;margin-right:.5em;'
        f'background:{colour}"></span>'
    )


def paragraphs(text: str) -> str:
    """Return plain text with its line breaks and indents; "" without text."""
    if not text:
        return ""
    return (
        '<div style="white-space:pre-wrap;line-height:1.4;margin:.4em 0">'
        f"{html.escape(text)}</div>"
    )


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Return HTML that can be unfolded; "" without content."""
    tag = "details open" if is_open else "details"
    return f"<{tag}><summary>{title}</summary>{content}</details>" if content else ""


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[str] = (),
) -> str:
    """Return a table of cells that are HTML; columns of `numbers` are on the right."""
    aligned = ["right" if name in numbers else "left" for name in head]
    body = "".join(
        f'<tr style="background:none">{_cells("td", row, aligned)}</tr>' for row in rows
    )
    return (
        '<table style="margin:.3em 0;border-collapse:collapse;line-height:1.4">'
        f'<thead><tr style="{_LINE}">{_cells("th", head, aligned)}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cells(tag: str, cells: Sequence[str], aligned: Sequence[str]) -> str:
    return "".join(
        f'<{tag} style="text-align:{align};padding:.1em .8em">{cell}</{tag}>'
        for align, cell in zip(aligned, cells, strict=True)
    )
