"""How many workers a user means, and which to give up first. Pure, but for one look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dask.utils import parse_bytes
from distributed import Scheduler
from distributed.scheduler import WorkerState

from dask_gridengine.errors import OptionError
from dask_gridengine.names import node_of, nodes_of
from dask_gridengine.settings.config import Options
from dask_gridengine.settings.readings import integer


def target(
    options: Options,
    *,
    n: int | None,
    jobs: int | None,
    cores: int | None,
    memory: Any,
) -> int:
    """The number of nodes that satisfies all of these.

    Raises
    ------
    OptionError
        If memory is asked for and nobody knows how much a node has.
    """
    wanted = [math.ceil((n or 0) / options.processes), jobs or 0]
    if cores is not None:
        wanted.append(math.ceil(cores / options.cores))
    if memory is not None:
        if not options.memory:
            raise OptionError(
                "scale(memory=...) needs to know how much a node has: give"
                " GridEngineCluster(memory=...)"
            )
        given = integer(memory)
        size = parse_bytes(memory) if given is None else given
        wanted.append(math.ceil(size / options.memory))
    return int(max(wanted))  # jobs= may be numpy's


def bounds(options: Options, given: dict[str, Any]) -> tuple[int, float]:
    """The least and the most workers, from all the ways in which they can be said.

    Parameters
    ----------
    options
        Of the nodes.
    given
        ``minimum``, ``maximum``, ``minimum_jobs``, ...: they are taken out of it.

    Raises
    ------
    OptionError
        If memory bounds them and nobody knows how much a node has, or a bound is said
        in workers and in nodes.
    """
    least = _said(options, "minimum", given)
    most = _said(options, "maximum", given)
    limit = min(most, default=math.inf)
    return (
        math.ceil(max(least, default=0)),
        math.floor(limit) if math.isfinite(limit) else limit,
    )


def _said(options: Options, bound: str, given: dict[str, Any]) -> list[float]:
    """What is said of one bound, each in workers."""
    workers, jobs, cores, memory = (
        given.pop(bound + unit, None) for unit in ("", "_jobs", "_cores", "_memory")
    )
    if workers is not None and jobs is not None:
        raise OptionError(f"{bound} and {bound}_jobs: give one")
    said = [float(workers)] if workers is not None else []
    if jobs is not None:
        said.append(jobs * options.processes)
    if cores is not None:
        said.append(cores / options.threads)
    if memory is not None:
        if not options.memory:
            raise OptionError(
                f"{bound}_memory={memory!r} needs to know how much a node has: give"
                " GridEngineCluster(memory=...)"
            )
        said.append(parse_bytes(memory) / (options.memory // options.processes))
    return said


def to_close(
    scheduler: Scheduler,
    names: Sequence[str],
    waiting: Collection[str],
    count: int,
    processes: int = 1,
) -> list[str]:
    """Which `count` nodes to give up: who queues, then who starts, then the idlest.

    Parameters
    ----------
    scheduler
        Knows which workers are idle and hold little.
    names
        All their names, oldest first.
    waiting
        Those no node bears yet.
    count
        How many to give up; none if it is not positive.
    processes
        Workers of a node.
    """
    if count <= 0:
        return []
    queued = set(waiting)
    started = {node_of(ws.name) for ws in scheduler.workers.values()}
    newest_first = list(reversed(names))
    ranked = [name for name in newest_first if name in queued]
    started |= queued
    ranked += [name for name in newest_first if name not in started]
    if len(ranked) < count:
        # Idle is a node all of whose workers are.
        idlest = scheduler.workers_to_close(
            n=(count - len(ranked)) * processes, key=node_key, attribute="name"
        )
        ours = set(names)
        ranked += [name for name in nodes_of(idlest) if name in ours]
    # The scheduler may keep back who alone could hold the data; the user's word counts.
    return list(dict.fromkeys([*ranked, *newest_first]))[:count]


def by_least_held(scheduler: Scheduler, names: Iterable[str]) -> list[str]:
    """These nodes, those first whose workers hold the least data."""
    held: Counter[str] = Counter()
    for ws in scheduler.workers.values():
        held[node_of(ws.name)] += ws.nbytes
    return sorted(names, key=held.__getitem__)


def node_key(ws: WorkerState) -> Any:
    """What Dask is to group workers by: those of a node go together."""
    return node_of(ws.name)
