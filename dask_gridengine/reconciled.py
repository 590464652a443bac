"""Dask's SpecCluster with its faults mended: names of workers, nodes that bear them.

Joins the two worlds: what Dask calls and expects, and the fleet with its upkeep, which
know no Dask. What users call is in `dask_gridengine.cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Collection, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_ip

from dask_gridengine import granted
from dask_gridengine.addresses import bracketed
from dask_gridengine.allocation import Allocation, Hello
from dask_gridengine.allocator import allocate
from dask_gridengine.authority import security_of, worker_identity
from dask_gridengine.causes import number_of_nodes
from dask_gridengine.config import Options
from dask_gridengine.desk import Desk
from dask_gridengine.endpoints import dashboard_address
from dask_gridengine.errors import (
    DrmCommunicationError,
    GridFull,
    NodesFailed,
    OptionError,
)
from dask_gridengine.fleet import GENTLE_SECONDS, Callbacks, Fleet
from dask_gridengine.handle import NodeHandle
from dask_gridengine.lastwords import addresses, last_words
from dask_gridengine.names import node_name, nodes_of, suffixes
from dask_gridengine.nodes import NodeRecord, NodeState
from dask_gridengine.notes import Annotator
from dask_gridengine.prospects import shortfall, wait_for_workers
from dask_gridengine.quiet import silenced
from dask_gridengine.retiring import release
from dask_gridengine.scaling import to_close
from dask_gridengine.scheduler import ClusterScheduler
from dask_gridengine.turnover import Turnover
from dask_gridengine.upkeep import Hands, Upkeep
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
        self._counter = itertools.count()
        self._clipped = 0  # the last number that was more than may be
        self._keep_places = False  # of names that are given up: adaptive scaling may
        self._background: set[asyncio.Future[Any]] = set()
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._correcting: asyncio.Future[None] | None = None
        security = security_of(self.options.security, self.options.name)
        self._tls = worker_identity(security)
        worker: dict[str, Any] = {
            "cls": NodeHandle,
            "options": {"nthreads": self.options.threads},
        }
        if self.options.memory:
            worker["options"]["memory_limit"] = (
                self.options.memory // self.options.processes
            )
        if self.options.processes > 1:
            worker["group"] = suffixes(self.options.processes)
        jobs = min(self.options.jobs, self.options.max_jobs or self.options.jobs)
        names = [self._next_name() for _ in range(jobs)]
        try:
            super().__init__(
                workers={name: worker for name in names},
                worker=worker,
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
        if not self._upkeep.desired and not self._upkeep.taken_away:
            return None
        return shortfall(self._upkeep, self.scheduler, 1)

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
        self._fleet = Fleet(
            self.options,
            versions=granted.versions(),
            callbacks=Callbacks(make_allocation=self._allocate, on_over=self._on_over),
        )
        eyes = Eyes.of(lambda: self.scheduler)
        self._way_back = WayBack(self._fleet.one_way, self.note, eyes)
        hands = Hands(
            planned=lambda: len(self.planned),
            add=self._add,
            cancel=self._fleet.cancel,
            woke=self._woke,
            despair=self._despair,
            note=self.note,
        )
        missed = parse_timedelta(
            dask.config.get("distributed.deploy.lost-worker-timeout")
        )
        self._upkeep = Upkeep(self._fleet, hands, missed=missed)
        self._turnover = Turnover(self._fleet, self._upkeep, self.options)
        self._upkeep.want(len(self.worker_spec))
        try:
            await self._fleet.open()
            if self.options.launcher is None:
                self._log(f"dask-gridengine: {self._fleet.launcher.description}")
            if self.worker_spec:
                # Before there is a scheduler to go to: that starts while they do.
                await self._submit_first([*self.worker_spec])
            await self._open_scheduler()
        except BaseException:
            await self._fleet.dismiss()
            await self._fleet.aclose()
            self.status = Status.closed
            self._silenced.close()
            raise
        witness = FleetWitness(self._upkeep, self.scheduler.suspects_of)
        self.scheduler.witness = witness
        self.scheduler.add_plugin(Annotator(witness.explain))
        # Not before: only now are registrations heard of.
        self._fleet.receive()
        self._upkeep.start()
        self._turnover.start(self.scheduler)
        self._fleet.bootstrap.on_ask = Desk(self).answer

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
        fleet: Fleet | None = getattr(self, "_fleet", None)
        upkeep: Upkeep | None = getattr(self, "_upkeep", None)
        try:
            if upkeep is not None:
                await self._turnover.stop()
                await upkeep.stop()
            if fleet is not None:
                await self._way_back.aclose()
                fleet.let_go(self.workers)
                await fleet.dismiss()
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
            if fleet is not None:
                await fleet.aclose()
            self._silenced.close()
            self.status = Status.closed

    def _correct_state(self) -> asyncio.Future[None]:
        self._correcting = super()._correct_state()
        return self._correcting

    async def _correct_state_internal(self) -> None:
        """Make ``workers`` what ``worker_spec`` says.

        Instead of the base class's, which retires by address what it knows by name
        and so loses data (dask/distributed#4069), holds its lock while it waits for
        workers to close, and leaves a zombie where a start fails.
        """
        async with self._lock:
            self._correct_state_waiting = None
            if self.status in (Status.closing, Status.closed):
                return
            surplus = [name for name in self.workers if name not in self.worker_spec]
            for name in surplus:
                del self.workers[name]
            if surplus:
                keep_places, self._keep_places = self._keep_places, False
                self._in_background(self._release(surplus, keep_places=keep_places))
            missing = [name for name in self.worker_spec if name not in self.workers]
            if missing or self._fleet.short():
                await self._submit(missing)

    async def _submit_first(self, names: list[str]) -> None:
        try:
            await self._submit(names)
        except GridFull as exc:
            self._upkeep.unheard(str(exc))

    async def _submit(self, names: list[str]) -> None:
        try:
            await self._fleet.submit(names)
        except BaseException:
            for name in names:
                self.worker_spec.pop(name, None)
            raise
        for name in names:
            self.workers[name] = NodeHandle(name, self._stop)

    @property
    def planned(self) -> list[str]:
        """Names of nodes that count, oldest first; who leaves anyhow does not."""
        return self._turnover.staying(self.worker_spec)

    @property
    def plan(self) -> set[str]:
        """Names that count for adaptive scaling; who leaves anyhow does not."""
        return set(self._turnover.staying(super().plan))

    @property
    def requested(self) -> set[str]:
        """As `plan`, of those that have been asked for."""
        return set(self._turnover.staying(super().requested))

    @property
    def observed(self) -> set[str]:
        """As `plan`, of those that are there."""
        return set(self._turnover.staying(super().observed))

    def new_worker_spec(self) -> dict[str, Any]:
        """The next node's name, never used before, and its specification."""
        return {self._next_name(): self.new_spec}

    @property
    def waiting(self) -> list[str]:
        """Names that no node bears yet, oldest first."""
        return list(self._fleet.roster.unbound)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        workers = self.scheduler_info["workers"]
        if op == "add":
            for info in msg["workers"].values():
                self._fleet.registered(info["name"])
            for address, info in msg["workers"].items():
                if record := self._fleet.roster.by_worker.get(info["name"]):
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
        await wait_for_workers(self._upkeep, self.scheduler, n_workers, timeout)

    async def _get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | str | Collection[str] = True,
    ) -> Any:
        """As Dask's, and with the last words of nodes that are gone."""
        live = addresses(self.scheduler, workers)
        logs = await super()._get_logs(cluster, scheduler, live)
        logs.update(last_words(self._fleet.roster, workers))
        return logs

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up the nodes of these workers, by name, as adaptive scaling does."""
        records = self._fleet.roster.by_worker
        for name in nodes_of(workers):
            record = records.get(name)
            if record is None or record.state is not NodeState.IMPORTING:
                self.worker_spec.pop(name, None)  # else: when it is there
        self._upkeep.plan(len(self.planned))
        self._keep_places = True
        await self._correct_state()

    def _next_name(self) -> str:
        return node_name(next(self._counter))

    async def _scale(self, count: int, *, anew: bool = True) -> None:
        if self.status in (Status.closing, Status.closed):
            if count == 0:
                return  # the base class's close() asks for it; there is nobody left
            raise RuntimeError(f"{self.name} is closed: start a new cluster")
        count = self._allowed(count)
        waiting = self._fleet.roster.unbound
        # Of those that leave anyhow each does so in its time, unless all are to go.
        names = self.planned if count else [*self.worker_spec]
        surplus = len(names) - count
        processes = self.options.processes
        for name in to_close(self.scheduler, names, waiting, surplus, processes):
            del self.worker_spec[name]
        more = count - len(self.planned)
        if anew:
            self._upkeep.want(count)
        else:
            rise = 0 if self._upkeep.hopeless else count - self._upkeep.desired
            more = min(more, rise)
            self._upkeep.plan(count)
        for _ in range(more):
            self.worker_spec.update(self.new_worker_spec())
        try:
            await self._correct_state()
        except (DrmCommunicationError, GridFull) as exc:
            self._upkeep.unheard(str(exc))
        except BaseException:
            self._upkeep.desired = len(self.planned)
            raise

    def _allowed(self, count: int) -> int:
        """So many nodes, or the most there may be, which is said once for a number."""
        most = self.options.max_jobs
        if most is None or count <= most:
            self._clipped = 0
            return count
        if self._clipped != count:
            self._clipped = count
            said = f"{number_of_nodes(count)} asked for, max-jobs allows {most}"
            self.note(said)
            logger.warning("%s", said)
        return most

    async def _add(self, names: int) -> None:
        """Have so many more names, and whatever nodes are missing, as one array."""
        for _ in range(names):
            self.worker_spec.update(self.new_worker_spec())
        # Shielded: a caller of `scale` may wait for the very same task.
        await asyncio.shield(self._correct_state())

    async def _release(
        self, names: Collection[str], *, keep_places: bool = False
    ) -> None:
        """Give up names: their queue places, or their workers with the data moved."""
        await release(
            self._fleet,
            self.scheduler,
            names,
            patience=self.options.finish_timeout,
            keep_places=keep_places,
        )

    async def _stop(self, name: str) -> None:
        self.worker_spec.pop(name, None)
        self.workers.pop(name, None)
        await self._release([name])

    def _on_over(self, record: NodeRecord) -> None:
        """Nothing more comes of a node: its worker's name is given up, or, if it bore
        none, the newest name in want of a node."""
        roster = self._fleet.roster
        names = [record.worker] if record.worker else []
        coming = roster.expected + roster.owed
        while len(roster.unbound) > coming and not self._fleet.door.submitting:
            names.append(roster.unbound.pop())
        wanted = False
        for name in names:
            counted = name not in self._turnover.leaving
            wanted |= self.worker_spec.pop(name, None) is not None and counted
            if handle := self.workers.pop(name, None):
                handle.ended()
        self._upkeep.over(record, wanted=wanted)

    def _despair(self) -> None:
        """No worker can come: tasks that wait for one get the reasons."""
        if self._upkeep.hopeless is None and getattr(self, "_adaptive", None):
            return  # all were taken away, but it asks anew for work that waits
        if error := self.stuck():
            self.scheduler.fail_waiting(error)

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
            "host": bracketed(self._fleet.bind_host),
            "ports": self.options.scheduler_port,
            "security": self.security,
            "dashboard_address": dashboard_address(self.options),
        }
        if "port" in self.options.scheduler_options:
            del options["ports"]
        return {**options, **self.options.scheduler_options}

    def _allocate(self, name: str, hello: Hello) -> Allocation:
        return allocate(self.options, self.scheduler, self._tls, name, hello)


def _option_error(exc: BaseException | None) -> OptionError | None:
    """What the user is to change, from within what Dask has wrapped it in, twice."""
    while exc is not None and not isinstance(exc, OptionError):
        exc = exc.__cause__
    return exc
