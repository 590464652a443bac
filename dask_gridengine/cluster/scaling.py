"""How many workers a user means, and which to give up first. Pure, but for one look."""

from __future__ import annotations

import math
import numbers
import operator
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from distributed import Scheduler
from distributed.scheduler import WorkerState

from dask_gridengine import option_parsing as readings
from dask_gridengine.errors import OptionError
from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.options import Options

#: What a bound of adaptive scaling may be in: workers, or as its name ends.
UNITS = ("", "_jobs", "_cores", "_memory")


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
        If one of them is no number, or negative, or memory is asked for and nobody
        knows how much a node has.
    """
    wanted = [0]
    if n is not None:
        wanted.append(options.nodes(whole("n", n, "workers")))
    if jobs is not None:
        wanted.append(whole("jobs", jobs, "nodes"))
    if cores is not None:
        wanted.append(math.ceil(_cores("cores", cores) / options.cores))
    if memory is not None:
        if not options.memory:
            raise OptionError(
                "scale(memory=...) needs to know how much a node has: give"
                " GridEngineCluster(memory=...)"
            )
        wanted.append(math.ceil(_bytes("memory", memory) / options.memory))
    return max(wanted)


def whole(name: str, value: Any, of: str) -> int:
    """Read a count that a user gives; a float without a fraction is one, too.

    Parameters
    ----------
    name, value
        The argument, and what was given for it.
    of
        What is counted, for the message.

    Raises
    ------
    OptionError
        If it is no whole number, or negative.
    """
    try:
        exact = isinstance(value, float) and value.is_integer()
        number = int(value) if exact else operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: expected a number of {of}, 0 or more")
    return number


def _cores(name: str, value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not (0 <= value < math.inf or _unlimited(name, value)):
        raise OptionError(f"{name}={value!r}: expected a number of cores, 0 or more")
    return float(value)


def _bytes(name: str, value: Any) -> float:
    unlimited = _unlimited(name, value)
    return math.inf if unlimited else readings.size(value, name)


def _unlimited(name: str, value: Any) -> bool:
    return name.startswith("maximum") and bool(value == math.inf)


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
        If a bound is no number, or negative, or the least is more than the most; if
        memory bounds them and nobody knows how much a node has, or a bound is said in
        workers and in nodes.
    """
    told = {name: value for name, value in given.items() if value is not None}
    least = math.ceil(max(_said(options, "minimum", given), default=0))
    limit = min(_said(options, "maximum", given), default=math.inf)
    most = math.floor(limit) if math.isfinite(limit) else limit
    if least > most:
        said = ", ".join(f"{k}={v!r}" for k, v in told.items() if k not in given)
        raise OptionError(
            f"{said}: at least {least} workers and at most {most}; the minimum must"
            " not be more than the maximum"
        )
    return least, most


def _said(options: Options, bound: str, given: dict[str, Any]) -> list[float]:
    """What is said of one bound, each in workers."""
    workers, jobs, cores, memory = (given.pop(bound + unit, None) for unit in UNITS)
    if workers is not None and jobs is not None:
        raise OptionError(f"{bound} and {bound}_jobs: give one")
    said: list[float] = []
    if workers is not None:
        said.append(_bound(bound, workers, "workers"))
    if jobs is not None:
        said.append(_bound(f"{bound}_jobs", jobs, "nodes") * options.processes)
    if cores is not None:
        said.append(_cores(f"{bound}_cores", cores) / options.threads)
    if memory is not None:
        if not options.memory:
            raise OptionError(
                f"{bound}_memory={memory!r} needs to know how much a node has: give"
                " GridEngineCluster(memory=...)"
            )
        size = _bytes(f"{bound}_memory", memory)
        said.append(size / (options.memory // options.processes))
    return said


def _bound(name: str, value: Any, of: str) -> float:
    return math.inf if _unlimited(name, value) else whole(name, value, of)


def to_close(
    scheduler: Scheduler,
    names: Sequence[str],
    waiting: Collection[str],
    count: int,
    processes: int = 1,
    suspended: Collection[str] = (),
) -> list[str]:
    """Choose `count` nodes to give up.

    First those that queue, then those that start, those that the grid has suspended,
    and the idlest.

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
    suspended
        Names of nodes that the grid has suspended. They hold tasks, but do not work.
    """
    if count <= 0:
        return []
    queued = set(waiting)
    started = {node_of(ws.name) for ws in scheduler.workers.values()}
    newest_first = list(reversed(names))
    ranked = [name for name in newest_first if name in queued]
    started |= queued
    ranked += [name for name in newest_first if name not in started]
    ranked += [name for name in newest_first if name in suspended]
    ranked = list(dict.fromkeys(ranked))
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
