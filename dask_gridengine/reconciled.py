"""Dask's SpecCluster with its faults mended: names of workers, nodes that bear them.

Joins the two worlds: what Dask calls and expects, and the fleet with its upkeep, which
know no Dask. What users call is in `dask_gridengine.cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import Collection, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_ip

from dask_gridengine.addresses import bracketed
from dask_gridengine.allocation import Allocation, Hello
from dask_gridengine.allocator import allocate
from dask_gridengine.authority import security_of, worker_identity
from dask_gridengine.config import Options
from dask_gridengine.endpoints import dashboard_address
from dask_gridengine.errors import (
    DrmCommunicationError,
    GridFull,
    LauncherError,
    NodesFailed,
    OptionError,
)
from dask_gridengine.fleet import GENTLE_SECONDS, Callbacks
from dask_gridengine.handle import NodeHandle
from dask_gridengine.lastwords import addresses, last_words
from dask_gridengine.names import nodes_of, prefix_of
from dask_gridengine.nodes import NodeRecord, NodeState
from dask_gridengine.notes import Annotator
from dask_gridengine.pool import Pool
from dask_gridengine.prospects import shortfall, wait_for_workers
from dask_gridengine.quiet import silenced
from dask_gridengine.requirements import Requirements
from dask_gridengine.retiring import release
from dask_gridengine.scaling import to_close
from dask_gridengine.scheduler import ClusterScheduler
from dask_gridengine.upkeep import Hands, Upkeep
from dask_gridengine.view import View
from dask_gridengine.wayback import Eyes, WayBack
from dask_gridengine.witness import FleetWitness

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

logger = logging.getLogger(__name__)


class ReconciledCluster(SpecCluster):  # type: ignore[misc]
    """A SpecCluster whose entries are names, and whose number is kept by an upkeep.

    Parameters
    ----------
    options
        What the user asked for.
    asynchronous, loop, quiet, silence_logs, shutdown_on_close
        See `GridEngineCluster`.
    """

    def __init__(
        self,
        options: Options,
        *,
        asynchronous: bool,
        loop: Any,
        quiet: bool,
        silence_logs: int | bool,
        shutdown_on_close: bool,
    ) -> None:
        self.options = options
        self._wants_quiet, self._silence_logs = quiet, silence_logs
        self._silenced = contextlib.ExitStack()
        self._pid = os.getpid()
        #: Kinds of nodes, by what the names of theirs begin with.
        self._pools = {
            pool.prefix: pool
            for name, own in (options.pools or {"": options}).items()
            for pool in [Pool(name, own, lambda: self.worker_spec)]
        }
        self._background: set[asyncio.Future[Any]] = set()
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._correcting: asyncio.Future[dict[Pool, LauncherError]] | None = None
        security = security_of(self.options.security, self.options.name)
        self._tls = worker_identity(security)
        try:
            super().__init__(
                workers={
                    name: pool.spec
                    for pool in self._pools.values()
                    for name in pool.first_names()
                },
                # Only for what Dask's base class does with it: `_more` is asked here.
                worker=next(iter(self._pools.values())).spec,
                scheduler={"cls": ClusterScheduler, "options": {}},
                asynchronous=asynchronous,
                loop=loop,
                security=security,
                name=self.options.name,
                shutdown_on_close=shutdown_on_close,
            )
        except BaseException:
            if hasattr(self, "_loop_runner"):
                self._loop_runner.stop()  # the base class leaves its thread running
            raise

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
        upkeeps = self._upkeeps
        if not any(upkeep.desired or upkeep.taken_away for upkeep in upkeeps):
            return None
        return shortfall(upkeeps, self.scheduler, 1)

    def pool(self, name: str | None = None) -> Pool:
        """The kind of nodes of this name; without one, the only kind there is.

        Raises
        ------
        OptionError
            If there is no such pool, or several and no name.
        """
        if name is None and len(self._pools) == 1:
            return next(iter(self._pools.values()))
        if name in self.options.pools:
            return self._pools[name]
        there = ", ".join(self.options.pools) or "none: it has one kind of nodes"
        wrong = "which pool?" if name is None else f"no pool {name!r};"
        raise OptionError(f"{self.name}: {wrong} There are: {there}")

    @property
    def _upkeeps(self) -> list[Upkeep]:
        return [pool.upkeep for pool in self._pools.values()]

    def _pool_of(self, name: Any) -> Pool | None:
        """Whose node or worker this is; None if it is somebody else's."""
        return self._pools.get(prefix_of(name))

    async def _start(self) -> None:
        # In a task of its own: a start that is cancelled half-way is finished first and
        # closed then, so that there are no half-started states to clean up.
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self.quiet = self._wants_quiet
        if self._silence_logs:
            # Not by the base class, which undoes it only when it closes: a cluster that
            # could not open would undo it when it is collected, amid another's life.
            self._silenced.enter_context(silenced(self._silence_logs))
        one_way: dict[str, str] = {}
        self._way_back = WayBack(one_way, self.note, Eyes.of(lambda: self.scheduler))
        changed = asyncio.Event()
        for pool in self._pools.values():
            pool.make(
                self._callbacks(pool),
                self._hands(pool),
                changed=changed,
                one_way=one_way,
            )
            pool.upkeep.want(len(pool.names))
        self.view = View(
            self.name,
            lambda: {pool.name: pool.fleet.roster for pool in self._pools.values()},
            lambda: {pool.name: pool.wanted for pool in self._pools.values()},
        )
        try:
            await self._open_fleets()
            await self._open_scheduler()
        except BaseException:
            for pool in self._pools.values():
                await pool.fleet.dismiss()
                await pool.fleet.aclose()
            self.status = Status.closed
            self._silenced.close()
            raise
        self._begin()

    def _callbacks(self, pool: Pool) -> Callbacks:
        return Callbacks(
            make_allocation=partial(self._allocate, pool),
            on_over=partial(self._on_over, pool),
            note=lambda text: pool.upkeep.tell(text),
        )

    def _hands(self, pool: Pool) -> Hands:
        return Hands(
            planned=lambda: len(pool.planned),
            add=partial(self._add, pool),
            cancel=lambda records: pool.fleet.cancel(records),
            woke=self._woke,
            despair=partial(self._despair, pool),
            note=pool.note_of(self.note),
        )

    async def _open_fleets(self) -> None:
        for pool in self._pools.values():
            await pool.fleet.open()
            if names := pool.names:
                # Before there is a scheduler to go to: that starts while they do.
                await self._submit_first(pool, names)
        if self.options.launcher is None:
            launcher = next(iter(self._pools.values())).fleet.launcher
            self._log(f"dask-gridengine: {launcher.description}")

    def _begin(self) -> None:
        """There is a scheduler: nodes may become workers, and are cared for."""
        pools = list(self._pools.values())
        witness = FleetWitness(self._upkeeps, self.scheduler.suspects_of)
        self.scheduler.witness = witness
        self.scheduler.on_asked_to_go = self._asked_to_go
        self.scheduler.add_plugin(Annotator(witness.explain))
        self.scheduler.show(self.view)
        # Not before: only now are registrations heard of.
        for pool in pools:
            pool.fleet.receive()
            pool.upkeep.start()
            pool.turnover.start(self.scheduler)
        self._requirements = Requirements(self.scheduler, pools, self.note)
        self._requirements.start()

    def _asked_to_go(self, name: str, signal: str) -> float:
        pool = self._pool_of(name)
        if pool is None:
            raise LookupError(name)
        return pool.turnover.asked_to_go(name, signal)

    async def _open_scheduler(self) -> None:
        self.scheduler_spec["options"] = self._scheduler_options()
        with warnings.catch_warnings():
            # Dask asks for the route to 8.8.8.8, remembers the answer, and warns where
            # there is none, as on many a cell. Nodes do not depend on that answer.
            warnings.simplefilter("ignore", RuntimeWarning)
            get_ip()
        try:
            await super()._start()
        except RuntimeError as exc:
            if error := _option_error(exc):
                raise error from None
            raise

    async def __aenter__(self) -> Self:
        try:
            await self
            return self
        except BaseException:  # also when cancelled, which the base class forgets
            await asyncio.shield(self._close())
            raise

    async def _close(self) -> None:
        if self._closing is None:
            opening = self._opening
            if opening is asyncio.current_task():
                opening = None  # it has failed and closes what it has opened
            self._closing = asyncio.ensure_future(self._close_once(opening))
        # Shielded: whoever gives up waiting must not leave jobs on the grid.
        await asyncio.shield(self._closing)

    async def _close_once(self, opening: asyncio.Future[None] | None) -> None:
        if opening is not None:
            await asyncio.wait([opening])
        pools = [pool for pool in self._pools.values() if hasattr(pool, "fleet")]
        try:
            if requirements := getattr(self, "_requirements", None):
                requirements.stop()
            for pool in pools:
                await pool.turnover.stop()
                await pool.upkeep.stop()
            if pools:
                await self._way_back.aclose()
            for pool in pools:
                pool.fleet.let_go(self.workers)
            await asyncio.gather(*(pool.fleet.dismiss() for pool in pools))
            self.worker_spec.clear()
            for handle in self.workers.values():
                handle.ended()
            self.workers.clear()
            for task in self._background:
                task.cancel()
            if self._correcting is not None:
                # A master that hangs holds a submission, and our lock, for a minute.
                await asyncio.wait([self._correcting], timeout=GENTLE_SECONDS)
                self._correcting.cancel()
            await super()._close()  # closes the scheduler, and so the workers
        finally:
            # Not closed yet, as the base class has it: at an exit of Python nobody
            # would wait for the rest, and files and jobs would be left.
            self.status = Status.closing
            await asyncio.gather(*(pool.fleet.aclose() for pool in pools))
            self._silenced.close()
            self.status = Status.closed

    def _correct_state(self) -> asyncio.Future[dict[Pool, LauncherError]]:
        self._correcting = super()._correct_state()
        return self._correcting

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
            if self.status in (Status.closing, Status.closed):
                return refused
            surplus = [name for name in self.workers if name not in self.worker_spec]
            for name in surplus:
                del self.workers[name]
            missing = [name for name in self.worker_spec if name not in self.workers]
            for pool in self._pools.values():
                if gone := pool.ours(surplus):
                    keep_places, pool.keep_places = pool.keep_places, False
                    self._in_background(
                        self._release(pool, gone, keep_places=keep_places)
                    )
                new = pool.ours(missing)
                if new or pool.fleet.short():
                    try:
                        await self._submit(pool, new)
                    except LauncherError as exc:
                        refused[pool] = exc
        return refused

    async def _submit_first(self, pool: Pool, names: list[str]) -> None:
        try:
            await self._submit(pool, names)
        except GridFull as exc:
            pool.upkeep.unheard(str(exc))

    async def _submit(self, pool: Pool, names: list[str]) -> None:
        try:
            await pool.fleet.submit(names)
        except BaseException:
            for name in names:
                self.worker_spec.pop(name, None)
            raise
        for name in names:
            self.workers[name] = NodeHandle(name, self._stop)

    @property
    def plan(self) -> set[str]:
        """Names that count for adaptive scaling; who leaves anyhow does not."""
        return self._staying(super().plan)

    @property
    def requested(self) -> set[str]:
        """As `plan`, of those that have been asked for."""
        return self._staying(super().requested)

    @property
    def observed(self) -> set[str]:
        """As `plan`, of those that are there."""
        return self._staying(super().observed)

    def _staying(self, names: set[str]) -> set[str]:
        for pool in self._pools.values():
            names = set(pool.turnover.staying(names))
        return names

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
        """All nodes there ever were, in the order of submission."""
        pools = list(self._pools.values())
        records = [record for pool in pools for record in pool.fleet.roster]
        if len(pools) > 1:
            records.sort(key=lambda record: record.submitted)
        return records

    def _update_worker_status(self, op: str, msg: Any) -> None:
        workers = self.scheduler_info["workers"]
        if op == "add":
            for address, info in msg["workers"].items():
                if pool := self._pool_of(info["name"]):
                    pool.fleet.registered(info["name"])
                    if record := pool.fleet.roster.by_worker.get(info["name"]):
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
        await wait_for_workers(self._upkeeps, self.scheduler, n_workers, timeout)

    async def _get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | str | Collection[str] = True,
    ) -> Any:
        """As Dask's, and with the last words of nodes that are gone."""
        live = addresses(self.scheduler, workers)
        logs = await super()._get_logs(cluster, scheduler, live)
        logs.update(last_words(self._records, workers))
        return logs

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up the nodes of these workers, by name, as adaptive scaling does."""
        pools = set()
        for name in nodes_of(workers):
            if (pool := self._pool_of(name)) is None:
                continue
            pools.add(pool)
            record = pool.fleet.roster.by_worker.get(name)
            if record is None or record.state is not NodeState.IMPORTING:
                self.worker_spec.pop(name, None)  # else: when it is there
        for pool in pools:
            pool.upkeep.plan(len(pool.planned))
            pool.keep_places = True
        await self._correct_state()

    async def _scale(self, counts: Mapping[Pool, int], *, anew: bool = True) -> None:
        """Have so many nodes of these kinds; as one array each."""
        if self.status in (Status.closing, Status.closed):
            if not any(counts.values()):
                return  # the base class's close() asks for it; there is nobody left
            raise RuntimeError(f"{self.name} is closed: start a new cluster")
        for pool, count in counts.items():
            self._plan(pool, pool.allowed(count, pool.note_of(self.note)), anew=anew)
        try:
            refused = await self._correct_state()
        except BaseException:
            for pool in counts:
                pool.upkeep.desired = len(pool.planned)
            raise
        told: list[LauncherError] = []
        for pool in counts.keys() & refused.keys():
            if isinstance(refused[pool], DrmCommunicationError | GridFull):
                pool.upkeep.unheard(str(refused[pool]))
            else:
                pool.upkeep.desired = len(pool.planned)
                told.append(refused[pool])
        if told:
            raise told[0]

    def _plan(self, pool: Pool, count: int, *, anew: bool) -> None:
        # Of those that leave anyhow each does so in its time, unless all are to go.
        names = pool.planned if count else pool.names
        surplus = len(names) - count
        processes = pool.options.processes
        for name in to_close(self.scheduler, names, pool.waiting, surplus, processes):
            del self.worker_spec[name]
        more = count - len(pool.planned)
        if anew:
            pool.upkeep.want(count)
        else:
            rise = 0 if pool.upkeep.hopeless else count - pool.wanted
            more = min(more, rise)
            pool.upkeep.plan(count)
        for _ in range(more):
            self.worker_spec.update(self._more(pool))

    async def _add(self, pool: Pool, names: int) -> None:
        """Have so many more names, and whatever nodes are missing, as one array."""
        for _ in range(names):
            self.worker_spec.update(self._more(pool))
        # Shielded: a caller of `scale` may wait for the very same task.
        refused = await asyncio.shield(self._correct_state())
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
            patience=pool.options.finish_timeout,
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
        roster = pool.fleet.roster
        names = [record.worker] if record.worker else []
        coming = roster.expected + roster.owed
        while len(roster.unbound) > coming and not pool.fleet.door.submitting:
            names.append(roster.unbound.pop())
        wanted = False
        for name in names:
            counted = name not in pool.turnover.leaving
            wanted |= self.worker_spec.pop(name, None) is not None and counted
            if handle := self.workers.pop(name, None):
                handle.ended()
        pool.upkeep.over(record, wanted=wanted)

    def _despair(self, pool: Pool) -> None:
        """No worker of a kind can come: tasks that need one get the reasons."""
        if pool.upkeep.hopeless is None and self._adapts(pool):
            return  # all were taken away, but it asks anew for work that waits
        if error := self.stuck():
            self.scheduler.fail_waiting(error)
        elif error := shortfall([pool.upkeep], self.scheduler, 1, others=False):
            self._requirements.fail_for_want_of(pool, error)

    def _adapts(self, pool: Pool) -> bool:
        raise NotImplementedError

    def note(self, text: str) -> None:
        """A line for the cluster's log, ``cluster.get_logs()["Cluster"]``."""
        # Not `_log`, which prints: it has been logged where people look.
        self._cluster_manager_logs.append((datetime.now(), text))

    def _woke(self, seconds: float) -> None:
        """This process was suspended, or its loop blocked, for so long."""
        self.scheduler.excuse(seconds)
        self.note(
            f"this process stood still for {seconds:.0f} s; workers that could not"
            " reach it in that time have ended, and are replaced"
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("%s", error)

    def _scheduler_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "protocol": "tls" if self._tls else "tcp",
            "host": bracketed(next(iter(self._pools.values())).fleet.bind_host),
            "ports": self.options.scheduler_port,
            "security": self.security,
            "dashboard_address": dashboard_address(self.options),
        }
        if "port" in self.options.scheduler_options:
            del options["ports"]
        return {**options, **self.options.scheduler_options}

    def _allocate(self, pool: Pool, name: str, hello: Hello) -> Allocation:
        return allocate(pool.options, self.scheduler, self._tls, name, hello)


def _option_error(exc: BaseException | None) -> OptionError | None:
    """What the user is to change, from within what Dask has wrapped it in, twice."""
    while exc is not None and not isinstance(exc, OptionError):
        exc = exc.__cause__
    return exc
