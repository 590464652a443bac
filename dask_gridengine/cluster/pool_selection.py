"""What tasks require of their workers (``resources=``), and which pool offers it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.errors import NodesFailed, Unsatisfiable, listed
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.scheduler.throttled_callback import ThrottledCallback

logger = logging.getLogger(__name__)

Requirement = frozenset[tuple[str, float]]


class Requirements:
    """Finds tasks that no present worker can run, and tells why.

    A task that no pool can ever run fails, if there are pools: Dask would have it wait
    for ever. If a pool could run it that has no nodes, that pool is named.
    """

    def __init__(
        self,
        scheduler: ClusterScheduler,
        pools: Sequence[NodePool],
        note: Callable[[str], None],
        *,
        adapts: Callable[[NodePool], bool] = lambda pool: False,
    ) -> None:
        self._scheduler, self._pools, self._note = scheduler, pools, note
        self._adapts = adapts
        self.offers = {pool: pool.options.offered for pool in pools}
        self.findings: set[str] = set()  # what is wrong at present
        self._callback = ThrottledCallback(self.check)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._callback.start()

    def stop(self) -> None:
        """Check nothing any more. Idempotent."""
        self._callback.stop()

    def pool_for(self, required: Mapping[str, float] | None) -> NodePool | None:
        """The pool whose nodes a task is for: the one that offers least beside."""
        able = [p for p in self._pools if satisfies(self.offers[p], required)]
        return min(able, key=lambda pool: len(self.offers[pool]), default=None)

    def check(self) -> None:
        """Check the waiting tasks once."""
        waiting = self._waiting()
        found = set()
        for required, tasks in waiting.items():
            if any(satisfies(ws.resources, dict(required)) for ws in self._workers()):
                continue  # it waits for something else
            pool_for = self.pool_for(dict(required))
            if pool_for is None:
                found.add(self._fail_unsatisfiable(required, tasks))
            elif not (
                pool_for.wanted
                or pool_for.reconciler.deleted_nodes
                or self._adapts(pool_for)
            ):
                found.add(self._describe_unrequested(pool_for, required, tasks))
        for text in found - self.findings:
            self._note(text)
            logger.warning("%s", text)
        self.findings = found

    def fail_unsatisfiable(self, pool: NodePool, error: NodesFailed) -> None:
        """Give the reason to tasks that only a pool can run whose nodes all fail."""
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

    def _fail_unsatisfiable(self, required: Requirement, tasks: list[TaskState]) -> str:
        offers = {pool.name: self.offers[pool] for pool in self._pools}
        error = Unsatisfiable(dict(required), offers, [str(ts.key) for ts in tasks])
        # Without pools the user may yet start workers by other means.
        if any(offers):
            self._scheduler.fail(tasks, error)
        return str(error)

    def _describe_unrequested(
        self, pool_for: NodePool, required: Requirement, tasks: list[TaskState]
    ) -> str:
        pool = f"pool={pool_for.name!r}, " if pool_for.name else ""
        return (
            f"tasks wait for a worker with {listed(dict(required))}, e.g."
            f" {tasks[0].key!r}, and no node with it is requested\n"
            f"  Hint: cluster.scale({pool}jobs=1)"
        )


def satisfies(
    offered: Mapping[str, float], required: Mapping[str, float] | None
) -> bool:
    """Whether a worker with these resources can run a task with these requirements.

    Examples
    --------
    >>> satisfies({"GPU": 2}, {"GPU": 1}), satisfies({}, {"GPU": 1})
    (True, False)
    """
    return all(offered.get(name, 0) >= much for name, much in (required or {}).items())


def share(
    offered: Mapping[str, float], threads: int, required: Mapping[str, float] | None
) -> float:
    """Share of a worker that a task takes, from 0 to 1.

    Examples
    --------
    >>> share({"GPU": 2}, 8, {"GPU": 1}), share({}, 8, None)
    (0.5, 0.125)
    """
    parts = [much / offered[name] for name, much in (required or {}).items() if much]
    return max([1 / threads, *parts])
