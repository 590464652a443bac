"""``cluster.explain()``: what is and what became of the nodes, in sentences.

Reads only; what it reads is kept by the roster, the failures, the guard and the upkeep.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator

from dask.utils import format_bytes, format_time

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import GridFull
from dask_gridengine.exit_causes import (
    NONE_REQUESTED,
    Cause,
    Diagnosis,
    number_of_nodes,
)
from dask_gridengine.formatting import format_cause
from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.prologue import hinted
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.reconcile.reconciler import Reconciler

HOSTS_NAMED = 3  # of a group; the others are counted
PROLOGUES_SHOWN = 5  # different failures
WORDS_SHOWN = 8  # lines of a node's last words


def explain(reconcilers: Iterable[Reconciler]) -> str:
    """Tell of all nodes: what they are at, why others ended, what is done about it."""
    unreachable_hosts: dict[str, str] = {}
    lines = []
    for reconciler in reconcilers:
        if reconciler.fleet.pool:
            lines.append(f"pool {reconciler.fleet.pool}:")
        lines += _explain(reconciler)
        unreachable_hosts |= reconciler.fleet.unreachable_hosts
    return "\n".join([*lines, *unreachable_hosts.values()])


def _explain(reconciler: Reconciler) -> Iterator[str]:
    fleet = reconciler.fleet
    yield _now(reconciler)
    if added := fleet.reports.added:
        by = "by sge_request, or by a job submission verifier"
        yield f"This site adds to each request: {added} ({by})."
    if reconciler.outage:
        full = GridFull.matches(reconciler.outage)
        title = fleet.dialect.title
        silent = "" if full else f"{title[0].upper()}{title[1:]} does not answer. "
        yield (
            f"{silent}Nothing can be asked for now; what is missing will be when the"
            f" grid will have it: {reconciler.outage}"
        )
    if cause := reconciler.persistent_failure:
        yield (
            f"No more nodes are asked for, but one now and then: those that came last"
            f" all {cause.value}. scale() tries again at once."
        )
    yield from (f"why nodes queue: {reason}" for reason in fleet.reports.reasons)
    yield from (
        f"{line}." for line in fleet.blocklist.sentences(fleet.registry.clock())
    )
    yield from _suspended(fleet)
    yield from _leaving(list(fleet.registry.live.values()))
    yield from _ends(fleet.registry, fleet.log_directory)
    yield from _dropped(fleet.registry)
    yield from _deaths(fleet.registry)
    yield from _prologues(fleet.registry)
    for text in reconciler.said[-5:]:
        yield f"decided: {text}"


def explain_node(record: NodeRecord) -> str:
    """Tell of one node from its submission to its end."""
    lines = [_story(record), *_reachability_checker(record)]
    if record.restarts:
        lines.append(f"its Nanny has started a new worker {_times(record.restarts)}")
    lines += [f"its job_script_prologue failed: {hinted(f)}" for f in record.prologue]
    if record.death is not None:
        lines.append(record.death.sentence("its last worker", record.id.job))
    if record.diagnosis is not None and record.ending:
        lines.append(record.diagnosis.sentence("it", record.id.job))
        lines.append(f"  known from: {record.diagnosis.source}")
    lines += _leaving([record])
    if record.peak_memory:
        lines.append(f"its worker used {format_bytes(record.peak_memory)} at most")
    if words := record.log_tail.strip().splitlines():
        lines.append("its last words:")
        lines += [f"  | {line}" for line in words[-WORDS_SHOWN:]]
    return "\n".join(lines)


def explain_deaths(records: Iterable[NodeRecord]) -> str:
    """Why these nodes' workers died, a line each, for a note of an exception."""
    lines = []
    for record in records:
        who = f"{record.worker} ({record})"
        if record.ending and record.diagnosis is not None:
            lines.append(record.diagnosis.sentence(who, record.id.job))
        elif record.death is not None:
            lines.append(record.death.sentence(f"the worker of {who}", record.id.job))
        else:
            lines.append(f"{who}: no word yet on why its worker died")
    return "\n".join(dict.fromkeys(lines))


def _now(reconciler: Reconciler) -> str:
    counts = reconciler.fleet.registry.shown()
    live = [state for state in NodeState if state is not NodeState.GONE]
    said = ", ".join(
        f"{counts[state]} {state.value}" for state in live if counts[state]
    )
    held = reconciler.fleet.held
    asleep = f" ({held} of them asleep, their host is shut)" if held else ""
    oldest = min(
        (r.submitted for r in reconciler.fleet.registry.in_state(NodeState.QUEUED)),
        default=None,
    )
    queue = "" if oldest is None else f"; the first in the queue for {_ago(oldest)}"
    backlog = reconciler.fleet.registry.backlog
    bounds = "max-jobs, max-queued-jobs, the grid's limits for an array"
    later = (
        f"; {backlog} more when there is room for them ({bounds})" if backlog else ""
    )
    if not reconciler.desired:
        return f"{NONE_REQUESTED}{f': {said}' if said else ''}{asleep}{queue}{later}."
    wanted = number_of_nodes(reconciler.desired)
    verb = "is" if reconciler.desired == 1 else "are"
    return f"{wanted} {verb} wanted: {said or 'none is there'}{asleep}{queue}{later}."


def _suspended(fleet: Fleet) -> Iterator[str]:
    """Nodes that the grid has suspended: which, since when, and what follows."""
    records = list(fleet.registry.suspended.values())
    if not records:
        return
    verb = "has" if len(records) == 1 else "have"
    since = min(record.shown_since for record in records)
    limit = fleet.options.suspended_timeout
    later = "" if limit is None else f", or for {limit:g} s (suspended-timeout)"
    yield (
        f"{_who(records)} {verb} been suspended by the grid since {_clock(since)}"
        f" (for {_ago(since)}). What runs and is held there waits until it is resumed"
        f"{later}. See: {fleet.dialect.listing}"
    )


def _leaving(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Nodes that go although they are wanted, and what they cannot finish."""
    for record in registry:
        why = record.turned
        if why is None or record.over:
            continue
        told = f"{record} ({record.worker}) takes no new tasks and leaves: {why.detail}"
        if record.unfinished:
            told += f"; it cannot finish: {record.unfinished}"
        yield told


def _ends(registry: Iterable[NodeRecord], logs: object) -> Iterator[str]:
    """Ends that are alike, as one sentence; failures first, most frequent first."""
    pairs = [
        (record, record.diagnosis)
        for record in registry
        if record.ending and record.diagnosis is not None
    ]
    for records, told in _alike(pairs):
        example = records[-1]
        many = len(records) > 1
        sentence = told.sentence(_who(records), example.id.job, many=many)
        if told.cause.log_may_help:
            sentence += f"\n  a log: {logs}/{example.log}.log"
        yield sentence


def _dropped(registry: NodeRegistry) -> Iterator[str]:
    """In numbers, what became of the nodes whose details are not kept any more."""
    causes = registry.dropped.most_common()
    if causes:
        ends = ", ".join(
            format_cause(c.value if c else "", count) for c, count in causes
        )
        total = number_of_nodes(sum(count for _, count in causes))
        yield f"{total} ended earlier, whose details are not kept: {ends}"


def _deaths(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Workers that died and were started anew by their Nanny: their nodes go on."""
    pairs = [(record, record.death) for record in registry if record.death is not None]
    for records, told in _alike(pairs):
        times = sum(record.restarts for record in records)
        who = f"the worker of {_who(records)} ({_times(times)}, and started again)"
        yield told.sentence(who, records[-1].id.job)


def _prologues(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Lines before Python that failed, though their nodes came up."""
    failed: dict[str, list[NodeRecord]] = defaultdict(list)
    for record in registry:
        for failure in record.prologue:
            failed[failure].append(record)
    ranked = sorted(failed.items(), key=lambda item: -len(item[1]))
    for failure, records in ranked[:PROLOGUES_SHOWN]:
        yield f"job_script_prologue failed for {_who(records)}: {hinted(failure)}"


def _alike(
    pairs: Iterable[tuple[NodeRecord, Diagnosis]],
) -> Iterator[tuple[list[NodeRecord], Diagnosis]]:
    """Group what has the same cause and the same remedy."""
    groups: dict[tuple[Cause, str], list[tuple[NodeRecord, Diagnosis]]]
    groups = defaultdict(list)
    for record, diagnosis in pairs:
        groups[diagnosis.cause, diagnosis.advice].append((record, diagnosis))
    ranked = sorted(
        groups.items(), key=lambda item: (not item[0][0].is_failure, -len(item[1]))
    )
    for (cause, advice), group in ranked:
        details = Counter(diagnosis.detail for _, diagnosis in group)
        ((detail, alike),) = details.most_common(1)
        if detail and alike < len(group):
            detail += f" (and {len(group) - alike} with other words)"
        told = Diagnosis(cause=cause, detail=detail, advice=advice)
        yield [record for record, _ in group], told


def _who(records: Collection[NodeRecord]) -> str:
    """ "4 nodes on node17", "31 nodes on all of 12 hosts", "node 3.1 on node7"."""
    first = next(iter(records))
    if len(records) == 1:
        return str(first)
    hosts = sorted({record.host for record in records if record.host})
    if not hosts:
        return f"{len(records)} nodes (e.g. {first})"
    if len(hosts) <= HOSTS_NAMED:
        return f"{len(records)} nodes on {', '.join(hosts)}"
    return f"{len(records)} nodes on {len(hosts)} hosts (e.g. {', '.join(hosts[:2])})"


def _story(record: NodeRecord) -> str:
    """How long it was in each state."""
    marks = [
        ("queued", record.submitted),
        (f"arrived on {record.host}", record.arrived),
        (f"became {record.worker}", record.allocated),
        ("worked", record.working),
        ("suspended by the grid", record.suspended),
        ("was leaving", record.leaving),
        ("gone", record.gone),
    ]
    passed = [(what, when) for what, when in marks if when is not None]
    told = []
    for (what, when), (_, then) in itertools.pairwise(passed):
        told.append(f"{what} for {format_time(max(0.0, then - when))}")
    what, when = passed[-1]
    told.append(what if what == "gone" else f"{what}, for {_ago(when)} now")
    return f"node {record.id}: {', '.join(told)}"


def _reachability_checker(record: NodeRecord) -> Iterator[str]:
    """By which address it came, where that was not the first one that it tried."""
    others = {a: said for a, said in record.tried.items() if a != record.via}
    if others:
        yield f"it reached the cluster at {record.via}; the addresses before that:"
        yield from (f"  {address}: {said}" for address, said in others.items())


def _ago(when: float) -> str:
    return str(format_time(max(0.0, steady_time() - when)))


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
