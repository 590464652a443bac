"""The figure of ``cluster.timeline()``: a bar for each node, and counts by state."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import plural
from dask_gridengine.nodes.history import JobRow, NodeHistory
from dask_gridengine.nodes.summary import Change
from dask_gridengine.views.colors import COLOURS, STATES

WIDTH = 1000  # pixels
MAX_DRAWN = 20_000  # bars: a file of some ten megabytes
#: Pixels of one bar, where there are few, and of all bars together.
BAR_HEIGHT, MIN_HEIGHT, MAX_HEIGHT = 22, 240, 900


def draw(history: NodeHistory, *, now: float | None = None) -> Any:
    """Draw all nodes that are kept.

    The figure of a live cluster ends `now`, that of a finished run with its last node.
    Raises OptionError if bokeh is not installed.
    """
    if importlib.util.find_spec("bokeh") is None:
        raise OptionError(
            "timeline() draws with bokeh, which is not installed\n"
            "Hint: pip install bokeh"
        )
    from bokeh.layouts import column

    from dask_gridengine.views.timeline_bars import TimelineBars

    rows = history.rows()
    end = _end(rows, steady_time() if now is None else now)
    height = min(MAX_HEIGHT, max(MIN_HEIGHT, 110 + BAR_HEIGHT * len(rows)))
    bars = TimelineBars(
        live=False, limit=MAX_DRAWN, width=WIDTH, height=height, title=""
    )
    bars.update([Change(None, row) for row in rows], end)
    bars.figure.title.text = _title(history, rows, len(bars))
    bars.show(end, None)
    bars.figure.xaxis.axis_label = None
    bars.figure.toolbar.autohide = True
    return column(bars.figure, _counts_figure(rows, end, bars.figure))


def save(picture: Any, path: Path, *, title: str) -> None:
    """Write a figure to an HTML file; raises OptionError for other formats."""
    if path.suffix.lower() != ".html":
        raise OptionError(
            f"timeline({str(path)!r}) cannot write this format\n"
            "Hint: give a file name that ends in .html"
        )
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    # The file loads nothing: clusters' networks often reach no CDN.
    path.write_text(file_html(picture, INLINE, title), encoding="utf-8")


def count_steps(rows: list[JobRow], end: float) -> dict[str, list[float]]:
    """Return how many nodes were in each state, before and after each change.

    ``time`` is in seconds since the epoch. The other columns are the live states.
    """
    changes: dict[float, Counter[str]] = {end: Counter()}
    for row in rows:
        for state, start, stop in row.periods:
            changes.setdefault(start, Counter())[state] += 1
            if stop is not None:
                changes.setdefault(stop, Counter())[state] -= 1
    columns: dict[str, list[float]] = {name: [] for name in ("time", *STATES)}
    counts: dict[str, float] = dict.fromkeys(STATES, 0)

    def add(when: float) -> None:
        for name, value in {"time": when, **counts}.items():
            columns[name].append(value)

    for when in sorted(changes):
        add(when)
        for state, count in changes[when].items():
            counts[state] += count
        add(when)
    return columns


def _end(rows: list[JobRow], now: float) -> float:
    ends = [row.since for row in rows if row.ended]
    return max(ends) if ends and len(ends) == len(rows) else now


def _title(history: NodeHistory, rows: list[JobRow], drawn: int) -> str:
    hosts = len({row.host for row in rows if row.host})
    failed = sum(row.failed for row in rows)
    title = f"{history.name}: {plural(len(rows), 'node')} on {plural(hosts, 'host')}"
    if drawn < len(rows):
        title += f" ({drawn} are drawn)"
    return f"{title}, {failed} failed" if failed else title


def _counts_figure(rows: list[JobRow], end: float, bars: Any) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    from dask_gridengine.views.timeline_bars import milliseconds, time_label

    columns = count_steps(rows, end)
    columns["time"] = [milliseconds(when) for when in columns["time"]]
    # Working nodes are at the bottom, so that the axis shows their number.
    order = ("working", "suspended", "draining", "importing", "arrived", "queued")
    plot = figure(
        width=WIDTH,
        height=190,
        x_axis_type="datetime",
        x_range=bars.x_range,
        x_axis_label=time_label(),
        y_axis_label="nodes",
        tools="",
        toolbar_location=None,
    )
    plot.varea_stack(
        list(order),
        x="time",
        color=[COLOURS[state] for state in order],
        source=ColumnDataSource(columns),
    )
    plot.y_range.start = 0
    plot.yaxis.minor_tick_line_color = None
    # The same moment is at the same place in both figures.
    bars.min_border_left = plot.min_border_left = 80
    bars.min_border_right = plot.min_border_right = 45
    return plot
