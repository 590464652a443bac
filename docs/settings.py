"""A Sphinx directive: the settings of a YAML file with the comments in it.

    ```{settings} ../dask_gridengine/gridengine.yaml
    ```

makes one table for each group of settings. The file is the only place where a setting
is explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

_GROUP = re.compile(r"^  # (?P<title>.+)$")
_SETTING = re.compile(r"^ {2,4}(?P<name>[a-z-]+): (?P<default>.*?) +# (?P<comment>.+)$")


class Setting(NamedTuple):
    """One line of the file."""

    group: str  # "" where the file has no groups
    name: str
    default: str  # as it stands there
    comment: str


def settings_of(text: str) -> Iterator[Setting]:
    """Every setting of a file, in order."""
    group = ""
    for line in text.splitlines():
        if found := _GROUP.match(line):
            group = found["title"]
        elif found := _SETTING.match(line):
            yield Setting(group, found["name"], found["default"], found["comment"])


class Settings(SphinxDirective):
    """The tables."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, object]] = {}

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        self.env.note_dependency(str(path))
        groups: dict[str, list[Setting]] = {}
        for setting in settings_of(path.read_text()):
            groups.setdefault(setting.group, []).append(setting)
        return [
            node
            for title, settings in groups.items()
            for node in (*_title(title), _table(settings))
        ]


def _title(title: str) -> list[nodes.Node]:
    return [nodes.rubric("", title)] if title else []


def _table(settings: list[Setting]) -> nodes.table:
    group = nodes.tgroup("", cols=3)
    for width in (25, 20, 55):
        group += nodes.colspec(colwidth=width)
    head = nodes.thead("", _row("setting", "default", "what it is"))
    body = nodes.tbody()
    for setting in settings:
        name = nodes.literal("", setting.name)
        default = nodes.literal("", setting.default)
        body += _row(name, default, setting.comment)
    group += [head, body]
    return nodes.table("", group, classes=["settings"])


def _row(*cells: str | nodes.Node) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        content = nodes.Text(cell) if isinstance(cell, str) else cell
        row += nodes.entry("", nodes.paragraph("", "", content))
    return row


def setup(app: object) -> dict[str, bool]:
    app.add_directive("settings", Settings)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
