"""The page "Grid Engine" on Dask's dashboard.

What a browser is sent after the first picture are changes: the cells of bars that have
become another, the rows that are new, and where the time is.
"""

from __future__ import annotations

import html
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import Div, RadioButtonGroup
from dask.utils import format_bytes
from distributed.dashboard.components import add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env

from dask_gridengine.clock import steady_time
from dask_gridengine.exit_causes import number_of_nodes
from dask_gridengine.nodes.history import Change, NodeHistory, NodeRow, counts_of
from dask_gridengine.nodes.startup_times import StartupTimes
from dask_gridengine.nodes.summary import Standing, counted
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, STATES
from dask_gridengine.views.histogram import Histogram
from dask_gridengine.views.hosts import Hosts
from dask_gridengine.views.timeline_bars import TimelineBars

INTERVAL = 500  # milliseconds between looks
ENDS_SHOWN = 12  # of the nodes that ended last

#: What time may be shown of: label, seconds (None is all).
WINDOWS: tuple[tuple[str, float | None], ...] = (
    ("2 minutes", 120.0),
    ("15 minutes", 900.0),
    ("2 hours", 7200.0),
    ("a day", 86_400.0),
    ("all", None),
)


class Page:
    """What one visitor sees of a cluster's nodes.

    Parameters
    ----------
    view
        The nodes.
    workers
        Threads and bytes of the scheduler's workers, one pair each.
    clock
        The rosters'; tests give their own.
    """

    def __init__(
        self,
        view: NodeHistory,
        workers: Callable[[], Sequence[tuple[int, int]]],
        *,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._view, self._workers, self._clock = view, workers, clock
        self._summary, self._starts = Standing(view, clock=clock), StartupTimes()
        self._ended: deque[NodeRow] = deque(maxlen=ENDS_SHOWN)
        self.bars = TimelineBars(live=True, sizing_mode="stretch_both", min_height=320)
        side = {"sizing_mode": "stretch_width", "height": 170}
        self.hosts = Hosts(**{**side, "height": 140})
        self.histograms = [
            Histogram("time in the queue", self._starts.wait, "#888888", **side),
            Histogram(
                "start-up",
                self._starts.startup,
                COLOURS["importing"],
                **side,
            ),
        ]
        self.head = Div(text="", sizing_mode="stretch_width")
        self.ends = Div(
            text="", sizing_mode="stretch_both", styles={"overflow": "auto"}
        )
        labels = [label for label, _ in WINDOWS]
        self.window = RadioButtonGroup(labels=labels, active=len(labels) - 1)
        self._set: Any = None  # where time was made to end
        self.root = self._layout()

    def update(self) -> None:
        """Look at the nodes, and send what has changed."""
        changes, now = self._summary.look(), self._clock()
        if changes:
            self.bars.take(changes, now)
            self.hosts.take(changes)
            self._starts.take(changes)
            for histogram in self.histograms:
                histogram.update()
            self._end(changes)
        self._head()
        self._pass_time(now)

    def _pass_time(self, now: float) -> None:
        # Somebody who has moved the picture wants to look at what is there.
        if self._set and self.bars.x_range.end != self._set:
            self.window.active = None
        if self.window.active is None:
            self._set = self.bars.x_range.end
            self.bars.cover(now)
            return
        self.bars.now(now, WINDOWS[self.window.active][1])
        self._set = self.bars.x_range.end

    def _end(self, changes: Sequence[Change]) -> None:
        ends = [change for change in changes if change.new.over]
        ends.sort(key=lambda change: change.new.entered["gone"])
        for old, new in ends:
            if old is None or not old.over:
                self._ended.append(new)
            else:  # the grid has said more
                known = [new if each.key == new.key else each for each in self._ended]
                self._ended = deque(known, maxlen=ENDS_SHOWN)
        if ends:
            self.ends.text = _ends(self._summary.ended, self._ended)

    def _head(self) -> None:
        workers = self._workers()
        cores, memory = sum(w[0] for w in workers), sum(w[1] for w in workers)
        text = _summary(self._view, self.hosts.busy(), len(workers), cores, memory)
        if self.head.text != text:
            self.head.text = text

    def _layout(self) -> Any:
        left = column(self.window, self.bars.figure, sizing_mode="stretch_both")
        right = column(
            self.hosts.figure,
            *(histogram.figure for histogram in self.histograms),
            self.ends,
            width=400,
            sizing_mode="stretch_height",
        )
        body = row(left, right, sizing_mode="stretch_both")
        return column(self.head, body, sizing_mode="stretch_both")


def gridengine_doc(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
    """Make the page for a visitor; Dask calls its own pages like this, too."""
    page = Page(scheduler.view, lambda: _resources(scheduler))
    page.update()
    add_periodic_callback(doc, page, INTERVAL)
    doc.add_root(page.root)
    doc.title = "Dask: Grid Engine"
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


def _resources(scheduler: Any) -> list[tuple[int, int]]:
    return [(ws.nthreads, ws.memory_limit or 0) for ws in scheduler.workers.values()]


def _summary(
    view: NodeHistory, hosts: int, workers: int, cores: int, memory: int
) -> str:
    counts = view.counts()
    chips = "".join(
        f'<span style="white-space:nowrap;margin-right:1.2em"><span style="display:'
        f"inline-block;width:.8em;height:.8em;margin-right:.4em;background:{colour}"
        f'"></span><b>{counts[state]}</b> {state}</span>'
        for state, colour in {**COLOURS, "gone": ENDED}.items()
    )
    return (
        f'<div style="font-size:14px;line-height:1.7"><b>{html.escape(view.name)}</b>:'
        f" {number_of_nodes(view.wanted)} wanted; {_number(workers, 'worker')} on"
        f" {_number(hosts, 'host')}, {_number(cores, 'thread')},"
        f" {format_bytes(memory)}<br>{chips}{_pools(view)}</div>"
    )


def _pools(view: NodeHistory) -> str:
    """A line with each kind of nodes, where there are several."""
    rosters, wanted = view.rosters(), view.wanted_of()
    if len(rosters) < 2:
        return ""
    said = []
    for name, registry in rosters.items():
        counts = counts_of(registry)
        live = ", ".join(
            f"{counts[state]} {state}" for state in STATES if counts[state]
        )
        said.append(f"<b>{html.escape(name)}</b> ({wanted[name]}): {live or 'none'}")
    return f"<br>{' &nbsp; '.join(said)}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _ends(causes: Counter[tuple[str, bool]], last: deque[NodeRow]) -> str:
    """Why nodes ended, in numbers, and the last of them by name."""
    numbers = ", ".join(
        f'<span style="color:{FAILED if failed else ENDED}">'
        f"{html.escape(counted(cause, count))}</span>"
        for (cause, failed), count in causes.most_common()
    )
    lines = "".join(f"<li>{_end(each)}</li>" for each in reversed(last))
    return (
        f'<div style="font-size:12px"><b>gone</b>: {numbers}'
        f'<ul style="margin:.3em 0;padding-left:1.2em">{lines}</ul></div>'
    )


def _end(node: NodeRow) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(node.entered["gone"]))
    who = html.escape(" ".join(filter(None, [node.worker, node.job])))
    where = f" on {html.escape(node.host)}" if node.host else ""
    colour = FAILED if node.failed else ENDED
    said = html.escape(node.cause or "gone, not known yet why")
    return f'{when} {who}{where} <span style="color:{colour}">{said}</span>'
