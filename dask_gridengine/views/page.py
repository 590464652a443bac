"""The page "Grid Engine" on Dask's dashboard.

After the first picture a browser is sent changes only: cells of changed bars, new rows,
and the time.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import Div, RadioButtonGroup
from distributed.dashboard.components import add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from tornado.ioloop import IOLoop

from dask_gridengine.clock import steady_time
from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import (
    format_cause,
    format_counts,
    format_duration,
    format_size,
    plural,
)
from dask_gridengine.nodes.history import JobRow, NodeHistory
from dask_gridengine.nodes.summary import Change, Delays, NodeSummary
from dask_gridengine.views.charts import HostChart
from dask_gridengine.views.colors import (
    COLOURS,
    ENDED,
    FAILED,
    RESTARTED,
    STATES,
    colour_of,
)
from dask_gridengine.views.markup import swatch
from dask_gridengine.views.timeline import TimelineBars

PAGE = "gridengine"  # in the address, and in Dask's list of pages
TITLE = "Grid Engine"
INTERVAL = 500  # milliseconds between updates
MAX_EVENTS = 12  # the last ends and restarts, by name

#: Labels and seconds of what the timeline shows; None is everything.
WINDOWS: tuple[tuple[str, float | None], ...] = (
    ("2 minutes", 120.0),
    ("15 minutes", 900.0),
    ("2 hours", 7200.0),
    ("a day", 86_400.0),
    ("all", None),
)


class Page:
    """What one visitor sees; `workers` returns threads and bytes of each worker."""

    def __init__(
        self,
        history: NodeHistory,
        workers: Callable[[], Sequence[tuple[int, int]]],
        *,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._workers, self._clock = workers, clock
        self._summary = NodeSummary(history, clock=clock)
        #: By node and kind of event: its time, and what is shown.
        self._events: dict[tuple[object, bool], tuple[float, str]] = {}
        self.bars = TimelineBars(live=True, sizing_mode="stretch_both", min_height=320)
        wide = {"sizing_mode": "stretch_width"}
        self.hosts = HostChart(**wide)
        self.head, self.events = Div(text="", **wide), Div(text="", **wide)
        labels = [label for label, _ in WINDOWS]
        self.window = RadioButtonGroup(labels=labels, active=len(labels) - 1)
        self._shown_until: Any = None  # the end of the time axis that was set here
        self.root = self._layout()

    def update(self) -> None:
        """Send what has changed."""
        changes, now = self._summary.update(), self._clock()
        if changes:
            self.bars.update(changes, now)
            self.hosts.update(changes)
            self._update_events(changes)
        head = _head(self._summary, self._workers())
        if self.head.text != head:
            self.head.text = head
        self._pass_time(now)

    def _pass_time(self, now: float) -> None:
        # A visitor who moved the picture looks at something: do not move it away.
        if self._shown_until and self.bars.x_range.end != self._shown_until:
            self.window.active = None
        if self.window.active is None:
            self.bars.hide_future(now)
        else:
            self.bars.show(now, WINDOWS[self.window.active][1])
        self._shown_until = self.bars.x_range.end

    def _update_events(self, changes: Iterable[Change]) -> None:
        for old, new in changes:
            # Some were shown before: accounting has refined their cause.
            if new.ended:
                self._events[new.key, True] = (new.since, _event(new, new.since))
            if new.restarted and (old is None or old.restarted != new.restarted):
                text = _event(new, new.restarted)
                self._events[new.key, False] = (new.restarted, text)
        last = sorted(self._events.items(), key=lambda event: event[1][0])[-MAX_EVENTS:]
        self._events = dict(last)
        lines = [text for _, (_, text) in reversed(last)]
        self.events.text = _side(self._summary, lines)

    def _layout(self) -> Any:
        bars = column(
            self.window,
            self.bars.figure,
            sizing_mode="stretch_both",
            styles={"flex": "3 1 560px"},
        )
        side = column(
            self.hosts.figure,
            self.events,
            sizing_mode="stretch_width",
            styles={"flex": "1 1 340px"},
        )
        # In a narrow window the second is below the first.
        body = row(bars, side, sizing_mode="stretch_both", styles={"flex-wrap": "wrap"})
        return column(self.head, body, sizing_mode="stretch_both")


def connect(scheduler: Any, prefix: str | None) -> None:
    """Serve the page from a scheduler with a dashboard, and link to it.

    It is an application of its own: Dask's list of applications is the process's, and
    other clusters in the process have no nodes.
    """
    _set_title()
    variables = template_variables(scheduler)  # Dask's pages read the list in it
    if PAGE not in variables["pages"]:
        variables["pages"].insert(1, PAGE)
    application = BokehApplication(
        {f"/{PAGE}": _make_page}, scheduler, prefix=prefix, template_variables=variables
    )
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()


def _set_title() -> None:
    """Name the page in Dask's navigation, which makes titles of addresses."""
    original = env.filters["title"]
    if getattr(original, "page", None) != PAGE:

        def title(address: str) -> str:
            return TITLE if address == PAGE else str(original(address))

        title.page = PAGE  # type: ignore[attr-defined]
        env.filters["title"] = title


def _make_page(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
    """Make the page for a visitor, as Dask calls its own pages."""

    def workers() -> list[tuple[int, int]]:
        found = scheduler.workers.values()
        return [(ws.nthreads, ws.memory_limit or 0) for ws in found]

    page = Page(scheduler.view, workers)
    page.update()
    add_periodic_callback(doc, page, INTERVAL)
    doc.add_root(page.root)
    doc.title = "Dask: Grid Engine"
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


def _head(summary: NodeSummary, workers: Sequence[tuple[int, int]]) -> str:
    history = summary.history
    counts = history.counts()
    threads, memory = sum(w[0] for w in workers), sum(w[1] for w in workers)
    marks = {"gone": ENDED, "failed": FAILED, "restarted": RESTARTED}
    counts |= {"failed": summary.failures().total(), "restarted": summary.restarts}
    requested = (
        f"{plural(history.requested, 'node')} requested"
        if history.requested
        else NONE_REQUESTED
    )
    states = "".join(
        f'<span style="white-space:nowrap;margin-right:1.2em">{swatch(colour)}'
        f"<b>{counts[state]}</b> {state}</span>"
        for state, colour in {**COLOURS, **marks}.items()
    )
    return (
        f'<div style="font-size:14px;line-height:1.7"><b>{html.escape(history.name)}'
        f"</b>: {requested};"
        f" {plural(len(workers), 'worker')} on"
        f" {plural(summary.hosts(*STATES[1:]), 'host')}, {plural(threads, 'thread')},"
        f" {format_size(memory)}<br>{states}{_pools(history)}</div>"
    )


def _pools(history: NodeHistory) -> str:
    """Return a line with the nodes of each pool, if there are several."""
    requested = history.requested_by_pool()
    if len(requested) < 2:
        return ""
    pools = []
    for pool, count in requested.items():
        counts = history.counts(pool)
        live = format_counts({state: counts[state] for state in STATES})
        pools.append(f"<b>{html.escape(pool)}</b> ({count}): {live or 'none'}")
    return f"<br>{' &nbsp; '.join(pools)}"


def _side(summary: NodeSummary, events: Sequence[str]) -> str:
    """Return how long nodes took, why nodes ended, and the last events."""
    causes = ", ".join(
        f'<span style="color:{FAILED if cause and cause.is_failure else ENDED}">'
        f"{format_cause(cause.value if cause else '', count)}</span>"
        for cause, count in summary.ended().most_common()
    )
    lines = [
        _delays("time in the queue", summary.queue_wait),
        _delays("start-up", summary.startup),
        f"<b>gone</b>: {causes}" if causes else "",
    ]
    shown = "<br>".join(filter(None, lines))
    last = "".join(f"<li>{event}</li>" for event in events)
    return (
        f'<div style="font-size:12px;line-height:1.6">{shown}'
        f'<ul style="margin:.3em 0;padding-left:1.2em">{last}</ul></div>'
    )


def _delays(title: str, delays: Delays) -> str:
    median = delays.median()
    if median is None:
        return ""
    longest = format_duration(delays.longest)
    return f"<b>{title}</b>: median {format_duration(median)}, longest {longest}"


def _event(node: JobRow, when: float) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(when))
    name = html.escape(" ".join(filter(None, [node.worker, str(node.id)])))
    host = f" on {html.escape(node.host)}" if node.host else ""
    colour = colour_of(node) if node.ended else RESTARTED
    note = html.escape(node.note or "cause not yet known")
    return f'{at} {name}{host} <span style="color:{colour}">{note}</span>'
