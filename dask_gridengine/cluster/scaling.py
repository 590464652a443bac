"""How many nodes a user requests, and which to give up first."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import Scheduler

from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import plural
from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.option_parsing import size as parse_size
from dask_gridengine.option_parsing import whole
from dask_gridengine.options import Options

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster
    from dask_gridengine.cluster.pool import NodePool

#: Units of a limit of adaptive scaling: workers, or as its name ends.
UNITS = ("", "_jobs", "_cores", "_memory")


def resolve_options(
    jobs: int | Mapping[str, int] | None,
    n_workers: int | None,
    options: Mapping[str, Any],
) -> Options:
    """Resolve all options, with the first number of nodes of each pool."""
    by_pool = jobs if isinstance(jobs, Mapping) else {}
    asked = n_workers if jobs is None else jobs
    otherwise = isinstance(jobs, Mapping) or (jobs is None and n_workers is not None)
    resolved = Options.resolve({**options, "jobs": 0 if otherwise else jobs})
    pools = resolved.pools
    if pools and not isinstance(jobs, Mapping) and asked:
        raise OptionError(
            f"jobs={asked}: of which pool? There are: {', '.join(pools)}",
            hint=f"jobs={{{next(iter(pools))!r}: {asked}}}",
        )
    if unknown := [name for name in by_pool if name not in pools]:
        there = ", ".join(pools) or "none: give pools={...}"
        raise OptionError(f"jobs: no pool {unknown[0]!r}. There are: {there}")
    for name, count in by_pool.items():
        nodes = whole(count, f"jobs[{name!r}]", least=0, of="nodes")
        pools[name] = replace(pools[name], jobs=nodes)
    if n_workers is not None:
        wanted = resolved.nodes(whole(n_workers, "n_workers", least=0, of="workers"))
        if jobs is not None and jobs != wanted:
            raise OptionError(
                f"jobs={jobs} and n_workers={n_workers} differ", hint="give one of them"
            )
        resolved = replace(resolved, jobs=wanted)
    return resolved


def nodes_by_pool(
    cluster: GridEngineCluster, numbers: Mapping[str, Any], pool: str | None
) -> dict[NodePool, int]:
    """The number of nodes of each pool, from the arguments of scale()."""
    jobs = numbers["jobs"]
    given = {name: value for name, value in numbers.items() if value is not None}
    if isinstance(jobs, Mapping):
        if len(given) > 1 or pool is not None:
            raise OptionError("With scale(jobs={pool: number}), no other arguments")
        return {
            cluster.pool(name): whole(count, f"jobs[{name!r}]", least=0, of="nodes")
            for name, count in jobs.items()
        }
    if not given:
        raise OptionError("scale() needs a number", hint="cluster.scale(jobs=4)")
    several = pool is None and len(cluster.pools) > 1
    pools = cluster.pools if several else [cluster.pool(pool)]
    counts = {each: requested_nodes(each.options, numbers) for each in pools}
    if several and any(counts.values()):
        cluster.pool(None)  # raises the error that a name is needed
    return counts


def requested_nodes(options: Options, numbers: Mapping[str, Any]) -> int:
    """The number of nodes that satisfies all of `n`, `jobs`, `cores` and `memory`.

    Raises `OptionError` if one of them is no number, or negative, if `n` and `jobs`
    differ, or if memory is given and the memory of a node is not known.
    """
    nodes = {
        name: math.ceil(in_workers(options, name, value) / options.processes)
        for name, value in numbers.items()
        if value is not None
    }
    if {"n", "jobs"} <= nodes.keys() and nodes["n"] != nodes["jobs"]:
        n, jobs = numbers["n"], numbers["jobs"]
        raise OptionError(f"n={n!r} and jobs={jobs!r} differ", hint="give one of them")
    return max(nodes.values(), default=0)


def in_workers(options: Options, name: str, value: Any) -> float:
    """Convert an amount to workers: of workers, or as its name ends.

    Raises `OptionError` if the amount is invalid or negative.
    """
    if name.startswith("maximum") and value == math.inf:
        return math.inf
    unit = name.rpartition("_")[2]
    if unit == "jobs":
        return whole(value, name, least=0, of="nodes") * options.processes
    if unit == "cores":
        return _cores(name, value) * options.processes / options.cores
    if unit == "memory":
        if not options.memory:
            raise OptionError(
                f"{name}={value!r}: the memory of a node is not known",
                hint="GridEngineCluster(memory='8 GB')",
            )
        size = parse_size(value, name)
        return size * options.processes / options.memory
    return whole(value, name, least=0, of="workers")


def _cores(name: str, value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise OptionError(f"{name}={value!r}: expected a number of cores, 0 or more")
    return float(value)


def bounds(options: Options, given: dict[str, Any]) -> tuple[int, float]:
    """The least and the most workers, from all arguments that limit them.

    ``minimum``, ``maximum``, ``minimum_jobs``, ... are removed from `given`.

    Raises `OptionError` if one of them is no number, or negative; if the minimum is
    more than the maximum; if memory limits them and the memory of a node is not known;
    or if one limit is given both in workers and in nodes.
    """
    limits: dict[str, list[float]] = {"minimum": [], "maximum": []}
    shown = []
    for bound, found in limits.items():
        names = [bound + unit for unit in UNITS]
        present = {name: given.pop(name, None) for name in names}
        present = {name: v for name, v in present.items() if v is not None}
        if {bound, f"{bound}_jobs"} <= present.keys():
            raise OptionError(
                f"both {bound} and {bound}_jobs are given", hint="give one of them"
            )
        found += [in_workers(options, name, v) for name, v in present.items()]
        shown += [f"{name}={v!r}" for name, v in present.items()]
    least = math.ceil(max(limits["minimum"], default=0))
    limit = min(limits["maximum"], default=math.inf)
    most = math.floor(limit) if math.isfinite(limit) else limit
    if least > most:
        raise OptionError(
            f"{', '.join(shown)}: at least {plural(least, 'worker')} and at most"
            f" {most}",
            hint="the minimum must not be more than the maximum",
        )
    return least, most


def to_close(pool: NodePool, count: int) -> list[str]:
    """Choose `count` nodes to give up; none if it is not positive.

    First nodes that queue, then those that start, those that the grid has suspended
    (they hold tasks, but do not work), and the idlest. Of each the newest first.
    """
    if count <= 0:
        return []
    scheduler, names = pool.cluster.scheduler, pool.names
    newest_first = list(reversed(names))
    queued = set(pool.waiting)
    started = queued | {node_of(ws.name) for ws in scheduler.workers.values()}
    suspended = {record.worker for record in list(pool.registry.suspended.values())}
    ranked = [name for name in newest_first if name in queued]
    ranked += [name for name in newest_first if name not in started]
    ranked += [name for name in newest_first if name in suspended]
    ranked = list(dict.fromkeys(ranked))
    if len(ranked) < count:
        # A node is idle if all its workers are.
        idlest = scheduler.workers_to_close(
            n=(count - len(ranked)) * pool.options.processes,
            key=lambda ws: node_of(ws.name),
            attribute="name",
        )
        ours = set(names)
        ranked += [name for name in nodes_of(idlest) if name in ours]
    # The scheduler may keep workers that alone can hold their data; the user decides.
    return list(dict.fromkeys([*ranked, *newest_first]))[:count]


def by_least_held(scheduler: Scheduler, names: Iterable[str]) -> list[str]:
    """Sort these nodes: those whose workers hold the least data come first."""
    held: Counter[str] = Counter()
    for ws in scheduler.workers.values():
        held[node_of(ws.name)] += ws.nbytes
    return sorted(names, key=held.__getitem__)
