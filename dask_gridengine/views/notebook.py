"""A cluster in a notebook, and in one line in its repr."""

from __future__ import annotations

import contextlib
import html
import importlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distributed.core import Status

from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import (
    format_cause,
    format_counts,
    format_duration,
    format_size,
    plural,
)
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, RESTARTED, STATES
from dask_gridengine.views.markup import FAINT, folded, paragraphs, swatch, table

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

MAX_REASONS = 8  # lines of `explain`
LOG_LINES = 20  # of the cluster's log
MAX_HOSTS = 40

#: By node: "threads" and "memory" (bytes) of its workers.
Resources = Mapping[str, Counter[str]]


class Text(str):
    """Text that a notebook shows as it is, not quoted on one line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return paragraphs(self)


class Representation:
    """Text and HTML of a cluster, in any state and in any thread."""

    def __init__(self, cluster: GridEngineCluster) -> None:
        self._cluster = cluster
        #: Of all outputs of a notebook with this cluster; "" before the first one.
        self._display_id = ""

    def line(self, hints: Sequence[str]) -> str:
        """The cluster in one line."""
        # Not Dask's, which iterates over a dict that the event loop changes.
        cluster = self._cluster
        infos = self._workers()
        line = (
            f"{type(cluster).__name__}({cluster.name}, {cluster.scheduler_address!r},"
            f" workers={len(infos)}, threads={sum(i['nthreads'] for i in infos)}"
        )
        if all(info["memory_limit"] for info in infos):
            memory = sum(info["memory_limit"] for info in infos)
            line += f", memory={format_size(memory)}"
        if not cluster.pools:
            return f"{line})"
        closed = "closed, " if cluster.status is Status.closed else ""
        blocked = cluster.lifecycle.blocked
        nodes = one_line(
            cluster.summary,
            cluster.adaptive.bounds(cluster.pools),
            paused=blocked.paused if blocked else 0,
            queue=", ".join(self._why_nodes_queue()),
        )
        return f"{'; '.join([line, closed + nodes, *hints])})"

    def _workers(self) -> list[dict[str, Any]]:
        return list(self._cluster.scheduler_info["workers"].values())

    def _why_nodes_queue(self) -> list[str]:
        reports = [pool.reports for pool in self._cluster.pools]
        reasons = (reason for report in reports for reason in report.reasons)
        return list(dict.fromkeys(reason.partition(":")[0] for reason in reasons))

    def scaling(self) -> str:
        """How the number of nodes is decided."""
        cluster = self._cluster
        if cluster.status is Status.closed:
            return "closed"
        if bounds := cluster.adaptive.bounds(cluster.pools):
            return f"adaptive, {bounds} nodes"
        return f"kept at {plural(cluster.view.requested, 'node')}"

    def show(self) -> None:
        """Show the table as HTML, and below it Dask's controls if there are any.

        Dask shows both as one widget, which is blank where a saved notebook is read
        without its kernel and without a network.
        """
        display: Any = importlib.import_module("IPython.display")
        self._display_id = f"dask-gridengine-{id(self)}"
        display.display(self._bundle(), raw=True, display_id=self._display_id)
        if widget := self._cluster._widget():
            status, controls = widget.children
            # Dask's timer sets this text; it calls us only if the text has changed.
            status.observe(self.show_again, "value")
            display.display(controls)

    def show_again(self, change: object = None) -> None:
        """Show the cluster as it is now wherever a notebook shows it."""
        if not self._display_id:
            return
        display: Any = importlib.import_module("IPython.display")
        # At Python's exit the kernel may have closed its connections.
        with contextlib.suppress(Exception):
            display.update_display(
                self._bundle(), raw=True, display_id=self._display_id
            )

    def _bundle(self) -> dict[str, str]:
        return {
            "text/plain": repr(self._cluster),
            "text/html": self._cluster._repr_html_(),
        }

    def html(self, reasons: Sequence[str]) -> str:
        """The cluster in a notebook, with these reasons and the end of its log."""
        cluster = self._cluster
        closed = cluster.status is Status.closed
        log = [text for _, text in cluster._cluster_manager_logs][-LOG_LINES:]
        return overview(
            cluster.summary,
            kind=type(cluster).__name__,
            link=cluster.dashboard_link.replace("/status", "/gridengine"),
            address="" if closed else cluster.scheduler_address,
            # When it closes, Dask keeps the last ones.
            workers={} if closed else resources_by_node(self._workers()),
            scaling=self.scaling(),
            reasons=reasons,
            log="\n".join(log),
        )


def resources_by_node(
    workers: Collection[Mapping[str, Any]],
) -> dict[str, Counter[str]]:
    """Add up what the workers of each node have, from Dask's scheduler info."""
    found: dict[str, Counter[str]] = {}
    for info in workers:
        node = found.setdefault(node_of(info["name"]), Counter())
        node["threads"] += info["nthreads"]
        node["memory"] += info["memory_limit"] or 0
    return found


def one_line(
    summary: NodeSummary, adaptive: str = "", *, paused: int = 0, queue: str = ""
) -> str:
    """Return the nodes by state and the failures, for a repr.

    `adaptive` are the bounds of adaptive scaling ("0 to 10"), `paused` counts workers
    that Dask has paused, and `queue` is why nodes queue, in a few words.
    """
    summary.update()
    requested = summary.history.requested
    title = f"{plural(requested, 'node')} requested" if requested else NONE_REQUESTED
    if adaptive:
        title += f" (adaptive, {adaptive})"
    counts = summary.history.counts()
    parts = []
    for state in filter(counts.get, reversed(STATES)):
        part = f"{counts[state]} {state}"
        if state == "working":
            part += f" on {plural(summary.hosts(state), 'host')}"
            part += f" ({plural(paused, 'worker')} paused)" if paused else ""
        if state == "queued":
            part += f" for up to {format_duration(summary.longest_wait() or 0.0)}"
            part += f" ({queue})" if queue else ""
        parts.append(part)
    if summary.restarts:
        parts.append(f"{plural(summary.restarts, 'worker')} died and restarted")
    if failures := summary.failures():
        parts.append(f"{failures.total()} failed ({_causes(failures, 2)})")
    if parts:
        return f"{title}: {', '.join(parts)}"
    return f"{title}, 0 running" if requested else title


def overview(
    summary: NodeSummary,
    *,
    kind: str,
    link: str,
    address: str = "",
    workers: Resources,
    scaling: str,
    reasons: Sequence[str],
    log: str = "",
) -> str:
    """Return the nodes as HTML for light and dark notebooks.

    It has times of day and no durations: while no node changes, it stays the same.

    `kind` is the class of the cluster, `link` leads to the dashboard and `address` is
    the scheduler's (each "" without one). `scaling` tells how the number of nodes is
    decided, `reasons` are lines of `explain`, `log` the last lines of the log.
    """
    summary.update()
    dashboard = (
        f'<a href="{html.escape(link)}" target="_blank"><u>dashboard</u></a>'
        if link
        else ""
    )
    parts = [
        f'<div style="line-height:1.5"><b>{html.escape(kind)}</b>'
        f' <span style="{FAINT}">{html.escape(summary.history.name)}</span>'
        f" &#160; {dashboard} &#160; {html.escape(scaling)}"
        f' &#160; <span style="{FAINT}">{html.escape(address)}</span></div>',
        _by_state(summary, workers),
        _reasons(reasons),
        folded("pools", _by_pool(summary), is_open=True),
        folded("hosts", _by_host(summary, workers)),
        folded("log", f"<pre>{html.escape(log)}</pre>" if log else ""),
    ]
    return f'<div class="dask-gridengine">{"".join(parts)}</div>'


def _by_state(summary: NodeSummary, workers: Resources) -> str:
    counts, oldest = summary.history.counts(), summary.oldest_queued()
    rows = []
    for state in filter(counts.get, STATES):
        queued = state == "queued"
        hosts = 0 if queued else summary.hosts(state)
        note = f"the first since {_clock(oldest)}" if queued and oldest else ""
        resources = _resources(summary.in_states(state), workers)
        first = swatch(COLOURS[state]) + state
        rows.append([first, str(counts[state]), str(hosts or ""), *resources, note])
    hosts = summary.hosts(*STATES[1:])
    wanted = summary.history.requested
    requested = f"{wanted} requested" if wanted else NONE_REQUESTED
    cells = _resource_cells(sum(workers.values(), Counter()))
    live = str(sum(counts[state] for state in STATES))
    rows.append(["<b>in all</b>", live, str(hosts or ""), *cells, requested])
    if restarts := summary.restarts:
        note = f"{plural(restarts, 'worker')} died and restarted in place"
        rows.append([f"{swatch(RESTARTED)}restarts", "", "", "", "", note])
    if counts["gone"]:
        failures = summary.failures()
        note = f"{failures.total()} failed: {_causes(failures, 3)}"
        first = swatch(FAILED if failures else ENDED) + "gone"
        note = note if failures else "none failed"
        rows.append([first, str(counts["gone"]), "", "", "", note])
    numbers = ("nodes", "hosts", "threads", "memory")
    return table(("state", *numbers, ""), rows, numbers=numbers)


def _by_pool(summary: NodeSummary) -> str:
    """Return a table of the pools; "" if there is only one."""
    requested = summary.history.requested_by_pool()
    if len(requested) < 2:
        return ""
    rows = []
    for pool, count in requested.items():
        counts = summary.history.counts(pool)
        live = {state: counts[state] for state in STATES}
        cells = [str(count), str(sum(live.values())), format_counts(live)]
        rows.append([html.escape(pool), *cells])
    numbers = ("requested", "nodes")
    return table(("pool", *numbers, ""), rows, numbers=numbers)


def _by_host(summary: NodeSummary, workers: Resources) -> str:
    hosts: dict[str, list[JobRow]] = {}
    for row in summary.in_states(*STATES):
        if row.host:
            hosts.setdefault(row.host, []).append(row)
    if not hosts:
        return ""
    lines = []
    for host in sorted(hosts)[:MAX_HOSTS]:
        rows = hosts[host]
        states = format_counts(Counter(row.state.value for row in rows))
        cells = [str(len(rows)), *_resources(rows, workers), states]
        lines.append([html.escape(host), *cells])
    if len(hosts) > MAX_HOSTS:
        lines.append([f"... {len(hosts) - MAX_HOSTS} more", *[""] * 4])
    numbers = ("nodes", "threads", "memory")
    return table(("host", *numbers, ""), lines, numbers=numbers)


def _resources(rows: Iterable[JobRow], workers: Resources) -> list[str]:
    found = (workers.get(row.worker or "", Counter[str]()) for row in rows)
    return _resource_cells(sum(found, Counter[str]()))


def _resource_cells(resources: Counter[str]) -> list[str]:
    memory = resources["memory"]
    return [str(resources["threads"] or ""), format_size(memory) if memory else ""]


def _causes(failures: Counter[str], most: int) -> str:
    return ", ".join(format_cause(*each) for each in failures.most_common(most))


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    shown = list(reasons[:MAX_REASONS])
    if len(reasons) > MAX_REASONS:
        shown.append("... cluster.explain() returns all")
    return paragraphs("\n".join(shown))


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))
