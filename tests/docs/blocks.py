"""The code blocks of a page, and the comments that mark them.

Blocks are found by a Markdown parser, so a fence in a list or a quotation is one, and a
fence in a comment is not, unless the comment begins with "hidden".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]

#: Languages that are run unless a comment marks the block.
RUN = ("python", "pycon", "console", "sh", "yaml")
#: Blocks that are not code: mermaid, and MyST's directives.
DRAWN = re.compile(r"mermaid$|\{.+\}")

_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
_ON_THE_GRID = re.compile(r"<!-- on the grid -->")
_OUTPUT = re.compile(r"<!-- output -->")
_HIDDEN = re.compile(r"<!-- hidden\n(?P<inside>.*)\n-->\s*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fence of a page."""

    page: Path
    line: int  # of the fence, counted from one
    language: str
    code: str
    reason: str = ""  # why it is not run
    on_the_grid: bool = False
    is_output: bool = False  # of the block that was run before

    @property
    def fault(self) -> str:
        """What is wrong with the comment before it; "" if nothing is."""
        if self.reason or self.is_output or self.language in RUN:
            return ""
        return (
            f"{self}: a block of {self.language or 'no language'} is not run."
            " Write <!-- not run: why --> on the line before it, or <!-- output --> if"
            " the block before it prints it"
        )

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    """Return the README and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return the fences of a page, in order."""
    return list(_blocks(page, page.read_text(), 0))


def _blocks(page: Path, text: str, lines_before: int) -> Iterator[Block]:
    comments: list[str] = []
    for token in MarkdownIt("commonmark").parse(text):
        first = lines_before + (token.map[0] if token.map else 0)
        if token.type == "html_block":
            if hidden := _HIDDEN.fullmatch(token.content):
                yield from _blocks(page, hidden["inside"], first + 1)
            comments.append(token.content)
        elif token.type == "fence":
            if not DRAWN.match(token.info):
                yield _block(page, first + 1, token, "".join(comments))
            comments = []
        else:
            comments = []


def _block(page: Path, line: int, token: Token, marks: str) -> Block:
    not_run = _NOT_RUN.search(marks)
    return Block(
        page=page,
        line=line,
        language=token.info.strip(),
        code=token.content,
        reason=not_run["reason"] if not_run else "",
        on_the_grid=bool(_ON_THE_GRID.search(marks)),
        is_output=bool(_OUTPUT.search(marks)),
    )
