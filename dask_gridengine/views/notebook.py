"""A cluster as an HTML table in a notebook, and as one line in its repr."""

from __future__ import annotations

import html
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes
from distributed.core import Status

from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import (
    format_cause,
    format_counts,
    format_duration,
    plural,
)
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, STATES, swatch

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

#: Seconds until `explain`, which reads every node, is called again although the numbers
#: of nodes are the same.
REASONS_AGAIN = 5.0
MAX_REASONS = 8  # lines of `explain`
LOG_LINES = 20  # of the cluster's log
MAX_HOSTS = 40

# Text and background have the notebook's own colours, which may be dark.
_FAINT = "opacity:.65"
_LINE = "border-bottom:1px solid rgba(128,128,128,.35)"  # visible on white and black

#: By node: "threads" and "memory" (bytes) of its workers.
Resources = Mapping[str, Counter[str]]


class Representation:
    """Text and HTML of a cluster, in any state and in any thread."""

    def __init__(self, cluster: GridEngineCluster) -> None:
        self._cluster = cluster
        self._explained, self._reasons = float("-inf"), list[str]()
        self._counted: tuple[object, ...] = ()  # the numbers that `_reasons` are of

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
            line += f", memory={format_bytes(memory)}"
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
        return f"kept at {cluster.view.requested}"

    def html(self) -> str:
        """The cluster in a notebook, with the end of its log."""
        cluster = self._cluster
        closed = cluster.status is Status.closed
        log = [text for _, text in cluster._cluster_manager_logs][-LOG_LINES:]
        return table(
            cluster.summary,
            kind=type(cluster).__name__,
            link=cluster.dashboard_link.replace("/status", "/gridengine"),
            address="" if closed else cluster.scheduler_address,
            # When it closes, Dask keeps the last ones.
            workers={} if closed else resources_by_node(self._workers()),
            scaling=self.scaling(),
            reasons=self._explain(),
            log="\n".join(log),
        )

    def _explain(self) -> list[str]:
        if self._cluster.lifecycle.blocked is None:
            return []  # it is starting, or could not start
        view, now = self._cluster.view, time.monotonic()
        counted = (view.requested, *view.counts().items())
        if self._counted != counted or now - self._explained > REASONS_AGAIN:
            self._reasons = self._cluster.explain().splitlines()
            self._counted, self._explained = counted, now
        return self._reasons


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
    if failures := summary.failures():
        parts.append(f"{failures.total()} failed ({_causes(failures, 2)})")
    if parts:
        return f"{title}: {', '.join(parts)}"
    return f"{title}, 0 running" if requested else title


def table(
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
    """Return the nodes as HTML without a script, for light and dark notebooks.

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
        f' <span style="{_FAINT}">{html.escape(summary.history.name)}</span>'
        f" &#160; {dashboard} &#160; {html.escape(scaling)}"
        f' &#160; <span style="{_FAINT}">{html.escape(address)}</span></div>',
        _by_state(summary, workers),
        _reasons(reasons),
        _folded("pools", _by_pool(summary), is_open=True),
        _folded("hosts", _by_host(summary, workers)),
        _folded("log", f"<pre>{html.escape(log)}</pre>" if log else ""),
    ]
    return f'<div class="dask-gridengine">{"".join(parts)}</div>'


def _by_state(summary: NodeSummary, workers: Resources) -> str:
    counts = summary.history.counts()
    wait = summary.longest_wait()
    lines = []
    for state in filter(counts.get, STATES):
        resources = _resources(summary.in_states(state), workers)
        queued = state == "queued"
        hosts = 0 if queued else summary.hosts(state)
        note = f"the first for {format_duration(wait)}" if queued and wait else ""
        cells = [str(counts[state]), str(hosts or ""), *resources, note]
        lines.append(_row(swatch(COLOURS[state]) + state, cells))
    if counts["gone"]:
        failures = summary.failures()
        note = f"{failures.total()} failed: {_causes(failures, 3)}"
        cells = [str(counts["gone"]), "", "", "", note if failures else "none failed"]
        lines.append(_row(swatch(FAILED if failures else ENDED) + "gone", cells))
    title = f"<b>{len(summary.live)} of {summary.history.requested} requested</b>"
    hosts = summary.hosts(*STATES[1:])
    cells = _cells_of(sum(workers.values(), Counter()))
    lines.append(_row(title, ["", str(hosts or ""), *cells, ""]))
    return _table(("state", "nodes", "hosts", "threads", "memory", ""), lines)


def _by_pool(summary: NodeSummary) -> str:
    """Return a table of the pools; "" if there is only one."""
    requested = summary.history.requested_by_pool()
    if len(requested) < 2:
        return ""
    lines = []
    for pool, count in requested.items():
        counts = summary.history.counts(pool)
        live = {state: counts[state] for state in STATES}
        cells = [str(count), str(sum(live.values())), format_counts(live)]
        lines.append(_row(html.escape(pool), cells))
    return _table(("pool", "requested", "nodes", ""), lines)


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
        lines.append(_row(html.escape(host), cells))
    if len(hosts) > MAX_HOSTS:
        lines.append(_row(f"... {len(hosts) - MAX_HOSTS} more", [""] * 4))
    return _table(("host", "nodes", "threads", "memory", ""), lines)


def _resources(rows: Iterable[JobRow], workers: Resources) -> list[str]:
    found = (workers.get(row.worker or "", Counter[str]()) for row in rows)
    return _cells_of(sum(found, Counter[str]()))


def _cells_of(resources: Counter[str]) -> list[str]:
    memory = resources["memory"]
    return [str(resources["threads"] or ""), format_bytes(memory) if memory else ""]


def _causes(failures: Counter[str], most: int) -> str:
    return ", ".join(format_cause(*each) for each in failures.most_common(most))


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    lines = [html.escape(line) for line in reasons[:MAX_REASONS]]
    if len(reasons) > MAX_REASONS:
        lines.append("... <code>cluster.explain()</code> returns all")
    text = "\n".join(lines)
    return (
        f'<div style="white-space:pre-wrap;line-height:1.4;margin:.4em 0">{text}</div>'
    )


def _folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Return HTML that can be unfolded; "" without content."""
    tag = "details open" if is_open else "details"
    return f"<{tag}><summary>{title}</summary>{content}</details>" if content else ""


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    return (
        '<table style="margin:.3em 0;border-collapse:collapse;line-height:1.4">'
        f'<thead><tr style="{_LINE}">{_cells("th", head)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _row(first: str, rest: Sequence[str]) -> str:
    """Return a row; `first` is HTML, the rest is text."""
    cells = [first, *map(html.escape, rest)]
    return f'<tr style="background:none">{_cells("td", cells)}</tr>'


def _cells(tag: str, cells: Sequence[str]) -> str:
    """Align numbers to the right; the first and the last column hold text."""
    aligned = ["left", *["right"] * (len(cells) - 2), "left"]
    return "".join(
        f'<{tag} style="text-align:{align};padding:.1em .8em">{cell}</{tag}>'
        for align, cell in zip(aligned, cells, strict=True)
    )
