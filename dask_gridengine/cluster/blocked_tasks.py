"""Find out why tasks wait although nodes work, and say so.

Workers may be paused, or a task may require a worker or a resource that is not there.
Dask reports the first in the log of the worker, and the others nowhere.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dask
from distributed.core import Status
from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.demand import pool_for, satisfies
from dask_gridengine.cluster.explain import hints
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.errors import NodesFailed, Unsatisfiable, with_hint
from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import format_duration, format_size, listed, plural
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.memory_option import (
    in_memory_option,
    larger_worker,
    more_memory,
)
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.drain import hand_over
from dask_gridengine.scheduler.failure_attribution import NO_WORKER
from dask_gridengine.scheduler.throttled_callback import ThrottledCallback

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

logger = logging.getLogger(__name__)

#: Seconds until it is logged, and adaptive scaling does not count that worker: one that
#: spills is paused for some seconds, which is normal.
WARN_AFTER = 10.0
STEAL_AFTER = 2.0  # seconds until others run what waits there; a script may yet scale
NAMED = 3  # workers, or addresses; the others are counted

Requirement = frozenset[tuple[str, float]]


class BlockedTasks:
    """Finds tasks that no present worker may run, and workers that start no task."""

    def __init__(
        self, cluster: GridEngineCluster, *, clock: Callable[[], float] = steady_time
    ) -> None:
        self._cluster, self._clock = cluster, clock
        self._scheduler = cluster.scheduler
        #: Since when, by address of a paused worker or by places that tasks wait for.
        self._since: dict[object, float] = {}
        self._noted: set[object] = set()
        self.paused = 0  # workers at present
        #: Workers that are paused for long while work waits, by pool.
        self.lasting: Counter[str] = Counter()
        self.findings: list[str] = []  # what keeps tasks waiting at present
        self._callback = ThrottledCallback(self.check)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._callback.start()

    def stop(self) -> None:
        """Check nothing any more, and report nothing. Idempotent."""
        self._callback.stop()
        self.paused, self.findings = 0, []
        self.lasting.clear()

    def check(self) -> None:
        """Check all workers and tasks once."""
        paused, stranded = self._paused(), self._stranded()
        now = self._clock()
        waits = self._work_waits(paused)
        hint = hints(self._cluster) if waits else []
        present = [*(ws.address for ws in paused), *stranded]
        present += [NONE_REQUESTED] if hint else []
        self._since = {what: self._since.get(what, now) for what in present}
        self.paused = len(paused)
        self._relieve(paused, now)
        lasting = [ws for ws in paused if self._lasts(ws.address, now)]
        self.lasting = Counter(map(self._pool_name, lasting if waits else ()))
        found: dict[object, str] = dict(self._unmet_requirements())
        due = set(found)
        if paused:
            found["paused"] = self._describe_paused(paused, now)
        if self.lasting:
            due.add("paused")
        for names, tasks in stranded.items():
            found[names] = _describe_stranded(names, tasks)
            if self._lasts(names, now):
                due.add(names)
        self.findings = list(found.values())
        if hint and now - self._since[NONE_REQUESTED] >= STEAL_AFTER:
            # Not a finding: `explain` reports it also where no task waits.
            found[NONE_REQUESTED] = f"tasks wait, {NONE_REQUESTED}. {' '.join(hint)}"
            due.add(NONE_REQUESTED)
        self._log(found, due)

    def _lasts(self, what: object, now: float) -> bool:
        return now - self._since[what] >= WARN_AFTER

    def _log(self, found: Mapping[object, str], due: set[object]) -> None:
        """Log what is due, once for as long as it lasts."""
        self._noted &= found.keys()
        for new in due - self._noted:
            self._cluster.note(found[new])
            logger.warning("%s", found[new])
        self._noted |= due

    def about(self, node: str) -> list[str]:
        """What is wrong with the workers of one node; safe in any thread."""
        now = self._clock()
        return [
            f"paused, it starts no task: {self._describe_one(ws, now)}.\n  {_rule()}"
            for ws in self._paused()
            if node_of(ws.name) == node
        ]

    def _work_waits(self, paused: list[WorkerState]) -> bool:
        """Whether tasks wait that could run if these workers did."""
        scheduler = self._scheduler
        return bool(scheduler.unrunnable or scheduler.queued) or any(
            len(ws.processing) > len(ws.executing) for ws in paused
        )

    # Paused workers

    def _paused(self) -> list[WorkerState]:
        """Workers that are paused, but not because they leave: fullest first."""
        scheduler = self._scheduler
        if len(scheduler.running) == len(scheduler.workers):
            return []  # so ten thousand workers cost nothing
        found = [
            ws
            for ws in list(dict.values(scheduler.workers))  # see `running_workers`
            if ws.status is Status.paused and not self._leaves(ws)
        ]
        return sorted(found, key=_fullness, reverse=True)

    def _leaves(self, ws: WorkerState) -> bool:
        _, record = self._home(ws)
        if record is None:
            return False  # a worker that the user has started
        return record.cancelled or record.shown is not NodeState.WORKING

    def _home(self, ws: WorkerState) -> tuple[NodePool | None, NodeRecord | None]:
        for pool in self._cluster.pools:
            if record := pool.registry.bearing(ws.name):
                return pool, record
        return None, None

    def _pool_name(self, ws: WorkerState) -> str:
        pool, _ = self._home(ws)
        return pool.name if pool else ""

    def _relieve(self, paused: list[WorkerState], now: float) -> None:
        """Have others run what waits at these workers.

        Dask steals only from workers with more tasks than threads, so the last stays.
        """
        for ws in paused:
            late = now - self._since[ws.address] >= STEAL_AFTER
            if late and (tasks := set(ws.processing) - set(ws.executing)):
                hand_over(self._scheduler, [ws], tasks)

    def _describe_paused(self, paused: list[WorkerState], now: float) -> str:
        one = len(paused) == 1
        workers = "; ".join(self._describe_one(ws, now) for ws in paused[:NAMED])
        more = f"; and {len(paused) - NAMED} more" if len(paused) > NAMED else ""
        count = "1 worker is" if one else f"{len(paused)} workers are"
        return (
            f"{count} paused and start{'s' if one else ''} no task: {workers}{more}.\n"
            f"  {_rule()}\n  {self._advice(paused[0])}"
        )

    def _describe_one(self, ws: WorkerState, now: float) -> str:
        _, record = self._home(ws)
        where = f" on {record.host}" if record and record.host else ""
        limit = f" of {format_size(ws.memory_limit)}" if ws.memory_limit else ""
        paused = format_duration(now - self._since.get(ws.address, now))
        has = len(ws.processing)
        tasks = f", {plural(has, 'task')} there" if has else ""
        return (
            f"{ws.name}{where} for {paused},"
            f" with {format_size(ws.memory.process)}{limit} in use,"
            f" {format_size(ws.memory.managed)} of that results{tasks}"
        )

    def _advice(self, ws: WorkerState) -> str:
        """What the user can do."""
        first = (
            "Release futures that you do not need any more. If tasks or Python hold the"
            f" memory, client.restart_workers([{ws.name!r}]) frees it, and results that"
            " only this worker has are computed again."
        )
        if not ws.memory_limit:
            return first
        size = more_memory(ws.memory.process, ws.memory_limit)
        pool, record = self._home(ws)
        if pool is None or record is None:
            more = in_memory_option(size)
        else:
            options, granted = pool.options, record.granted_memory
            size *= options.processes
            more = larger_worker(options, ws.memory_limit, granted, size)
        return f"{first} New nodes have more with {more}."

    # Tasks that may run on some workers only (workers=)

    def _stranded(self) -> dict[frozenset[str], list[TaskState]]:
        """Tasks that may only run on missing workers or hosts, by those."""
        found: dict[frozenset[str], list[TaskState]] = defaultdict(list)
        for ts in self._scheduler.unrunnable:
            workers, hosts = ts.worker_restrictions or (), ts.host_restrictions or ()
            bound = (workers or hosts) and not ts.loose_restrictions
            if NO_WORKER in workers:
                continue  # held until it is known why its workers died
            if bound and not self._any_present(workers, hosts):
                found[frozenset(map(str, (*workers, *hosts)))].append(ts)
        return found

    def _any_present(self, workers: Sequence[str], hosts: Sequence[str]) -> bool:
        scheduler = self._scheduler
        return any(address in scheduler.workers for address in workers) or any(
            scheduler.coerce_hostname(host) in scheduler.host_info for host in hosts
        )

    # Tasks that require resources (resources=)

    def _unmet_requirements(self) -> list[tuple[object, str]]:
        """What tasks require that no present worker has.

        A task that no pool can ever run fails, if there are pools: Dask would have it
        wait for ever. If a pool could run it that has no nodes, that pool is named.
        """
        cluster = self._cluster
        found: list[tuple[object, str]] = []
        workers = list(self._scheduler.workers.values())
        for required, tasks in self._requirements().items():
            if any(satisfies(ws.resources, dict(required)) for ws in workers):
                continue  # it waits for something else
            pool = pool_for(cluster.pools, dict(required))
            if pool is None:
                found.append((required, self._fail_unsatisfiable(required, tasks)))
            elif not (pool.wanted or pool.adapts or pool.reconciler.deleted_nodes):
                found.append((required, _describe_unrequested(pool, required, tasks)))
        return found

    def _requirements(self) -> dict[Requirement, list[TaskState]]:
        waiting: dict[Requirement, list[TaskState]] = defaultdict(list)
        for ts in self._scheduler.unrunnable:
            if ts.resource_restrictions:
                waiting[frozenset(ts.resource_restrictions.items())].append(ts)
        return waiting

    def _fail_unsatisfiable(self, required: Requirement, tasks: list[TaskState]) -> str:
        offers = {pool.name: pool.offered for pool in self._cluster.pools}
        error = Unsatisfiable(dict(required), offers, [str(ts.key) for ts in tasks])
        # Without pools the user may yet start workers by other means.
        if any(offers):
            self._scheduler.fail(tasks, error)
        return str(error)

    def fail_tasks_of(self, pool: NodePool, error: NodesFailed) -> None:
        """Give the reason to tasks that only pools can run whose nodes all fail."""
        pools = self._cluster.pools
        failing = [p for p in pools if p is pool or p.reconciler.persistent_failure]
        for required, tasks in self._requirements().items():
            able = [p for p in pools if satisfies(p.offered, dict(required))]
            if able and all(p in failing for p in able):
                self._scheduler.fail(tasks, error)


def _fullness(ws: WorkerState) -> float:
    return float(ws.memory.process / ws.memory_limit) if ws.memory_limit else 0.0


def _rule() -> str:
    """When Dask pauses a worker."""
    if not (pause := dask.config.get("distributed.worker.memory.pause")):
        return "Its status at Dask's scheduler says so."
    return (
        f"Dask pauses a worker above {pause * 100:g} % of its memory"
        " (distributed.worker.memory.pause) until it has less."
    )


def _describe_stranded(names: frozenset[str], tasks: list[TaskState]) -> str:
    named = ", ".join(sorted(names)[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    count = "1 task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"
    return (
        f"{count} for workers that are not there, e.g. {tasks[0].key!r}: no other than"
        f" {named}{more} may run it (workers=). Submit it without that, or with"
        " allow_other_workers=True."
    )


def _describe_unrequested(
    pool: NodePool, required: Requirement, tasks: list[TaskState]
) -> str:
    name = f"pool={pool.name!r}, " if pool.name else ""
    return with_hint(
        f"tasks wait for a worker with {listed(dict(required))}, e.g."
        f" {tasks[0].key!r}, and no node with it is requested",
        f"cluster.scale({name}jobs=1)",
    )
