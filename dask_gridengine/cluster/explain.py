"""Explain in sentences what the nodes do, and what became of them. Reads only."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import OptionError
from dask_gridengine.exit_causes import NONE_REQUESTED, Cause, Diagnosis
from dask_gridengine.formatting import (
    format_cause,
    format_duration,
    format_size,
    plural,
    verb,
)
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.prologue import hinted
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState

if TYPE_CHECKING:
    from dask_gridengine.cluster.blocked_tasks import BlockedTasks
    from dask_gridengine.cluster.cluster import GridEngineCluster
    from dask_gridengine.cluster.pool import NodePool

HOSTS_NAMED = 3  # of a group; the others are counted
PROLOGUES_SHOWN = 5  # different failures
LOG_LINES = 8  # of a node that has ended
DECISIONS_SHOWN = 5


def explain(pools: Iterable[NodePool], *, numbers: bool = True) -> str:
    """Explain the states of all nodes, why others ended, and what is done about it.

    `numbers` begins with the number of nodes in each state.
    """
    lines: list[str] = []
    for pool in pools:
        found = [_now(pool)] if numbers else []
        found += _explain(pool)
        if pool.name and found:
            lines.append(f"pool {pool.name}:")
        lines += found
    return "\n".join(lines)


def _explain(pool: NodePool) -> Iterator[str]:
    registry, reconciler = pool.registry, pool.reconciler
    if added := pool.reports.added:
        by = pool.launcher.batch_system.site_defaults
        yield f"This site adds to each request: {added} ({by})."
    if error := reconciler.submission_error:
        yield f"Submission failed, will retry: {error}"
    if cause := reconciler.persistent_failure:
        yield (
            "Submission is suspended except for single nodes now and then: the last"
            f" nodes all {verb(cause.value, 2)}. scale() tries again at once."
        )
    yield from (f"why nodes queue: {reason}" for reason in pool.reports.reasons)
    yield from (f"{line}." for line in pool.blocklist.sentences(registry.clock()))
    yield from _suspended(pool)
    yield from _leaving(list(registry.live.values()))
    yield from _ends(registry, pool.log_directory)
    yield from _dropped(registry)
    yield from _deaths(registry)
    yield from _prologues(registry)
    for text in reconciler.decisions[-DECISIONS_SHOWN:]:
        yield f"decided: {text}"


def explain_named(
    cluster: str, pools: Sequence[NodePool], name: str, blocked: BlockedTasks
) -> str:
    """Explain the nodes of this worker name or job id.

    Several jobs may have one id on local processes, where each pool has its own grid.
    """
    node = node_of(name)
    lines: list[str] = []
    for pool in pools:
        for record in pool.registry:
            if node == record.worker or node in record.id.names:
                lines.append(explain_node(record))
                if record.state is NodeState.QUEUED:
                    lines += [f"why it queues: {why}" for why in pool.reports.reasons]
                lines += blocked.about(record.worker or "")
    if not lines:
        raise OptionError(
            f"{cluster} never had a worker or a job {name!r}, or it ended long ago",
            hint="cluster.jobs() lists those that are kept",
        )
    return "\n".join(lines)


def hints(cluster: GridEngineCluster) -> list[str]:
    """What to type if no nodes are requested, and adaptive scaling is off."""
    pools = cluster.pools
    if not pools or cluster.lifecycle.ending:
        return []
    if any(pool.wanted or pool.adapts for pool in pools):
        return []
    jobs = repr({pools[0].name: 4}) if pools[0].name else 4
    return [f"Hint: cluster.scale(jobs={jobs})"]


def explain_node(record: NodeRecord) -> str:
    """Explain one node from its submission to its end."""
    lines = [_history(record), *_addresses_tried(record)]
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
        lines.append(f"its worker used {format_size(record.peak_memory)} at most")
    if words := record.log_tail.strip().splitlines():
        lines.append("the end of its log:")
        lines += [f"  | {line}" for line in words[-LOG_LINES:]]
    return "\n".join(lines)


def explain_deaths(records: Iterable[NodeRecord]) -> str:
    """Why the workers of these nodes died, a line each, for a note of an exception."""
    lines = []
    for record in records:
        subject = f"{record.worker} ({record})"
        if record.ending and record.diagnosis is not None:
            lines.append(record.diagnosis.sentence(subject, record.id.job))
        elif record.death is not None:
            lines.append(
                record.death.sentence(f"the worker of {subject}", record.id.job)
            )
        else:
            lines.append(f"{subject}: the cause of its worker's death is not known yet")
    return "\n".join(dict.fromkeys(lines))


def _now(pool: NodePool) -> str:
    counts, held = pool.registry.shown(), pool.admission.num_blocked
    live = [state for state in NodeState if state is not NodeState.GONE]
    states = ", ".join(f"{counts[s]} {s.value}" for s in live if counts[s])
    rest = f" ({held} of them held on excluded hosts)" if held else ""
    queued = pool.registry.in_state(NodeState.QUEUED)
    if oldest := min((record.submitted for record in queued), default=None):
        rest += f"; the first in the queue for {_ago(oldest)}"
    if missing := pool.reconciler.missing:
        rest += f"; {missing} not submitted yet"
        if not pool.arrays.room:
            rest += " (max-jobs, max-queued-jobs, the grid's limits for an array)"
    if not pool.wanted:
        return f"{NONE_REQUESTED}{f': {states}' if states else ''}{rest}."
    return f"{plural(pool.wanted, 'node')} requested: {states or '0 running'}{rest}."


def _suspended(pool: NodePool) -> Iterator[str]:
    records = list(pool.registry.suspended.values())
    if not records:
        return
    verb = "has" if len(records) == 1 else "have"
    since = min(record.shown_since for record in records)
    limit = pool.options.suspended_timeout
    later = (
        ""
        if limit is None
        else f", or for {format_duration(limit)} (suspended-timeout)"
    )
    yield (
        f"{_subject(records)} {verb} been suspended by the grid since {_clock(since)}"
        f" (for {_ago(since)}). Its tasks and data wait until it is resumed{later}."
        f" See: {pool.launcher.batch_system.listing}"
    )


def _leaving(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Nodes that are replaced, and what they cannot finish."""
    for record in registry:
        why = record.turned
        if why is None or record.over:
            continue
        text = f"{record} ({record.worker}) takes no new tasks and leaves: {why.detail}"
        if record.unfinished:
            text += f"; it cannot finish: {record.unfinished}"
        yield text


def _ends(registry: Iterable[NodeRecord], logs: object) -> Iterator[str]:
    """One sentence for similar ends; failures first, the most frequent first."""
    pairs = [
        (record, record.diagnosis)
        for record in registry
        if record.ending and record.diagnosis is not None
    ]
    for records, diagnosis in _alike(pairs):
        example = records[-1]
        many = len(records) > 1
        sentence = diagnosis.sentence(_subject(records), example.id.job, many=many)
        if diagnosis.cause.log_may_help:
            sentence += f"\n  a log: {logs}/{example.log}.log"
        yield sentence


def _dropped(registry: NodeRegistry) -> Iterator[str]:
    """Numbers of ended nodes whose details are not kept any more."""
    causes = registry.dropped.most_common()
    if causes:
        ends = ", ".join(
            format_cause(c.value if c else "", count) for c, count in causes
        )
        total = plural(sum(count for _, count in causes), "node")
        yield f"{total} ended earlier, whose details are not kept: {ends}"


def _deaths(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Workers that died and were restarted by their Nanny: their nodes go on."""
    pairs = [(record, record.death) for record in registry if record.death is not None]
    for records, diagnosis in _alike(pairs):
        times = sum(record.restarts for record in records)
        subject = f"the worker of {_subject(records)} ({_times(times)}, and restarted)"
        yield diagnosis.sentence(subject, records[-1].id.job)


def _prologues(registry: Iterable[NodeRecord]) -> Iterator[str]:
    """Lines before Python that failed, although their nodes started."""
    failed: dict[str, list[NodeRecord]] = defaultdict(list)
    for record in registry:
        for failure in record.prologue:
            failed[failure].append(record)
    ranked = sorted(failed.items(), key=lambda item: -len(item[1]))
    for failure, records in ranked[:PROLOGUES_SHOWN]:
        yield f"job_script_prologue failed for {_subject(records)}: {hinted(failure)}"


def _alike(
    pairs: Iterable[tuple[NodeRecord, Diagnosis]],
) -> Iterator[tuple[list[NodeRecord], Diagnosis]]:
    """Group ends with the same cause and the same advice."""
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
            detail += f" (and {len(group) - alike} with other details)"
        common = Diagnosis(cause=cause, detail=detail, advice=advice)
        yield [record for record, _ in group], common


def _subject(records: Collection[NodeRecord]) -> str:
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


def _history(record: NodeRecord) -> str:
    """How long the node was in each state."""
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
    parts = []
    for (what, when), (_, then) in itertools.pairwise(passed):
        parts.append(f"{what} for {format_duration(then - when)}")
    what, when = passed[-1]
    parts.append(what if what == "gone" else f"{what}, for {_ago(when)} now")
    return f"node {record.id}: {', '.join(parts)}"


def _addresses_tried(record: NodeRecord) -> Iterator[str]:
    """The address by which it arrived, if it was not the first one that it tried."""
    others = {a: reply for a, reply in record.tried.items() if a != record.via}
    if others:
        yield f"it reached the cluster at {record.via}; the addresses before that:"
        yield from (f"  {address}: {reply}" for address, reply in others.items())


def _ago(when: float) -> str:
    return format_duration(steady_time() - when)


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
