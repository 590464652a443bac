"""Adaptive scaling that knows a queue: what waits in it is not thrown away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from typing import Any

from dask.utils import parse_timedelta
from distributed.deploy import Adaptive
from distributed.scheduler import WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.demand import long_tasks
from dask_gridengine.cluster.idleness import Idleness
from dask_gridengine.cluster.pool import Pool
from dask_gridengine.cluster.scaling import UNITS, by_least_held, to_close
from dask_gridengine.exit_causes import number_of_nodes
from dask_gridengine.naming import node_of

#: Workers at most, where `adapt` is given no maximum: a mistake must stay affordable.
ADAPTIVE_MAXIMUM = 100


#: Keywords of `GridEngineCluster.adapt` beside those of its signature.
ADAPT_OPTIONS = (
    *(f"{bound}{of}" for bound in ("minimum", "maximum") for of in UNITS),
    *("interval", "target_duration", "wait_count", "worker_key"),
)


class GridAdaptive(Adaptive):  # type: ignore[misc]
    """Dask's Adaptive, with what it gets wrong on a grid mended.

    It asks at once for as many nodes as there are long tasks. Names of nodes that are
    not there yet are given up in a lull, but not their places in the queue: the next
    rise uses them, and who is not needed when it arrives is told so at the door. Nodes
    that are there go when all their workers have been idle for a while. A maximum that
    is lowered holds at once: surplus nodes finish their tasks, move their data and go.

    Parameters
    ----------
    cluster
        A `GridEngineCluster`.
    pool
        The kind of nodes that follows the work which is for it; may be left out where
        there is only one.
    idle_grace
        Seconds a node must have been idle before it goes. None is the option's, unless
        `wait_count` is given.
    wait_count
        The same in intervals. If both are given, the longer one counts.
    worker_key
        Function of a worker: nodes whose workers it gives the same go together.
    minimum, maximum
        Workers; nodes are whole, so fewer may be the most, and more the least.
    interval, target_duration
        As in `distributed.deploy.Adaptive`.
    """

    state = "inactive"  # Adaptive.__del__ asks, also if __init__ has raised

    def __init__(
        self,
        cluster: Any,
        *,
        idle_grace: float | str | None = None,
        pool: Pool | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        wait_count: int | None = None,
        worker_key: Callable[[WorkerState], Hashable] | None = None,
        interval: float | str | None = None,
        target_duration: float | str | None = None,
    ) -> None:
        self._pool = pool or cluster.pool()
        self._idleness = Idleness()
        super().__init__(
            cluster,
            minimum=_whole(minimum),
            maximum=_whole(maximum),
            wait_count=wait_count,
            worker_key=worker_key,
            interval=interval,
            target_duration=target_duration,
        )
        graces = [parse_timedelta(idle_grace)] if idle_grace is not None else []
        if wait_count is not None:
            graces.append(wait_count * (self.interval or 0))
        self._idle_grace = max(graces, default=self._pool.options.idle_grace)

    async def adapt(self) -> None:
        """As Dask's, but ignore errors after `stop`, which closing calls."""
        try:
            await super().adapt()
        except Exception:
            if self.state != "stopped":
                raise

    async def target(self) -> int:
        """Workers that the work is worth; without any worker Dask counts threads.

        One that is paused for long while work waits does not count: Dask would wait
        for it for ever.
        """
        cluster = self.cluster
        assert cluster is not None
        if self._pool.name:
            wanted = cluster.demand(self._pool, self.target_duration)
        else:
            wanted = await self._work()
        if wanted:
            wanted += cluster.num_paused(self._pool)
        return int(max(self.minimum, min(self.maximum, wanted)))

    async def _work(self) -> int:
        cluster = self.cluster
        wanted = int(await super().target())
        threads = self._pool.options.threads
        if wanted and not cluster.scheduler.workers:
            wanted = math.ceil(wanted / threads)
        tasks = long_tasks(cluster.scheduler, self.target_duration)
        return max(wanted, math.ceil(tasks / threads))

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to do for so many workers, in whole nodes.

        Not Dask's: it counts workers where nodes come and go, gives up whoever has not
        arrived after three seconds, and whoever is idle just now.
        """
        if self.state == "stopped":  # by scale(), while this awaited the target
            return {"status": "same"}
        pool = self._pool
        nodes, planned = self._nodes(target), len(pool.planned)
        self._look()
        if planned > self._most():
            return {"status": "down", "workers": self._beyond_the_maximum()}
        if nodes == planned:
            return {"status": "same"}
        if nodes > planned:
            return {"status": "up", "n": nodes * pool.options.processes}
        going = self._dispensable(planned - nodes, nodes)
        return {"status": "down", "workers": going} if going else {"status": "same"}

    def _nodes(self, workers: int) -> int:
        """Nodes with so many workers, as far as the maximum has room for whole ones."""
        return int(min(self._pool.options.nodes(workers), self._most()))

    def _most(self) -> float:
        """Nodes at most; one may have more workers than the maximum."""
        options = self._pool.options
        if not self.maximum or not math.isfinite(self.maximum):
            return float(self.maximum)
        whole = int(self.maximum) // options.processes
        return max(1, whole, options.nodes(self.minimum))

    def _beyond_the_maximum(self) -> list[str]:
        """Nodes to give up after the maximum was lowered, ranked as for ``scale``."""
        pool, names = self._pool, self._pool.planned
        surplus = len(names) - int(self._most())
        return to_close(
            self.cluster.scheduler,
            names,
            pool.waiting,
            surplus,
            pool.options.processes,
            pool.suspended,
        )

    def _look(self) -> None:
        workers = self.cluster.scheduler.workers.values()
        # An actor lives where it is; a task that has seceded waits for others.
        busy = {
            node_of(ws.name)
            for ws in workers
            if ws.processing or ws.long_running or ws.actors
        }
        idle = {node_of(ws.name) for ws in workers} - busy
        self._idleness.look(idle, steady_time())

    def _dispensable(self, count: int, kept: int) -> list[str]:
        """So many nodes that may go: who queues, the newest first; then who long idles.

        Those that are there are kept until as many are there as shall be: one that is
        still starting can neither take their data nor be sure to come.
        """
        scheduler = self.cluster.scheduler
        planned = self._pool.planned
        queued = [name for name in self._pool.waiting if name in planned]
        going = list(reversed(queued))[:count]
        there = {node_of(ws.name) for ws in scheduler.workers.values()}
        spare = min(count - len(going), len(there.intersection(planned)) - kept)
        idle = self._idleness.longer_than(self._idle_grace, steady_time())
        ranked = by_least_held(scheduler, [n for n in planned if n in idle])
        for group in self._groups(ranked, there):
            if len(group) <= spare:
                going += group
                spare -= len(group)
        return going

    def _groups(self, ranked: list[str], there: set[str]) -> list[list[str]]:
        """Nodes that may go only together: of each, those of `ranked`, if all are."""
        if self.worker_key is None:
            return [[node] for node in ranked]
        key_of = {
            node_of(ws.name): self.worker_key(ws)
            for ws in self.cluster.scheduler.workers.values()
        }
        sizes = Counter(key_of[node] for node in there)
        groups: dict[Hashable, list[str]] = {}
        for node in ranked:
            groups.setdefault(key_of[node], []).append(node)
        return [group for key, group in groups.items() if len(group) == sizes[key]]

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up these; the cluster lets their tasks end and moves their data.

        Dask would have the scheduler retire them first, as if somebody else wanted it.
        """
        cluster, pool = self.cluster, self._pool
        assert cluster is not None
        if len(pool.planned) > (most := self._most()):
            pool.note_of(cluster.note)(
                f"adaptive: the maximum is {number_of_nodes(int(most))}, draining"
                f" {len(workers)}: {', '.join(workers)}"
            )
            await cluster.scale_adaptively(int(most) * pool.options.processes, pool)
            return
        pool.note_of(cluster.note)(
            f"adaptive: gave up {number_of_nodes(len(workers))}, not needed or idle for"
            f" {self._idle_grace:g} s: {', '.join(workers)}"
        )
        await cluster.scale_down(workers)

    async def scale_up(self, n: int) -> None:
        """Ask for so many in all; as a machine's word, which forgives no failure."""
        cluster = self.cluster
        assert cluster is not None
        pool = self._pool
        nodes = pool.options.nodes(n)
        if nodes > pool.wanted:  # else it is the upkeep's to replace what was lost
            pool.note_of(cluster.note)(
                f"adaptive: wants {number_of_nodes(nodes)} for the work there is,"
                f" {pool.wanted} so far"
            )
        await cluster.scale_adaptively(n, pool)


def _whole(bound: float | None) -> float | None:
    # Dask's takes no float but inf.
    return bound if bound is None or math.isinf(bound) else int(bound)


class AdaptivePools(dict[str, GridAdaptive]):
    """Pools that follow the work, each by itself: pool to its adaptive scaling.

    Dask's base class knows one only, which it stops, and asks whether it runs.
    """

    def stop(self, reason: str = "unknown") -> None:
        """Let all of them go on as they are."""
        for adaptive in self.values():
            adaptive.stop(reason)

    @property
    def periodic_callback(self) -> Any:
        """Of one that runs; None if none does."""
        running = (adaptive.periodic_callback for adaptive in list(self.values()))
        return next(filter(None, running), None)
