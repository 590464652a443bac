"""The small figure on the page: nodes by host."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from bokeh.models import ColumnDataSource, FactorRange, HoverTool
from bokeh.plotting import figure

from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.summary import Change
from dask_gridengine.views.colors import COLOURS, FAILED, STATES

MAX_HOSTS = 14

_ON_HOSTS = (*(state for state in STATES if state != "queued"), "failed")


class HostChart:
    """Nodes and failures on each host; `options` are of the figure."""

    def __init__(self, **options: Any) -> None:
        self._hosts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.source = ColumnDataSource({name: [] for name in ("host", *_ON_HOSTS)})
        self._range = FactorRange(factors=[])
        self.figure = figure(
            title="nodes by host",
            y_range=self._range,
            tools="",
            toolbar_location=None,
            **options,
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
        self.figure.visible = False
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
        self.figure.height = 70 + 18 * len(shown)
        self.figure.visible = bool(shown)
        of = f" ({len(shown)} of {len(found)})" if len(shown) < len(found) else ""
        self.figure.title.text = f"nodes by host{of}"


def _place(row: JobRow | None) -> tuple[str, str] | None:
    """Return the host and the bar that count a node; None if none does."""
    if row is None or not row.host:
        return None
    name = "failed" if row.ended and row.failed else row.state.value
    return (row.host, name) if name in _ON_HOSTS else None
