"""``cluster.timeline()``: the whole run as one picture."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import OptionError
from dask_gridengine.nodes.history import Change, NodeHistory, NodeRow
from dask_gridengine.views.colors import COLOURS, STATES

WIDTH = 1000  # pixels
MOST_DRAWN = 20_000  # bars: a file of some ten megabytes
#: Of one bar, where there are few; and the least and the most of all bars together.
BAR, LOWEST, HIGHEST = 22, 240, 900


def draw(view: NodeHistory, *, now: float | None = None) -> Any:
    """Make the picture.

    Parameters
    ----------
    view
        The nodes.
    now
        Seconds since the epoch, where what goes on ends; the present by default. The
        picture of a run that is over ends with it.

    Raises
    ------
    OptionError
        If bokeh is not installed.
    """
    if importlib.util.find_spec("bokeh") is None:
        raise OptionError(
            "timeline() draws with bokeh, which is not installed\n"
            "  what to do: pip install bokeh"
        )
    from bokeh.layouts import column

    from dask_gridengine.views.timeline_bars import TimelineBars

    rows = view.rows()
    end = _end(rows, steady_time() if now is None else now)
    height = min(HIGHEST, max(LOWEST, 110 + BAR * len(rows)))
    bars = TimelineBars(
        live=False, most=MOST_DRAWN, width=WIDTH, height=height, title=""
    )
    bars.take([Change(None, row) for row in rows], end)
    bars.figure.title.text = _title(view, rows, len(bars))
    bars.now(end, None)
    bars.figure.xaxis.axis_label = None
    bars.figure.toolbar.autohide = True
    return column(bars.figure, _totals(rows, end, bars.figure))


def save(picture: Any, path: Path, *, title: str) -> None:
    """Write it to an HTML file.

    Raises
    ------
    OptionError
        If the file's name does not end in ``.html``.
    """
    if path.suffix.lower() != ".html":
        raise OptionError(
            f"timeline({str(path)!r}) cannot be saved in this format\n"
            "  what to do: give a file name that ends in .html"
        )
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    # All that it needs is in it: clusters' networks often reach no CDN.
    path.write_text(file_html(picture, INLINE, title), encoding="utf-8")


def _end(rows: list[NodeRow], now: float) -> float:
    gone = [row.entered["gone"] for row in rows if row.over]
    return max(gone) if gone and len(gone) == len(rows) else now


def _title(view: NodeHistory, rows: list[NodeRow], drawn: int) -> str:
    hosts = len({row.host for row in rows if row.host})
    failed = sum(row.failed for row in rows)
    said = f"{view.name}: {len(rows)} nodes on {hosts} hosts"
    if drawn < len(rows):
        said += f" ({drawn} are drawn)"
    return f"{said}, {failed} failed" if failed else said


def steps(rows: list[NodeRow], end: float) -> dict[str, list[float]]:
    """How many nodes were in each state, whenever that changed.

    Returns
    -------
    dict
        ``time`` in seconds since the epoch, each moment twice (before and after), and
        a column for each state but gone.
    """
    events: dict[float, Counter[str]] = {end: Counter()}
    for row in rows:
        for state, start, stop in row.stays:
            events.setdefault(start, Counter())[state] += 1
            if stop is not None:
                events.setdefault(stop, Counter())[state] -= 1
    columns: dict[str, list[float]] = {name: [] for name in ("time", *STATES)}
    now: Counter[str] = Counter()

    def add(when: float) -> None:
        columns["time"].append(when)
        for state in STATES:
            columns[state].append(now[state])

    for moment, change in sorted(events.items(), key=lambda event: event[0]):
        add(moment)
        for state, count in change.items():
            now[state] += count
        add(moment)
    return columns


def _totals(rows: list[NodeRow], end: float, above: Any) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    from dask_gridengine.views.state_changes import milliseconds, time_label

    columns = steps(rows, end)
    columns["time"] = [milliseconds(when) for when in columns["time"]]
    # What is of use at the bottom, so that its height is read off the axis.
    order = ("working", "suspended", "draining", "importing", "arrived", "queued")
    plot = figure(
        width=WIDTH,
        height=190,
        x_axis_type="datetime",
        x_range=above.x_range,
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
    # Axes of both below each other: the same moment at the same place.
    above.min_border_left = plot.min_border_left = 80
    above.min_border_right = plot.min_border_right = 45
    return plot
