"""A bar for every node, coloured by what it was at: the timeline of page and figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    ColumnDataSource,
    CustomJSTickFormatter,
    HoverTool,
    Legend,
    LegendItem,
    Range1d,
)
from bokeh.plotting import figure

from dask_gridengine.nodes.history import Change, NodeRow
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, MEANING, STATES
from dask_gridengine.views.state_changes import (
    FAR,
    NOBODY,
    cells,
    milliseconds,
    time_label,
)

#: Bars that a page keeps; beyond, those of nodes that are gone are dropped down to half
#: as many, the oldest first.
MOST_BARS = 4_000
FEWEST = 12  # bars there is always room for, so that one is not a wall
#: Of all bars together, about: a bar that is less than one is no colour but a tint.
PIXELS = 800

_TOOLTIPS = [
    ("job", "@job"),
    ("worker", "@worker"),
    ("host", "@host @queue"),
    ("state", "@state @cause"),
    ("in the queue", "@wait"),
    ("starting", "@startup"),
    ("worked", "@worked"),
    ("restarts", "@restarts"),
]

_LABEL = """
const i = Math.round(tick)
if (Math.abs(tick - i) > 1e-6 || i < 0 || i >= source.data.job.length) return ""
return source.data.worker[i] || source.data.job[i]
"""


class TimelineBars:
    """The timeline, kept up to date by what has changed alone.

    Parameters
    ----------
    live
        Whether time goes on, rather than that it is a picture of a moment.
    most
        Bars that are kept.
    **options
        Of the figure.
    """

    def __init__(self, *, live: bool, most: int = MOST_BARS, **options: Any) -> None:
        self._live, self._limit = live, most
        self._rows: list[NodeRow] = []
        self._index: dict[tuple[str, str], int] = {}
        self._stop, self._most = FAR, most
        self.source = ColumnDataSource({name: [] for name in cells(NOBODY, 0, FAR)})
        self.x_range, self.y_range = Range1d(0, 1), Range1d(FEWEST - 0.5, -0.5)
        self._future = BoxAnnotation(
            left=0,
            fill_color="white",
            fill_alpha=1,
            line_color="#888888",
            level="glyph",
        )
        self.figure = self._figure(options)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first(self) -> float | None:
        """When the oldest node shown was submitted, in seconds; None without any."""
        return min((row.entered["queued"] for row in self._rows), default=None)

    def take(self, changes: Sequence[Change], now: float) -> None:
        """Draw what is new or another than it was.

        Parameters
        ----------
        changes
            As a `ChangeFollower` tells them.
        now
            Seconds since the epoch, where bars that go on end in a picture.
        """
        self._stop = FAR if self._live else milliseconds(now)
        # One that is neither new nor known was dropped, and stays so.
        fresh = [change.new for change in changes if change.old is None]
        if known := [c.new for c in changes if c.new.key in self._index]:
            self._patch(known)
        if len(self._rows) + len(fresh) > self._most:
            self._anew([*self._rows, *fresh])
        elif fresh:
            self._append(fresh)

    def now(self, now: float, window: float | None) -> None:
        """Let time pass: show the last `window` seconds, or all of it with None."""
        start = self.first if window is None else now - window
        start = now - 10 if start is None else min(start, now - 1)
        room = (now - start) * 0.02
        self.x_range.update(
            start=milliseconds(start) - room * 1000, end=milliseconds(now) + room * 1000
        )
        self.y_range.update(start=max(FEWEST, len(self)) - 0.5, end=-0.5)
        self.cover(now)

    def cover(self, now: float) -> None:
        """Hide what is not yet."""
        self._future.left = milliseconds(now)

    def _patch(self, rows: Sequence[NodeRow]) -> None:
        patches: dict[str, list[tuple[int, Any]]] = {}
        for row in rows:
            i = self._index[row.key]
            old = cells(self._rows[i], i, self._stop)
            for name, value in cells(row, i, self._stop).items():
                if old[name] != value and not (
                    old[name] != old[name] != value != value
                ):
                    patches.setdefault(name, []).append((i, value))
            self._rows[i] = row
        if patches:
            self.source.patch(patches)

    def _append(self, rows: Sequence[NodeRow]) -> None:
        columns = self._enter(rows)
        self.source.stream(columns)
        self._resize()

    def _anew(self, rows: Sequence[NodeRow]) -> None:
        gone = [row.key for row in rows if row.over]
        dropped = set(gone[: max(0, len(gone) - self._limit // 2)])
        kept = [row for row in rows if row.key not in dropped]
        # With many that live there is room, or each new one would send all anew.
        live = len(rows) - len(gone)
        self._most = max(self._limit, 2 * live + self._limit // 2)
        self._rows, self._index = [], {}
        self.source.data = self._enter(kept)
        self._resize()

    def _enter(self, rows: Sequence[NodeRow]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in self.source.data}
        for row in rows:
            i = self._index[row.key] = len(self._rows)
            self._rows.append(row)
            for name, value in cells(row, i, self._stop).items():
                columns[name].append(value)
        return columns

    def _resize(self) -> None:
        count = max(FEWEST, len(self._rows))
        for bar in self._bars:
            bar.glyph.height = 0.86 if count <= 200 else max(1.0, count / PIXELS)
        for mark in self._marks:
            mark.glyph.size = 12 if count <= 40 else 7 if count <= 200 else 4

    def _figure(self, options: dict[str, Any]) -> Any:
        plot = figure(
            x_axis_type="datetime",
            x_range=self.x_range,
            y_range=self.y_range,
            x_axis_label=time_label(),
            y_axis_label="nodes, in the order of submission",
            tools="pan,xwheel_zoom,box_zoom,save",
            **options,
        )
        plot.yaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=12)
        plot.yaxis.formatter = CustomJSTickFormatter(
            code=_LABEL, args={"source": self.source}
        )
        plot.yaxis.minor_tick_line_color = None
        plot.ygrid.visible = False
        plot.toolbar.logo = None
        items, self._bars = [], []
        for state in STATES:
            bar = plot.hbar(
                y="y",
                left=f"{state}_from",
                right=f"{state}_to",
                height=0.86,
                color=COLOURS[state],
                line_color=None,
                source=self.source,
            )
            self._bars.append(bar)
            items.append(LegendItem(label=MEANING[state], renderers=[bar]))
        if self._live:
            plot.add_layout(self._future)
        self._marks = [
            plot.scatter(
                x=f"{name}_at",
                y="y",
                marker=marker,
                angle=angle,
                color=colour,
                line_width=3,
                size=12,
                source=self.source,
            )
            for name, marker, angle, colour in (
                ("ended", "dash", math.pi / 2, ENDED),
                ("failed", "x", 0, FAILED),
            )
        ]
        for mark, label in zip(self._marks, ("gone", "gone: failed"), strict=True):
            items.append(LegendItem(label=label, renderers=[mark]))
        plot.add_tools(
            HoverTool(renderers=[*self._bars, *self._marks], tooltips=_TOOLTIPS)
        )
        legend = Legend(items=items, orientation="horizontal", click_policy="hide")
        legend.update(border_line_color=None, padding=2, spacing=12)
        legend.update(label_text_font_size="9pt", glyph_width=16, margin=2)
        plot.add_layout(legend, "above")
        return plot
