"""How many nodes each host has, and how many have failed there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from bokeh.models import ColumnDataSource, FactorRange, HoverTool
from bokeh.plotting import figure

from dask_gridengine.nodes.history import Change, NodeRow
from dask_gridengine.views.colors import COLOURS, FAILED, STATES

MOST_HOSTS = 14  # that are shown: those with failures first, then the fullest

_SHOWN = (*(state for state in STATES if state != "queued"), "failed")


class Hosts:
    """Nodes by host, as a figure.

    Parameters
    ----------
    **options
        Of the figure.
    """

    def __init__(self, **options: Any) -> None:
        self._hosts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.source = ColumnDataSource({name: [] for name in ("host", *_SHOWN)})
        self._range = FactorRange(factors=[])
        self.figure = figure(
            title="nodes by host",
            y_range=self._range,
            x_axis_label="nodes",
            tools="",
            **options,
        )
        bars = self.figure.hbar_stack(
            list(_SHOWN),
            y="host",
            height=0.8,
            color=[*(COLOURS[name] for name in _SHOWN[:-1]), FAILED],
            line_color=None,
            source=self.source,
        )
        tips = [(name, f"@{name}") for name in _SHOWN]
        self.figure.add_tools(
            HoverTool(renderers=bars, tooltips=[("host", "@host"), *tips])
        )
        self.figure.x_range.start = 0
        self.figure.xaxis.ticker.update(min_interval=1, desired_num_ticks=5)
        self.figure.xaxis.minor_tick_line_color = None
        self.figure.toolbar_location = None
        self.figure.ygrid.visible = False

    def take(self, changes: Iterable[Change]) -> None:
        """Count what is new or another than it was; send it if anything is."""
        touched = False
        for old, new in changes:
            before, after = _assign(old), _assign(new)
            if before == after:
                continue
            touched = True
            if before is not None:
                self._hosts[before[0]][before[1]] -= 1
            if after is not None:
                self._hosts[after[0]][after[1]] += 1
        if touched:
            self._show()

    def busy(self) -> int:
        """On how many hosts there are nodes."""
        states = _SHOWN[:-1]
        return sum(any(c[state] > 0 for state in states) for c in self._hosts.values())

    def _show(self) -> None:
        there = {host: c for host, c in self._hosts.items() if c.total() > 0}
        ranked = sorted(
            there, key=lambda h: (-there[h]["failed"], -there[h].total(), h)
        )
        shown = sorted(ranked[:MOST_HOSTS], reverse=True)  # the axis counts upward
        columns: dict[str, list[Any]] = {"host": shown}
        for name in _SHOWN:
            columns[name] = [there[host][name] for host in shown]
        self._range.factors = shown
        self.source.data = columns
        self.figure.height = max(140, 80 + 14 * len(shown))
        of = f" ({len(shown)} of {len(there)})" if len(shown) < len(there) else ""
        self.figure.title.text = f"nodes by host{of}"


def _assign(row: NodeRow | None) -> tuple[str, str] | None:
    """Where a node counts, and as what; None if nowhere."""
    if row is None or not row.host:
        return None
    if row.over:
        return (row.host, "failed") if row.failed else None
    return (row.host, row.state) if row.state in _SHOWN else None
