"""The timeline: a bar for each node, coloured by its states, and counts by state.

The page has the bars, and ``cluster.timeline()`` both.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    ColumnDataSource,
    CustomJSTickFormatter,
    HoverTool,
    Legend,
    LegendItem,
    NoOverlap,
    Range1d,
)
from bokeh.plotting import figure
from bokeh.resources import INLINE

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.history import JobRow, NodeHistory
from dask_gridengine.nodes.summary import Change
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, RESTARTED, STATES

WIDTH = 1000  # pixels, where there is room
MAX_DRAWN = 20_000  # bars: a file of some ten megabytes
#: Pixels of one bar, where there are few, and of all bars together.
BAR_HEIGHT, MAX_HEIGHT = 22, 900

#: The end of the bar of a live node, in the year 2100. A cover hides the future, so
#: passing time changes the cover and no bar.
FAR = 4_102_444_800_000.0  # milliseconds
#: Bars that a page keeps. Beyond, those of ended nodes are dropped, the oldest first,
#: down to half as many.
MAX_BARS = 4_000
MIN_ROWS = 12  # of the axis: a single bar would fill the figure
#: Height of all bars together, about: a bar below one pixel loses its colour.
PIXELS = 800

_TOOLTIPS = [
    ("job", "@job"),
    ("worker", "@worker"),
    ("host", "@host @queue"),
    ("state", "@state @note"),
    ("in the queue", "@wait"),
    ("starting", "@startup"),
    ("worked", "@worked"),
]

_LABEL = """
const i = Math.round(tick)
if (Math.abs(tick - i) > 1e-6 || i < 0 || i >= source.data.job.length) return ""
return [source.data.job[i], source.data.worker[i]].filter(Boolean).join("  ")
"""

_COLUMNS = (
    "y",
    *(f"{state}_{edge}" for state in STATES for edge in ("from", "to")),
    *("ended_at", "failed_at", "restarted_at", "job", "worker", "host", "queue"),
    *("state", "note", "wait", "startup", "worked"),
)


def draw(history: NodeHistory, *, now: float | None = None) -> Any:
    """Draw all nodes that are kept, for ``cluster.timeline()``.

    The figure of a live cluster ends `now`, that of a finished run with its last node.
    """
    rows = history.rows()
    end = _end(rows, steady_time() if now is None else now)
    height = min(MAX_HEIGHT, 110 + BAR_HEIGHT * max(MIN_ROWS, len(rows)))
    bars = TimelineBars(
        live=False, limit=MAX_DRAWN, height=height, sizing_mode="stretch_width"
    )
    bars.update([Change(None, row) for row in rows], end)
    bars.figure.title.text = _title(history, rows, len(bars))
    bars.show(end, None)
    bars.figure.xaxis.axis_label = None
    bars.figure.toolbar.autohide = True
    counts = _counts_figure(rows, end, bars.figure)
    return column(bars.figure, counts, sizing_mode="stretch_width", max_width=WIDTH)


def save(picture: Any, path: Path, *, title: str) -> None:
    """Write a figure to an HTML file; raises OptionError for other formats."""
    if path.suffix.lower() != ".html":
        raise OptionError(
            f"timeline({str(path)!r}) cannot write this format",
            hint="give a file name that ends in .html",
        )
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
    columns = count_steps(rows, end)
    columns["time"] = [milliseconds(when) for when in columns["time"]]
    # Working nodes are at the bottom, so that the axis shows their number.
    order = ("working", "suspended", "draining", "importing", "arrived", "queued")
    plot = figure(
        height=190,
        sizing_mode="stretch_width",
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


class TimelineBars:
    """The figure and its data, which `update` changes only where nodes changed.

    `live` is false for a picture of one moment; `options` are of the figure.
    """

    def __init__(self, *, live: bool, limit: int = MAX_BARS, **options: Any) -> None:
        self._live, self._limit = live, limit
        self._capacity = limit
        self._rows: list[JobRow] = []
        self._index: dict[tuple[str, NodeId], int] = {}
        self._end = FAR
        self.source = ColumnDataSource({name: [] for name in _COLUMNS})
        self.x_range, self.y_range = Range1d(0, 1), Range1d(MIN_ROWS - 0.5, -0.5)
        self._cover = BoxAnnotation(
            left=0,
            right=2 * FAR,
            fill_color="#fafafa",  # the background of Dask's pages
            fill_alpha=1,
            line_color="#888888",
            level="glyph",
        )
        self._draw(options)

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, changes: Sequence[Change], now: float) -> None:
        """Draw changed and new nodes; in a picture live ones end at `now`."""
        self._end = FAR if self._live else milliseconds(now)
        new = [change.new for change in changes if change.old is None]
        # A node that is neither new nor shown was dropped, and stays so.
        if known := [change.new for change in changes if change.new.key in self._index]:
            self._patch(known)
        if len(self._rows) + len(new) > self._capacity:
            self._replace([*self._rows, *new])
        elif new:
            self.source.stream(self._add(new))
        if new:
            self._resize()

    def show(self, now: float, window: float | None) -> None:
        """Show the last `window` seconds, or with None the time since the start."""
        if window is None:
            submitted = (row.submitted for row in self._rows)
            start = min(min(submitted, default=now - 10), now - 1)
        else:
            start = now - window
        margin = (now - start) * 0.02
        self.x_range.update(
            start=milliseconds(start - margin), end=milliseconds(now + margin)
        )
        self.y_range.update(start=max(MIN_ROWS, len(self)) - 0.5, end=-0.5)
        self.hide_future(now)

    def hide_future(self, now: float) -> None:
        self._cover.left = milliseconds(now)

    def _patch(self, rows: Sequence[JobRow]) -> None:
        patches: dict[str, list[tuple[int, Any]]] = {}
        for row in rows:
            i = self._index[row.key]
            old = _cells(self._rows[i], i, self._end)
            for name, value in _cells(row, i, self._end).items():
                if old[name] != value and not (_is_nan(old[name]) and _is_nan(value)):
                    patches.setdefault(name, []).append((i, value))
            self._rows[i] = row
        if patches:
            self.source.patch(patches)

    def _replace(self, rows: Sequence[JobRow]) -> None:
        """Draw everything again, without the oldest ended nodes."""
        ended = [row.key for row in rows if row.ended]
        dropped = set(ended[: max(0, len(ended) - self._limit // 2)])
        # With many live nodes there is room, or each new one would replace all again.
        live = len(rows) - len(ended)
        self._capacity = max(self._limit, 2 * live + self._limit // 2)
        self._rows, self._index = [], {}
        self.source.data = self._add([row for row in rows if row.key not in dropped])

    def _add(self, rows: Sequence[JobRow]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for row in rows:
            i = self._index[row.key] = len(self._rows)
            self._rows.append(row)
            for name, value in _cells(row, i, self._end).items():
                columns[name].append(value)
        return columns

    def _resize(self) -> None:
        count = max(MIN_ROWS, len(self._rows))
        for bar in self._bars:
            bar.glyph.height = 0.86 if count <= 200 else max(1.0, count / PIXELS)
        for mark in self._marks:
            mark.glyph.size = 12 if count <= 40 else 7 if count <= 200 else 4

    def _draw(self, options: dict[str, Any]) -> None:
        self.figure = plot = figure(
            x_axis_type="datetime",
            x_range=self.x_range,
            y_range=self.y_range,
            x_axis_label=time_label(),
            y_axis_label="nodes, in the order of submission",
            tools="pan,xwheel_zoom,box_zoom,save",
            **options,
        )
        # Each row has its label as long as there is room for it.
        plot.yaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=100)
        plot.yaxis.major_label_policy = NoOverlap()
        plot.yaxis.formatter = CustomJSTickFormatter(
            code=_LABEL, args={"source": self.source}
        )
        plot.yaxis.minor_tick_line_color = plot.yaxis.major_tick_line_color = None
        plot.ygrid.visible = False
        plot.toolbar.logo = None
        self._bars = [self._bar(state) for state in STATES]
        if self._live:
            plot.add_layout(self._cover)
        self._marks = [
            self._mark("ended_at", "dash", math.pi / 2, ENDED),
            self._mark("failed_at", "x", 0, FAILED),
            self._mark("restarted_at", "diamond", 0, RESTARTED),
        ]
        glyphs = [*self._bars, *self._marks]
        plot.add_tools(HoverTool(renderers=glyphs, tooltips=_TOOLTIPS))
        if self._live:
            return  # the page has the numbers of nodes as its legend
        labels = [*STATES, "gone", "failed", "restarted"]
        items = [
            LegendItem(label=label, renderers=[glyph])
            for label, glyph in zip(labels, glyphs, strict=True)
        ]
        legend = Legend(items=items, orientation="horizontal", click_policy="hide")
        legend.update(border_line_color=None, padding=2, spacing=12)
        legend.update(label_text_font_size="9pt", glyph_width=16, margin=2)
        plot.add_layout(legend, "above")

    def _bar(self, state: str) -> Any:
        return self.figure.hbar(
            y="y",
            left=f"{state}_from",
            right=f"{state}_to",
            height=0.86,
            color=COLOURS[state],
            line_color=None,
            source=self.source,
        )

    def _mark(self, x: str, marker: str, angle: float, colour: str) -> Any:
        return self.figure.scatter(
            x=x,
            y="y",
            marker=marker,
            angle=angle,
            color=colour,
            line_width=3,
            size=12,
            source=self.source,
        )


def milliseconds(when: float) -> float:
    """Return local time for bokeh's axes, which know no time zones."""
    return (when + time.localtime(when).tm_gmtoff) * 1000


def time_label() -> str:
    """Return the label of an axis of `milliseconds`."""
    zone = time.strftime("%z")
    return f"time of day (UTC{zone[:3]}:{zone[3:]})"


def _cells(row: JobRow, y: int, end: float) -> dict[str, Any]:
    """Return the values of `_COLUMNS` for one node; live ones end at `end`."""
    cells: dict[str, Any] = dict.fromkeys(_COLUMNS, math.nan)
    worked = None
    for state, start, stop in row.periods:
        cells[f"{state}_from"] = milliseconds(start)
        cells[f"{state}_to"] = end if stop is None else milliseconds(stop)
        if state == "working" and stop is not None:
            worked = stop - start
    if row.ended:
        cells["failed_at" if row.failed else "ended_at"] = milliseconds(row.since)
    if row.restarted is not None:
        cells["restarted_at"] = milliseconds(row.restarted)
    return cells | {
        "y": y,
        "job": f"{row.id} {row.pool}".rstrip(),
        "worker": row.worker or "",
        "host": row.host,
        "queue": f"({row.queue})" if row.queue else "",
        "state": row.state.value,
        "note": f"- {row.note}" if row.note else "",
        "wait": _duration(row.queue_wait),
        "startup": _duration(row.startup),
        "worked": _duration(worked),
    }


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
