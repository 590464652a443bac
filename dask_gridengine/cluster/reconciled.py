"""Dask's SpecCluster with its faults mended: names of workers, nodes that bear them.

Joins the two worlds: what Dask calls and expects, and the fleet with its upkeep, which
know no Dask. What users call is in `dask_gridengine.cluster.cluster`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.objects import SchedulerInfo

from dask_gridengine.bootstrap.messages import Allocation, Hello
from dask_gridengine.cluster.lifecycle import OpenedCluster
from dask_gridengine.cluster.node_handle import NodeHandle
from dask_gridengine.cluster.pool import Pool
from dask_gridengine.cluster.scaling import to_close
from dask_gridengine.errors import (
    ClusterNotRunning,
    DrmCommunicationError,
    GridFull,
    LauncherError,
    NodesFailed,
)
from dask_gridengine.naming import nodes_of, suffixes
from dask_gridengine.nodes.allocation import allocate
from dask_gridengine.nodes.fleet import Callbacks
from dask_gridengine.nodes.log_tails import addresses, log_tail
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.drain import release
from dask_gridengine.reconcile.reconciler import Hands
from dask_gridengine.reconcile.waiting import missing_workers_error, wait_for_workers

logger = logging.getLogger(__name__)


class ReconciledCluster(OpenedCluster):
    """A cluster whose entries are names, and whose numbers are kept by upkeeps."""

    def stuck(self) -> NodesFailed | None:
        """Why there will be no worker any more, as far as one can tell.

        Cheap, and safe in any thread: ask once a second while you wait for results.

        Returns
        -------
        NodesFailed or None
            None for as long as a worker runs, a node may still become one, or none is
            asked for. The cluster goes on to try with one node now and then, and
            `scale` has it try again at once.
        """
        if self.status is not Status.running:
            return None
        reconcilers = self._reconcilers
        if not any(
            reconciler.desired or reconciler.deleted_nodes for reconciler in reconcilers
        ):
            return None
        return missing_workers_error(reconcilers, self.scheduler, 1)

    def _callbacks(self, pool: Pool) -> Callbacks:
        return Callbacks(
            make_allocation=partial(self._allocate, pool),
            on_over=partial(self._on_over, pool),
            note=lambda text: pool.reconciler.tell(text),
        )

    def _hands(self, pool: Pool) -> Hands:
        return Hands(
            planned=lambda: len(pool.planned),
            add=partial(self._add, pool),
            cancel=lambda records: pool.fleet.cancel(records),
            on_resume=self._woke,
            on_persistent_failure=partial(self._on_persistent_failure, pool),
            note=pool.note_of(self.note),
            quiet=lambda seconds: self.scheduler.liveness.silent(seconds),
            suspended=self._suspended,
        )

    def _suspended(self, record: NodeRecord) -> None:
        suspended = record.suspended is not None
        self.scheduler.liveness.set_suspended(record.present, suspended)

    def _correct_state(self) -> asyncio.Future[dict[Pool, LauncherError]]:
        # Several callers await the same task: cancelling one must not cancel it.
        return asyncio.shield(super()._correct_state())

    async def _correct_state_internal(self) -> dict[Pool, LauncherError]:
        """Make ``workers`` what ``worker_spec`` says.

        Instead of the base class's, which retires by address what it knows by name
        and so loses data (dask/distributed#4069), holds its lock while it waits for
        workers to close, and leaves a zombie where a start fails. Returns what the grid
        refused: one kind of nodes, while it took the others.
        """
        refused: dict[Pool, LauncherError] = {}
        async with self._lock:
            self._correct_state_waiting = None
            if self._ending:
                return refused
            kept, self._keep_places_of = self._keep_places_of, set()
            surplus = [name for name in self.workers if name not in self.worker_spec]
            for name in surplus:
                del self.workers[name]
            missing = [name for name in self.worker_spec if name not in self.workers]
            for pool in self._pools.values():
                gone = set(pool.ours(surplus))
                for names, keep in ((gone & kept, True), (gone - kept, False)):
                    if names:
                        self._in_background(
                            self._release(pool, names, keep_places=keep),
                            self._releases,
                        )
                new = pool.ours(missing)
                if new or pool.fleet.arrays.short():
                    try:
                        await self._submit(pool, new)
                    except LauncherError as exc:
                        refused[pool] = exc
        return refused

    async def _submit_first(self, pool: Pool, names: list[str]) -> None:
        try:
            await self._submit(pool, names)
        except GridFull as exc:
            pool.reconciler.submission_failed(str(exc))

    async def _submit(self, pool: Pool, names: list[str]) -> None:
        submission = self._until_closed(pool.fleet.submit(names))
        try:
            await asyncio.wait([submission])
            if submission.cancelled():
                raise RuntimeError(f"{self.name} was closed while it asked for nodes")
            submission.result()
        except BaseException:
            for name in names:
                self.worker_spec.pop(name, None)
            raise
        for name in names:
            self.workers[name] = NodeHandle(name, self._stop)
        if pool.fleet.registry.backlog:
            pool.reconciler.wake()  # there may be room for a further array

    @property
    def plan(self) -> set[str]:
        """Names that count for adaptive scaling; who leaves anyhow does not."""
        return self._staying(self._workers_of(list(self.worker_spec)))

    @property
    def requested(self) -> set[str]:
        """As `plan`, of those that have been asked for."""
        asked = [name for name in list(self.workers) if name in self.worker_spec]
        return self._staying(self._workers_of(asked))

    @property
    def observed(self) -> set[str]:
        """As `plan`, of those that are there."""
        return self._staying([info["name"] for info in self._infos])

    @property
    def _infos(self) -> list[dict[str, Any]]:
        # Copied in one step, as the names above are: Dask's own properties iterate over
        # dicts that the event loop changes, and users ask in other threads.
        return list(self.scheduler_info["workers"].values())

    def _workers_of(self, nodes: Iterable[str]) -> list[str]:
        return [
            node + suffix
            for node in nodes
            if (pool := self._pool_of(node))
            for suffix in suffixes(pool.options.processes)
        ]

    def _staying(self, names: list[str]) -> set[str]:
        for pool in self._pools.values():
            names = pool.rotation.staying(names)
        return set(names)

    def new_worker_spec(self) -> dict[str, Any]:
        """The next node's name, never used before, and its specification."""
        return self._more(next(iter(self._pools.values())))

    def _more(self, pool: Pool) -> dict[str, Any]:
        return {pool.next_name(): pool.spec}

    @property
    def waiting(self) -> list[str]:
        """Names that no node bears yet, oldest first."""
        return [name for pool in self._pools.values() for name in pool.waiting]

    @property
    def _records(self) -> list[NodeRecord]:
        """All nodes that are kept, in the order of submission."""
        pools = list(self._pools.values())
        records = [record for pool in pools for record in pool.fleet.registry]
        if len(pools) > 1:
            records.sort(key=lambda record: record.submitted)
        return records

    def _update_worker_status(self, op: str, msg: Any) -> None:
        workers = self.scheduler_info["workers"]
        if op == "add":
            for address, info in msg["workers"].items():
                if ws := self.scheduler.workers.get(address):
                    info["status"] = ws.status.name  # it may have changed since
                if pool := self._pool_of(info["name"]):
                    pool.fleet.registered(info["name"])
                    if record := pool.fleet.registry.by_worker.get(info["name"]):
                        self._way_back.look(record.host, address)
        elif msg not in workers:
            return  # polling has removed it already (S12)
        # Past SpecCluster's own: it would start a lost name again.
        Cluster._update_worker_status(self, op, msg)

    async def _wait_for_workers(
        self, n_workers: int = 0, timeout: float | str | None = None
    ) -> None:
        """As Dask's, but it ends when there is nothing left to wait for.

        Raises
        ------
        NodesFailed
            If nodes have failed and those left cannot be enough.
        TimeoutError
            After `timeout` seconds; it says what the nodes are at.
        """
        await wait_for_workers(
            self._reconcilers,
            self.scheduler,
            n_workers,
            timeout,
            remarks=lambda: self._waiting.said,
            hints=self._hints,
        )
        # The subscription that keeps it up to date may be some milliseconds late.
        self.scheduler_info = SchedulerInfo(self.scheduler.identity())

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> Any:
        """As Dask's.

        Raises
        ------
        NodesFailed
            If nodes have failed and those left cannot be enough.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        self._require_running()
        return super().wait_for_workers(n_workers, timeout)

    def get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | str | Collection[str] = True,
    ) -> Any:
        """As Dask's, and with the last words of nodes that are gone.

        Raises
        ------
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        self._require_running()
        return super().get_logs(cluster, scheduler, workers)

    async def _get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | str | Collection[str] = True,
    ) -> Any:
        """As Dask's, and with the last words of nodes that are gone."""
        live = addresses(self.scheduler, workers)
        logs = await super()._get_logs(cluster, scheduler, live)
        logs.update(log_tail(self._records, workers))
        return logs

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up the nodes of these workers, by name, as adaptive scaling does."""
        if self.status is not Status.closing:  # while it closes all go anyhow
            self._require_running()
        pools = set()
        for name in nodes_of(workers):
            if (pool := self._pool_of(name)) is None:
                continue
            pools.add(pool)
            record = pool.fleet.registry.by_worker.get(name)
            if record is None or record.state is not NodeState.IMPORTING:
                self.worker_spec.pop(name, None)  # else: when it is there
                self._keep_places_of.add(name)
        for pool in pools:
            pool.reconciler.plan(len(pool.planned))
        await self._correct_state()

    def _scale(
        self, counts: Mapping[Pool, int], *, anew: bool = True
    ) -> Coroutine[Any, Any, None]:
        """Change the specification; the coroutine submits or gives up nodes."""
        if self._ending:
            if any(counts.values()):
                raise ClusterNotRunning(self.name, self.status.name)
            counts = {}  # scale(0) by the base class's close()
        for pool, count in counts.items():
            self._plan(pool, pool.allowed(count, pool.note_of(self.note)), anew=anew)
        return self._submit_specified(counts, anew=anew)

    async def _submit_specified(
        self, counts: Mapping[Pool, int], *, anew: bool
    ) -> None:
        """Submit what is specified, as one array of each kind."""
        if not counts:
            return
        try:
            refused = await self._correct_state()
        except Exception:
            for pool in counts:
                pool.reconciler.desired = len(pool.planned)
            raise
        if self._ending and any(counts.values()):
            raise RuntimeError(f"{self.name} was closed while it asked for nodes")
        # scale() also deletes queued jobs that adaptive scaling has kept. Not while
        # nodes are held at the door: then queued ones stand in for them.
        for pool in counts if anew else ():
            if not pool.fleet.held and not pool.fleet.admission.submitting:
                withdrawal = pool.fleet.withdraw((), keep_places=False)
                self._in_background(withdrawal, self._releases)
        told: list[LauncherError] = []
        for pool in counts.keys() & refused.keys():
            if isinstance(refused[pool], DrmCommunicationError | GridFull):
                pool.reconciler.submission_failed(str(refused[pool]))
            else:
                pool.reconciler.desired = len(pool.planned)
                told.append(refused[pool])
        if told:
            raise told[0]

    def _plan(self, pool: Pool, count: int, *, anew: bool) -> None:
        # Of those that leave anyhow each does so in its time, unless all are to go.
        names = pool.planned if count else pool.names
        surplus = len(names) - count
        for name in to_close(
            self.scheduler,
            names,
            pool.waiting,
            surplus,
            pool.options.processes,
            pool.suspended,
        ):
            del self.worker_spec[name]
        more = count - len(pool.planned)
        if anew:
            pool.reconciler.want(count)
        else:
            rise = 0 if pool.reconciler.persistent_failure else count - pool.wanted
            more = min(more, rise)
            pool.reconciler.plan(count)
        for _ in range(more):
            self.worker_spec.update(self._more(pool))

    async def _add(self, pool: Pool, names: int) -> None:
        """Have so many more names, and whatever nodes are missing, as one array."""
        for _ in range(names):
            self.worker_spec.update(self._more(pool))
        refused = await self._correct_state()
        if error := refused.get(pool):
            raise error

    async def _release(
        self, pool: Pool, names: Collection[str], *, keep_places: bool = False
    ) -> None:
        """Give up names: their queue places, or their workers with the data moved."""
        await release(
            pool.fleet,
            self.scheduler,
            names,
            timeout=pool.options.finish_timeout,
            keep_places=keep_places,
        )

    async def _stop(self, name: str) -> None:
        self.worker_spec.pop(name, None)
        self.workers.pop(name, None)
        if pool := self._pool_of(name):
            await self._release(pool, [name])

    def _on_over(self, pool: Pool, record: NodeRecord) -> None:
        """Nothing more comes of a node: its worker's name is given up, or, if it bore
        none, the newest name in want of a node."""
        registry = pool.fleet.registry
        names = [record.worker] if record.worker else []
        coming = registry.expected + registry.backlog
        while len(registry.unbound) > coming and not pool.fleet.admission.submitting:
            names.append(registry.unbound.pop())
        wanted = False
        for name in names:
            counted = name not in pool.rotation.leaving
            wanted |= self.worker_spec.pop(name, None) is not None and counted
            if handle := self.workers.pop(name, None):
                handle.ended()
        pool.reconciler.over(record, wanted=wanted)

    def _on_persistent_failure(self, pool: Pool) -> None:
        """No worker of a kind can come: tasks that need one get the reasons."""
        if pool.reconciler.persistent_failure is None and self._adapts(pool):
            return  # all were taken away, but it asks anew for work that waits
        if error := self.stuck():
            self.scheduler.fail_waiting(error)
        elif error := missing_workers_error(
            [pool.reconciler], self.scheduler, 1, others=False
        ):
            self._requirements.fail_unsatisfiable(pool, error)

    def _allocate(self, pool: Pool, name: str, hello: Hello) -> Allocation:
        return allocate(
            pool.options,
            self.scheduler,
            self._tls,
            name,
            hello,
            share=self._share_of_machine(pool, hello.slots),
            working_directory=self._working_directory,
        )

    def _share_of_machine(self, pool: Pool, slots: int) -> float | None:
        """A local node's share of this machine's memory; None on a grid.

        Each pool has slots of its own, so nodes of all pools run at the same time.
        """
        there = [each.fleet.launcher.slots or 0 for each in self._pools.values()]
        own = pool.fleet.launcher.slots
        return min(slots, own) / sum(there) if own else None
