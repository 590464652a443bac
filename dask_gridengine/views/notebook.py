"""A cluster in a notebook, and in one line: the same said twice."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import starmap
from typing import NamedTuple

from dask.utils import format_bytes

from dask_gridengine.exit_causes import NONE_REQUESTED, number_of_nodes
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.history import counts_of
from dask_gridengine.nodes.startup_times import format_duration
from dask_gridengine.nodes.summary import Standing, counted
from dask_gridengine.views import html as markup
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, STATES

REASONS = 6  # lines of why something is missing that are shown
HOSTS = 40  # that are listed
#: Fonts and colours of words are the notebook's own, which may be dark.
_FAINT = "opacity:.65"

_ALL_WELL = re.compile(r"(\d+) nodes? (?:is|are) wanted: (\d+) working\.")
_POOL = "pool "  # what a heading of `explain` begins with


class WorkerResources(NamedTuple):
    """What workers have."""

    threads: int = 0
    memory: int = 0  # bytes

    def __add__(self, other: object) -> WorkerResources:
        assert isinstance(other, WorkerResources)
        return WorkerResources(self.threads + other.threads, self.memory + other.memory)


def means(workers: Collection[Mapping[str, object]]) -> dict[str, WorkerResources]:
    """What the workers of each node have, by its name; from Dask's scheduler info."""
    found: dict[str, WorkerResources] = {}
    for info in workers:
        node = node_of(str(info["name"]))
        # Dask's own type is a mapping of anything.
        has = WorkerResources(
            int(str(info["nthreads"])), int(str(info["memory_limit"] or 0))
        )
        found[node] = found.get(node, WorkerResources()) + has
    return found


def one_line(
    standing: Standing, adapting: str = "", *, paused: int = 0, queues: str = ""
) -> str:
    """What the nodes are at, for a repr.

    Parameters
    ----------
    standing
        The nodes.
    adapting
        The bounds of adaptive scaling, ``"0 to 10"``; "" if the number is kept.
    paused
        Workers that Dask has paused.
    queues
        Why nodes queue, in a few words; "" if nothing is known.
    """
    standing.look()
    counts = standing.view.counts()
    parts = []
    for state in reversed(STATES):
        if not counts[state]:
            continue
        said = f"{counts[state]} {state}"
        if state == "working":
            said += f" on {_number(standing.hosts(state), 'host')}"
            said += f" ({_number(paused, 'worker')} paused)" if paused else ""
        if state == "queued" and (waited := standing.queued_for()) is not None:
            said += f" for up to {format_duration(waited)}"
            said += f" ({queues})" if queues else ""
        parts.append(said)
    if failed := standing.failures():
        causes = ", ".join(starmap(counted, failed[:2]))
        parts.append(f"{standing.failed} failed ({causes})")
    kept = f" (adaptive, {adapting})" if adapting else ""
    if not standing.view.wanted:
        return f"{NONE_REQUESTED}{kept}" + (f": {', '.join(parts)}" if parts else "")
    wanted = f"{number_of_nodes(standing.view.wanted)} wanted"
    return f"{wanted}{kept}: {', '.join(parts) or 'none is there'}"


def table(
    standing: Standing,
    *,
    kind: str,
    link: str,
    address: str = "",
    workers: Mapping[str, WorkerResources],
    scaling: str,
    reasons: Sequence[str],
    log: str = "",
) -> str:
    """The nodes as HTML, without a script; fits light and dark notebooks.

    Parameters
    ----------
    standing
        The nodes.
    kind
        Of cluster: its class's name.
    link
        To the dashboard; "" without one.
    address
        Of the scheduler; "" if it has none any more.
    workers
        As `means` says.
    scaling
        How their number is decided, in a few words.
    reasons
        What `explain` says, line by line.
    log
        The cluster's last lines.
    """
    standing.look()
    to = (
        f'<a href="{html.escape(link)}" target="_blank"><u>dashboard</u></a>'
        if link
        else ""
    )
    parts = [
        f'<div style="line-height:1.5"><b>{html.escape(kind)}</b>'
        f' <span style="{_FAINT}">{html.escape(standing.view.name)}</span> &#160; {to}'
        f" &#160; {html.escape(scaling)}"
        f' &#160; <span style="{_FAINT}">{html.escape(address)}</span></div>',
        _by_state(standing, workers),
        _reasons(reasons),
        markup.folded("pools", _by_pool(standing), open_=True),
        markup.folded("hosts", _by_host(standing, workers)),
        markup.folded("log", f"<pre>{html.escape(log)}</pre>" if log else ""),
    ]
    return f'<div class="dask-gridengine">{"".join(parts)}</div>'


def telling(lines: Iterable[str]) -> list[str]:
    """What `explain` says, without what the table says, too: that all is well.

    Examples
    --------
    >>> telling(["pool a:", "2 nodes are wanted: 2 working.", "pool b:", "1 fails"])
    ['pool b:', '1 fails']
    """
    kept: list[str] = []
    for line in lines:
        well = _ALL_WELL.fullmatch(line)
        if line == f"{NONE_REQUESTED}." or (well and well[1] == well[2]):
            continue
        if line.startswith(_POOL) and kept and kept[-1].startswith(_POOL):
            kept.pop()  # there was nothing to say of that one
        kept.append(line)
    return kept[:-1] if kept and kept[-1].startswith(_POOL) else kept


def _by_state(standing: Standing, workers: Mapping[str, WorkerResources]) -> str:
    counts = standing.view.counts()
    has: dict[str, WorkerResources] = {}
    for row in list(standing.live.values()):
        has[row.state] = has.get(row.state, WorkerResources()) + workers.get(
            row.worker, WorkerResources()
        )
    lines = []
    for state in STATES:
        if counts[state]:
            hosts = standing.hosts(state) if state != "queued" else 0
            waited = standing.queued_for() if state == "queued" else None
            note = f"the first for {format_duration(waited)}" if waited else ""
            cells = _cells(
                counts[state], hosts, has.get(state, WorkerResources()), note
            )
            lines.append(markup.row(markup.swatch(COLOURS[state]) + state, cells))
    if counts["gone"]:
        why = ", ".join(starmap(counted, standing.failures()[:3]))
        note = f"{standing.failed} failed: {why}" if why else "none failed"
        swatch = markup.swatch(FAILED if standing.failed else ENDED)
        lines.append(
            markup.row(
                f"{swatch}gone", _cells(counts["gone"], 0, WorkerResources(), note)
            )
        )
    total = sum(workers.values(), WorkerResources())
    lines.append(
        markup.row(
            f"<b>{len(standing.live)} of {standing.view.wanted} wanted</b>",
            ["", *_cells(0, standing.hosts(*STATES[1:]), total, "")[1:]],
        )
    )
    return markup.table(("state", "nodes", "hosts", "threads", "memory", ""), lines)


def _by_pool(standing: Standing) -> str:
    """How the kinds of nodes stand, where there are several."""
    rosters, wanted = standing.view.rosters(), standing.view.wanted_of()
    if len(rosters) < 2:
        return ""
    lines = []
    for name, registry in rosters.items():
        counts = counts_of(registry)
        live = ", ".join(
            f"{counts[state]} {state}" for state in STATES if counts[state]
        )
        cells = [str(wanted[name]), str(registry.alive), live]
        lines.append(markup.row(html.escape(name), cells))
    return markup.table(("pool", "wanted", "nodes", ""), lines)


def _by_host(standing: Standing, workers: Mapping[str, WorkerResources]) -> str:
    states: dict[str, Counter[str]] = {}
    has: dict[str, WorkerResources] = {}
    for row in list(standing.live.values()):
        if row.host:
            states.setdefault(row.host, Counter())[row.state] += 1
            more = workers.get(row.worker, WorkerResources())
            has[row.host] = has.get(row.host, WorkerResources()) + more
    if not states:
        return ""
    lines = [
        markup.row(
            html.escape(host),
            [
                str(states[host].total()),
                str(has[host].threads or ""),
                format_bytes(has[host].memory) if has[host].memory else "",
                ", ".join(f"{n} {state}" for state, n in states[host].items()),
            ],
        )
        for host in sorted(states)[:HOSTS]
    ]
    if len(states) > HOSTS:
        lines.append(markup.row(f"... {len(states) - HOSTS} more", [""] * 4))
    return markup.table(("host", "nodes", "threads", "memory", ""), lines)


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    lines = [html.escape(line) for line in reasons[:REASONS]]
    if len(reasons) > REASONS:
        lines.append("... <code>cluster.explain()</code> says it all")
    text = "\n".join(lines)
    return (
        f'<div style="white-space:pre-wrap;line-height:1.4;margin:.4em 0">{text}</div>'
    )


def _cells(nodes: int, hosts: int, has: WorkerResources, note: str) -> list[str]:
    memory = format_bytes(has.memory) if has.memory else ""
    return [
        str(nodes),
        str(hosts or ""),
        str(has.threads or ""),
        memory,
        html.escape(note),
    ]


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
