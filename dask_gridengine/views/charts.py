"""The small figures on the page: delays, and nodes by host."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from bokeh.models import ColumnDataSource, FactorRange, HoverTool, NoOverlap
from bokeh.plotting import figure

from dask_gridengine.formatting import format_duration
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.summary import BUCKETS, Change, Delays
from dask_gridengine.views.colors import COLOURS, FAILED, STATES

MIN_BUCKETS = 6  # that are shown: a single bar would fill the figure
MAX_HOSTS = 14

_ON_HOSTS = (*(state for state in STATES if state != "queued"), "failed")


def _figure(**options: Any) -> Any:
    return figure(tools="", toolbar_location=None, **options)


class DelayChart:
    """How many nodes took how long; `options` are of the figure."""

    def __init__(self, title: str, delays: Delays, colour: str, **options: Any) -> None:
        self._title, self._delays, self._shown = title, delays, 0
        self.source = ColumnDataSource({"x": [], "nodes": [], "range": []})
        self.figure = _figure(title=title, y_axis_label="nodes", **options)
        bars = self.figure.vbar(
            x="x", top="nodes", width=0.9, color=colour, source=self.source
        )
        tips = [("took", "@range"), ("nodes", "@nodes")]
        self.figure.add_tools(HoverTool(renderers=[bars], tooltips=tips))
        self.figure.y_range.start = 0
        self.figure.yaxis.ticker.update(min_interval=1, desired_num_ticks=4)
        self.figure.axis.minor_tick_line_color = None
        self.figure.xgrid.visible = False
        # A tick stands between two bars: it is the bound of both.
        bounds = {i + 0.5: format_duration(b) for i, b in enumerate(BUCKETS[:-1])}
        self.figure.xaxis.ticker = list(bounds)
        self.figure.xaxis.major_label_policy = NoOverlap()
        self.figure.xaxis.major_label_overrides = bounds

    def update(self) -> None:
        """Show the delays; sends nothing without new ones."""
        if len(self._delays) == self._shown:
            return
        self._shown = len(self._delays)
        buckets = self._buckets()
        self.source.data = {
            "x": list(buckets),
            "nodes": [self._delays.counts[i] for i in buckets],
            "range": [_range(i) for i in buckets],
        }
        median = format_duration(self._delays.median() or 0.0)
        self.figure.title.text = f"{self._title}: median {median}"

    def _buckets(self) -> range:
        """Return those from the shortest to the longest delay, and some around."""
        found = [i for i, count in enumerate(self._delays.counts) if count]
        first, last = found[0], found[-1]
        while last - first + 1 < MIN_BUCKETS:
            first, last = max(0, first - 1), min(len(BUCKETS) - 1, last + 1)
        return range(first, last + 1)


def _range(bucket: int) -> str:
    low = format_duration(BUCKETS[bucket - 1] if bucket else 0.0)
    if math.isinf(BUCKETS[bucket]):
        return f"more than {low}"
    return f"{low} to {format_duration(BUCKETS[bucket])}"


class HostChart:
    """Nodes and failures on each host; `options` are of the figure."""

    def __init__(self, **options: Any) -> None:
        self._hosts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.source = ColumnDataSource({name: [] for name in ("host", *_ON_HOSTS)})
        self._range = FactorRange(factors=[])
        self.figure = _figure(
            title="nodes by host", y_range=self._range, x_axis_label="nodes", **options
        )
        bars = self.figure.hbar_stack(
            list(_ON_HOSTS),
            y="host",
            height=0.8,
            color=[{**COLOURS, "failed": FAILED}[name] for name in _ON_HOSTS],
            line_color=None,
            source=self.source,
        )
        tips = [(name, f"@{name}") for name in ("host", *_ON_HOSTS)]
        self.figure.add_tools(HoverTool(renderers=bars, tooltips=tips))
        self.figure.x_range.start = 0
        self.figure.xaxis.ticker.update(min_interval=1, desired_num_ticks=5)
        self.figure.xaxis.minor_tick_line_color = None
        self.figure.ygrid.visible = False

    def update(self, changes: Iterable[Change]) -> None:
        """Count changed nodes; sends nothing if no count changed."""
        changed = False
        for old, new in changes:
            before, after = _place(old), _place(new)
            if before == after:
                continue
            changed = True
            if before is not None:
                self._hosts[before[0]][before[1]] -= 1
            if after is not None:
                self._hosts[after[0]][after[1]] += 1
        if changed:
            self._show()

    def _show(self) -> None:
        """Show hosts with failures first, then those with the most nodes."""
        found = {host: c for host, c in self._hosts.items() if c.total() > 0}
        ranked = sorted(
            found, key=lambda h: (-found[h]["failed"], -found[h].total(), h)
        )
        shown = sorted(ranked[:MAX_HOSTS], reverse=True)  # the axis counts upward
        columns: dict[str, list[Any]] = {"host": shown}
        for name in _ON_HOSTS:
            columns[name] = [found[host][name] for host in shown]
        self._range.factors = shown
        self.source.data = columns
        self.figure.height = max(140, 80 + 14 * len(shown))
        of = f" ({len(shown)} of {len(found)})" if len(shown) < len(found) else ""
        self.figure.title.text = f"nodes by host{of}"


def _place(row: JobRow | None) -> tuple[str, str] | None:
    """Return the host and the bar that count a node; None if none does."""
    if row is None or not row.host:
        return None
    name = "failed" if row.ended and row.failed else row.state.value
    return (row.host, name) if name in _ON_HOSTS else None
