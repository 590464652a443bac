"""Adaptive scaling for a queue: it keeps the queue places of its nodes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from dask.utils import parse_timedelta
from distributed.deploy import Adaptive
from distributed.scheduler import WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.demand import long_tasks, workers_of_pool
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.cluster.scaling import (
    UNITS,
    bounds,
    by_least_held,
    to_close,
)
from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.naming import node_of
from dask_gridengine.option_parsing import whole
from dask_gridengine.unknown_options import refuse_unknown
from dask_gridengine.views.markup import paragraphs

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

#: Most workers if `adapt` is given no maximum: a mistake must stay affordable.
ADAPTIVE_MAXIMUM = 100

#: Keywords of `GridEngineCluster.adapt` beside those of its signature.
ADAPT_OPTIONS = (
    *(f"{bound}{of}" for bound in ("minimum", "maximum") for of in UNITS),
    *("interval", "target_duration", "wait_count", "worker_key"),
)


class GridAdaptive(Adaptive):  # type: ignore[misc]
    """Dask's Adaptive, corrected for a grid.

    It requests at once as many nodes as there are long tasks. In a lull it gives up the
    names of nodes that have not started, but not their queue places: the next rise uses
    them, and a node that is not needed when it starts ends at once. Working nodes go
    when all their workers have been idle for a while. A lower maximum holds at once:
    surplus nodes finish their tasks, move their data and go.

    Parameters
    ----------
    cluster
        A `GridEngineCluster`.
    pool
        The pool to scale; may be left out if there is only one.
    idle_grace
        Seconds a node must have been idle before it goes. The default is the option's,
        unless `wait_count` is given.
    wait_count
        The same in intervals. If both are given, the longer time counts.
    worker_key
        Function of a worker: nodes whose workers it gives the same go together.
    minimum, maximum
        Workers. Nodes are whole, so there may be fewer than the maximum and more than
        the minimum.
    interval, target_duration
        As in `distributed.deploy.Adaptive`.

    Raises
    ------
    OptionError
        If a value is invalid.
    """

    _stopped = True  # also if __init__ has raised, since Adaptive.__del__ calls stop()

    def __init__(
        self,
        cluster: Any,
        *,
        idle_grace: float | str | None = None,
        pool: NodePool | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        wait_count: int | None = None,
        worker_key: Callable[[WorkerState], Hashable] | None = None,
        interval: float | str | None = None,
        target_duration: float | str | None = None,
    ) -> None:
        if wait_count is not None:
            whole(wait_count, "wait_count", least=1, of="intervals")
        for name, value in (
            ("interval", interval),
            ("target_duration", target_duration),
            ("idle_grace", idle_grace),
        ):
            _check_seconds(name, value)
        self._pool = pool or cluster.pool()
        self._idle_since: dict[str, float] = {}  # by node
        super().__init__(
            cluster,
            minimum=_whole(minimum),
            maximum=_whole(maximum),
            wait_count=wait_count,
            worker_key=worker_key,
            interval=interval,
            target_duration=target_duration,
        )
        self._stopped = False
        graces = [parse_timedelta(idle_grace)] if idle_grace is not None else []
        if wait_count is not None:
            graces.append(wait_count * (self.interval or 0))
        self._idle_grace = max(graces, default=self._pool.options.idle_grace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._words()})"

    def _repr_html_(self) -> str:
        return paragraphs(repr(self))

    def _words(self) -> str:
        pool = self._pool
        name = f"{pool.cluster.name} {pool.name}".rstrip()
        if self.periodic_callback is None:
            return f"{name}: off, {plural(pool.wanted, 'node')} requested"
        return (
            f"{name}: {_limits(self, pool)} nodes, {pool.wanted} requested; an idle"
            f" node is kept for {format_duration(self._idle_grace)}"
        )

    async def adapt(self) -> None:
        """As Dask's, but ignore errors after `stop`, which close() calls."""
        try:
            await super().adapt()
        except Exception:
            if not self._stopped:
                raise

    def stop(self, *reason: str, **options: Any) -> None:
        """As Dask's, whose arguments are not those of every version."""
        if not self._stopped:
            self._stopped = True
            super().stop(*reason, **options)

    async def target(self) -> int:
        """Number of workers for the work; Dask counts threads while there is no worker.

        A worker that is paused for long while work waits does not count: Dask would
        wait for it for ever.
        """
        cluster, pool = self._pool.cluster, self._pool
        scheduler, threads = cluster.scheduler, pool.options.threads
        if pool.name:
            wanted = workers_of_pool(
                scheduler, cluster.pools, pool, self.target_duration
            )
        else:
            wanted = int(await super().target())
            if wanted and not scheduler.workers:
                wanted = math.ceil(wanted / threads)
            tasks = long_tasks(scheduler, self.target_duration)
            wanted = max(wanted, math.ceil(tasks / threads))
        if wanted and cluster.lifecycle.blocked is not None:
            wanted += cluster.lifecycle.blocked.lasting[pool.name]
        return int(max(self.minimum, min(self.maximum, wanted)))

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to do for this number of workers, in whole nodes.

        Not Dask's: it counts workers where nodes come and go, and gives up workers that
        have not arrived after three seconds, or are idle just now.
        """
        if self._stopped:  # by scale(), while this awaited the target
            return {"status": "same"}
        pool, most = self._pool, self._most()
        nodes, planned = int(min(pool.options.nodes(target), most)), pool.wanted
        self._update_idle()
        if planned > most:
            return {"status": "down", "workers": to_close(pool, planned - int(most))}
        if nodes == planned:
            return {"status": "same"}
        if nodes > planned:
            return {"status": "up", "n": nodes * pool.options.processes}
        going = self._dispensable(planned - nodes, nodes)
        return {"status": "down", "workers": going} if going else {"status": "same"}

    def _most(self) -> float:
        """The most nodes; one may have more workers than the maximum."""
        options = self._pool.options
        if not self.maximum or not math.isfinite(self.maximum):
            return float(self.maximum)
        whole = int(self.maximum) // options.processes
        return max(1, whole, options.nodes(self.minimum))

    def _update_idle(self) -> None:
        workers = self._pool.cluster.scheduler.workers.values()
        # An actor cannot be moved; a task that has seceded waits for others.
        busy = {
            node_of(ws.name)
            for ws in workers
            if ws.processing or ws.long_running or ws.actors
        }
        idle = {node_of(ws.name) for ws in workers} - busy
        # A queued successor counts as idle for as long as the node that it replaces:
        # else a short lull beside a rotation would cost a node.
        queued = set(self._pool.waiting)
        inherited = {
            new: self._idle_since.get(old, math.inf)
            for new, old in self._pool.successors.items()
            if new in queued and old not in busy
        }
        now = steady_time()
        self._idle_since = {
            name: self._idle_since.get(name, min(inherited.get(name, now), now))
            for name in idle | inherited.keys()
        }

    def _dispensable(self, count: int, kept: int) -> list[str]:
        """Nodes that may go: queued ones, the newest first; then those idle for long.

        Working nodes are kept until `kept` of them are there: a node that still starts
        cannot take their data, and may never work.
        """
        scheduler, pool = self._pool.cluster.scheduler, self._pool
        planned, before = pool.names, steady_time() - self._idle_grace
        idle = [n for n in planned if self._idle_since.get(n, math.inf) <= before]
        queued = [n for n in pool.waiting if n not in pool.successors or n in idle]
        going = list(reversed(queued))[:count]
        there = {node_of(ws.name) for ws in scheduler.workers.values()}
        spare = min(count - len(going), len(there.intersection(planned)) - kept)
        ranked = by_least_held(scheduler, [name for name in idle if name in there])
        for group in self._groups(ranked, there):
            if len(group) <= spare:
                going += group
                spare -= len(group)
        return going

    def _groups(self, ranked: list[str], there: set[str]) -> list[list[str]]:
        """Groups of nodes that may go only together, where all of them are `ranked`."""
        if self.worker_key is None:
            return [[node] for node in ranked]
        key_of = {
            node_of(ws.name): self.worker_key(ws)
            for ws in self._pool.cluster.scheduler.workers.values()
        }
        sizes = Counter(key_of[node] for node in there)
        groups: dict[Hashable, list[str]] = {}
        for node in ranked:
            groups.setdefault(key_of[node], []).append(node)
        return [group for key, group in groups.items() if len(group) == sizes[key]]

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up these nodes; the cluster lets their tasks end and moves their data.

        Dask would have the scheduler retire them first, which loses the cause.
        """
        cluster, pool = self._pool.cluster, self._pool
        if pool.wanted > (most := self._most()):
            pool.note(
                f"adaptive: the maximum is {plural(int(most), 'node')}, draining"
                f" {len(workers)}: {', '.join(workers)}"
            )
            await cluster.scale_adaptively(int(most) * pool.options.processes, pool)
            return
        pool.note(
            f"adaptive: gave up {plural(len(workers), 'node')}, not needed or idle for"
            f" {format_duration(self._idle_grace)}: {', '.join(workers)}"
        )
        await cluster.scale_down(workers)

    async def scale_up(self, n: int) -> None:
        """Request this number in all; unlike a user's, it clears no failure."""
        pool = self._pool
        nodes = pool.options.nodes(n)
        if nodes > pool.wanted:
            pool.note(
                f"adaptive: requests {plural(nodes, 'node')} for the present work,"
                f" {pool.wanted} so far"
            )
        await pool.cluster.scale_adaptively(n, pool)


def _check_seconds(name: str, value: float | str | None) -> None:
    """Raise `OptionError` if a value is not a time; Dask raises a KeyError for some."""
    try:
        valid = value is None or parse_timedelta(value) >= 0
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise OptionError(f"{name}={value!r}: expected a time, e.g. 5 or '500 ms'")


def _whole(bound: float | None) -> float | None:
    # Dask's takes no float but inf.
    return bound if bound is None or math.isinf(bound) else int(bound)


class AdaptivePools(dict[str, Any]):
    """Adaptive scaling of each pool, by pool; "" is the only one.

    Dask's `Cluster` has only one, of which it calls `stop` and `periodic_callback`.
    """

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values())) or "adaptive scaling is off"

    def _repr_html_(self) -> str:
        return paragraphs(repr(self))

    def start(
        self,
        cluster: GridEngineCluster,
        Adaptive: Any,
        pools: Iterable[NodePool],
        idle_grace: float | str | None,
        options: dict[str, Any],
    ) -> None:
        """Begin to scale these pools, which replaces what scaled them before."""
        own = issubclass(Adaptive, GridAdaptive)
        if Adaptive is GridAdaptive:
            refuse_unknown(options, ADAPT_OPTIONS, "adapt()")
        if not own and (cluster.options.pools or idle_grace is not None):
            unknown = "pools" if cluster.options.pools else "idle_grace"
            raise OptionError(
                f"{Adaptive.__name__} has no option {unknown!r}",
                hint="use GridAdaptive",
            )
        made = {}
        for pool in pools:
            rest = dict(options)
            minimum, maximum = bounds(pool.options, rest)
            if options.get("maximum") is None and options.get("maximum_jobs") is None:
                maximum = min(maximum, max(ADAPTIVE_MAXIMUM, minimum))
            if own:
                rest |= {"idle_grace": idle_grace, "pool": pool}
            made[pool.name] = Adaptive(
                cluster, minimum=minimum, maximum=maximum, **rest
            )
        self.end(pools)
        self.update(made)

    def end(self, pools: Iterable[NodePool]) -> list[NodePool]:
        """End it for these pools; returns those for which it was on."""
        stopped = [pool for pool in pools if pool.name in self]
        for pool in stopped:
            self.pop(pool.name).stop()
        return stopped

    def stop(self, reason: str = "unknown") -> None:
        """End adaptive scaling of all pools, as `Cluster.close` asks."""
        for adaptive in self.values():
            adaptive.stop()

    @property
    def periodic_callback(self) -> Any:
        """Callback of one that runs; None if none does."""
        running = (adaptive.periodic_callback for adaptive in list(self.values()))
        return next(filter(None, running), None)

    def bounds(self, pools: Iterable[NodePool]) -> str:
        """Limits in nodes, e.g. "0 to 10"; "" while none runs."""
        limits = []
        for pool in pools:
            adaptive = self.get(pool.name)
            if adaptive is not None and adaptive.periodic_callback:
                limits.append(f"{pool.name} {_limits(adaptive, pool)}".lstrip())
        return ", ".join(limits)


def _limits(adaptive: Any, pool: NodePool) -> str:
    """Limits in nodes; Dask counts workers."""
    processes = pool.options.processes
    least, most = math.ceil(adaptive.minimum / processes), adaptive.maximum
    return f"{least} to {most // processes if math.isfinite(most) else 'any'}"
