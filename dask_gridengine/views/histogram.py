"""One histogram of seconds, in buckets of about a factor of two."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import ColumnDataSource, HoverTool, NoOverlap
from bokeh.plotting import figure

from dask_gridengine.nodes.startup_times import BUCKETS, DelayHistogram, format_duration

FEWEST = 6  # buckets that are always there, so that one bar is not a wall


class Histogram:
    """How many nodes took how long, as a figure.

    Parameters
    ----------
    title
        What took so long.
    delays
        What is shown; whoever counts into it calls `update`.
    colour
        Of the bars.
    **options
        Of the figure.
    """

    def __init__(
        self, title: str, delays: DelayHistogram, colour: str, **options: Any
    ) -> None:
        self._title, self._delays, self._shown = title, delays, 0
        self.source = ColumnDataSource({"x": [], "nodes": [], "range": []})
        self.figure = figure(title=title, y_axis_label="nodes", tools="", **options)
        bars = self.figure.vbar(
            x="x", top="nodes", width=0.9, color=colour, source=self.source
        )
        tips = [("took", "@range"), ("nodes", "@nodes")]
        self.figure.add_tools(HoverTool(renderers=[bars], tooltips=tips))
        self.figure.y_range.start = 0
        self.figure.yaxis.ticker.update(min_interval=1, desired_num_ticks=4)
        self.figure.axis.minor_tick_line_color = None
        self.figure.xgrid.visible = False
        self.figure.toolbar_location = None
        # A tick stands between two bars: it is the bound of both.
        self.figure.xaxis.ticker = [i + 0.5 for i in range(len(BUCKETS) - 1)]
        self.figure.xaxis.major_label_policy = NoOverlap()
        self.figure.xaxis.major_label_overrides = {
            i + 0.5: _bound(i) for i in range(len(BUCKETS) - 1)
        }

    def update(self) -> None:
        """Show what has been counted; nothing is sent if that is what is shown."""
        if len(self._delays) == self._shown:
            return
        self._shown = len(self._delays)
        first, last = self._span()
        buckets = range(first, last + 1)
        self.source.data = {
            "x": list(buckets),
            "nodes": [self._delays.counts[i] for i in buckets],
            "range": [_range(i) for i in buckets],
        }
        median = self._delays.median()
        said = "" if median is None else f": median {format_duration(median)}"
        self.figure.title.text = f"{self._title}{said}"

    def _span(self) -> tuple[int, int]:
        found = [i for i, count in enumerate(self._delays.counts) if count]
        first, last = found[0], found[-1]
        while last - first + 1 < FEWEST:
            first, last = max(0, first - 1), min(len(BUCKETS) - 1, last + 1)
        return first, last


def _bound(bucket: int) -> str:
    return format_duration(BUCKETS[bucket])


def _range(bucket: int) -> str:
    low = BUCKETS[bucket - 1] if bucket else 0.0
    if math.isinf(BUCKETS[bucket]):
        return f"more than {format_duration(low)}"
    return f"{format_duration(low)} to {format_duration(BUCKETS[bucket])}"
