"""What tasks require of their workers (``resources=``), and which pool can give it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.cluster.pool import Pool
from dask_gridengine.errors import NodesFailed, Unsatisfiable, listed
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.scheduler.throttled_callback import ThrottledCallback

logger = logging.getLogger(__name__)

Requirement = frozenset[tuple[str, float]]


class Requirements:
    """Looks at the tasks that no worker there is can run, and says why.

    What no pool can ever run fails, where the pools are known; Dask would have it wait
    for ever. What a pool could run that is scaled to nothing is named.

    Parameters
    ----------
    scheduler
        Knows the tasks and the workers.
    pools
        The kinds of nodes there are.
    note
        Tells people, in the cluster's log.
    adapts
        Whether adaptive scaling requests nodes of a pool as they are needed.
    """

    def __init__(
        self,
        scheduler: ClusterScheduler,
        pools: Sequence[Pool],
        note: Callable[[str], None],
        *,
        adapts: Callable[[Pool], bool] = lambda pool: False,
    ) -> None:
        self._scheduler, self._pools, self._note = scheduler, pools, note
        self._adapts = adapts
        self.offers = {pool: pool.options.offered for pool in pools}
        self.said: set[str] = set()  # what is wrong at present
        self._glances = ThrottledCallback(self.look)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._glances.start()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._glances.stop()

    def pool_for(self, required: Mapping[str, float] | None) -> Pool | None:
        """The pool whose nodes a task is for: that with the least else to offer."""
        able = [p for p in self._pools if satisfies(self.offers[p], required)]
        return min(able, key=lambda pool: len(self.offers[pool]), default=None)

    def look(self) -> None:
        """Look once."""
        waiting = self._waiting()
        said = set()
        for required, tasks in waiting.items():
            if any(satisfies(ws.resources, dict(required)) for ws in self._workers()):
                continue  # it waits for something else
            pool_for = self.pool_for(dict(required))
            if pool_for is None:
                said.add(self._no_home(required, tasks))
            elif not (
                pool_for.wanted
                or pool_for.reconciler.deleted_nodes
                or self._adapts(pool_for)
            ):
                said.add(self._nobody_asked(pool_for, required, tasks))
        for text in said - self.said:
            self._note(text)
            logger.warning("%s", text)
        self.said = said

    def fail_unsatisfiable(self, pool: Pool, error: NodesFailed) -> None:
        """No node of a pool will come: tasks that only it can run get the reason."""
        persistent_failure = [
            p for p in self._pools if p is pool or p.reconciler.persistent_failure
        ]
        for required, tasks in self._waiting().items():
            able = [p for p in self._pools if satisfies(self.offers[p], dict(required))]
            if able and all(p in persistent_failure for p in able):
                self._scheduler.fail(tasks, error)

    def _workers(self) -> list[WorkerState]:
        return list(self._scheduler.workers.values())

    def _waiting(self) -> dict[Requirement, list[TaskState]]:
        waiting: dict[Requirement, list[TaskState]] = defaultdict(list)
        for ts in self._scheduler.unrunnable:
            if ts.resource_restrictions:
                waiting[frozenset(ts.resource_restrictions.items())].append(ts)
        return waiting

    def _no_home(self, required: Requirement, tasks: list[TaskState]) -> str:
        offers = {pool.name: self.offers[pool] for pool in self._pools}
        error = Unsatisfiable(dict(required), offers, [str(ts.key) for ts in tasks])
        # Where there are no pools somebody may yet start workers by other means.
        if any(offers):
            self._scheduler.fail(tasks, error)
        return str(error)

    def _nobody_asked(
        self, pool_for: Pool, required: Requirement, tasks: list[TaskState]
    ) -> str:
        pool = f"pool={pool_for.name!r}, " if pool_for.name else ""
        return (
            f"tasks wait for a worker with {listed(dict(required))}, e.g."
            f" {tasks[0].key!r}, and no node that has it is wanted:"
            f" cluster.scale({pool}jobs=1) asks for one"
        )


def satisfies(
    offered: Mapping[str, float], required: Mapping[str, float] | None
) -> bool:
    """Whether a worker with so much of everything can run such a task.

    Examples
    --------
    >>> satisfies({"GPU": 2}, {"GPU": 1}), satisfies({}, {"GPU": 1})
    (True, False)
    """
    return all(offered.get(name, 0) >= much for name, much in (required or {}).items())


def share(
    offered: Mapping[str, float], threads: int, required: Mapping[str, float] | None
) -> float:
    """How much of a worker a task takes, from 0 to 1.

    Examples
    --------
    >>> share({"GPU": 2}, 8, {"GPU": 1}), share({}, 8, None)
    (0.5, 0.125)
    """
    parts = [much / offered[name] for name, much in (required or {}).items() if much]
    return max([1 / threads, *parts])
