"""A cluster's life: its pools, its scheduler, what looks after them, and their end.

Whatever fails half-way, and whoever gives up waiting, nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_ip

from dask_gridengine.bootstrap.certificates import security_of, worker_identity
from dask_gridengine.cluster.control import ControlHandler
from dask_gridengine.cluster.explain import explain
from dask_gridengine.cluster.failure_info import ClusterFailureInfo
from dask_gridengine.cluster.pool import Pool
from dask_gridengine.cluster.pool_selection import Requirements
from dask_gridengine.cluster.reachability import Eyes, ReachabilityChecker
from dask_gridengine.cluster.wait_for_workers import Waiting
from dask_gridengine.errors import ClusterNotRunning, OptionError
from dask_gridengine.naming import prefix_of
from dask_gridengine.net.addresses import bracketed
from dask_gridengine.nodes.endpoints import dashboard_address
from dask_gridengine.nodes.fleet import GENTLE_SECONDS
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.options import Options
from dask_gridengine.reconcile.reconciler import Reconciler
from dask_gridengine.scheduler.log_filters import silenced, suppress_close_messages
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.scheduler.worker_statuses import WorkerStatuses

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

logger = logging.getLogger(__name__)

NOTES_KEPT = 10_000  # lines of the cluster's log: each node that is replaced gives one


class OpenedCluster(SpecCluster):  # type: ignore[misc]
    """A SpecCluster that is opened and closed as a whole, with all its pools.

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
        # Once: all nodes get the same one, and it may be deleted meanwhile.
        self._working_directory = ""
        with contextlib.suppress(OSError):  # it is deleted already
            self._working_directory = os.getcwd()
        #: Kinds of nodes, by what the names of theirs begin with.
        self._pools = {
            pool.prefix: pool
            for name, own in (options.pools or {"": options}).items()
            for pool in [Pool(name, own, lambda: self.worker_spec)]
        }
        self._background: set[asyncio.Future[Any]] = set()
        self._releases: set[asyncio.Future[Any]] = set()
        #: Names given up by `scale_down`: the next correction keeps their places.
        self._keep_places_of: set[str] = set()
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        #: Openings and submissions that a launcher has not answered yet.
        self._unanswered: set[asyncio.Future[Any]] = set()
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
    def _reconcilers(self) -> list[Reconciler]:
        return [pool.reconciler for pool in self._pools.values()]

    def _pool_of(self, name: Any) -> Pool | None:
        """Whose node or worker this is; None if it is somebody else's."""
        return self._pools.get(prefix_of(name))

    async def _start(self) -> None:
        # In a task of its own: a start that is cancelled half-way is finished first and
        # closed then, so that there are no half-started states to clean up.
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            raise RuntimeError(f"{self.name} was closed while it started")
        self._opening.result()

    async def _open(self) -> None:
        self.quiet = self._wants_quiet
        if self._silence_logs:
            # Not by the base class, which undoes it only when it closes: a cluster that
            # could not open would undo it when it is collected, amid another's life.
            self._silenced.enter_context(silenced(self._silence_logs))
        unreachable_hosts: dict[str, str] = {}
        self._way_back = ReachabilityChecker(
            unreachable_hosts, self.note, Eyes.of(lambda: self.scheduler)
        )
        changed = asyncio.Event()
        for pool in self._pools.values():
            pool.make(
                self._callbacks(pool),
                self._hands(pool),
                changed=changed,
                unreachable_hosts=unreachable_hosts,
            )
            pool.reconciler.want(len(pool.names))
        self.view = NodeHistory(
            self.name,
            lambda: {pool.name: pool.fleet.registry for pool in self._pools.values()},
            lambda: {pool.name: pool.wanted for pool in self._pools.values()},
        )
        try:
            await self._open_fleets()
            await self._open_scheduler()
        except BaseException:
            for pool in self._pools.values():
                await pool.fleet.stop_admitting()
                await pool.fleet.aclose()
            self.status = Status.closed
            self._silenced.close()
            raise
        self._begin()

    async def _open_fleets(self) -> None:
        """All at the same time: each starts a process, and asks the grid."""
        pools = list(self._pools.values())
        opened = [self._until_closed(self._open_fleet(pool)) for pool in pools]
        # Not given up half-way: who closes them must find them open, or not at all.
        said = await asyncio.gather(*opened, return_exceptions=True)
        if wrong := [exc for exc in said if exc is not None]:
            raise wrong[0]

    async def _open_fleet(self, pool: Pool) -> None:
        try:
            await pool.fleet.open()
        except OptionError as exc:
            raise pool.failed_hosts(exc) from None
        first = pool is next(iter(self._pools.values()))
        if first and self.options.launcher is None:
            self._log(f"dask-gridengine: {pool.fleet.launcher.description}")
        if names := pool.names:
            # Before there is a scheduler to go to: that starts while they do.
            await self._submit_first(pool, names)

    def _begin(self) -> None:
        """There is a scheduler: nodes may become workers, and are cared for."""
        pools = list(self._pools.values())
        self.scheduler.attribute_failures(
            ClusterFailureInfo(self._reconcilers, self.scheduler.suspects_of)
        )
        self.scheduler.on_node_signal = self._asked_to_go
        self.scheduler.add_plugin(WorkerStatuses(lambda: self.scheduler_info))
        self.scheduler.show(self.view)
        # Not before: only now are registrations heard of.
        control = ControlHandler(self)
        for pool in pools:
            pool.fleet.bootstrap.on_control_request = control.answer
            pool.fleet.receive()
            pool.reconciler.start()
            pool.rotation.start(self.scheduler)
        self._requirements = Requirements(
            self.scheduler, pools, self.note, adapts=self._adapts
        )
        self._requirements.start()
        fleets = [pool.fleet for pool in pools]
        self._waiting = Waiting(self.scheduler, fleets, self.note, hints=self._hints)
        self._waiting.start()

    def _explain_all(self) -> str:
        """What the nodes are at, and what keeps tasks waiting where they work."""
        watching = (self._requirements, self._waiting)
        said = (text for watch in watching for text in watch.said)
        over = [f"{self.name} is closed."] if self.status is Status.closed else []
        return "\n".join([*over, explain(self._reconcilers), *said, *self._hints()])

    def _hints(self) -> list[str]:
        """What to type where no nodes are requested, and adaptive scaling is off."""
        pools = list(self._pools.values())
        if self._ending or any(pool.wanted or self._adapts(pool) for pool in pools):
            return []
        jobs = repr({pools[0].name: 4}) if pools[0].name else 4
        return [f"Hint: cluster.scale(jobs={jobs})"]

    def _adapts(self, pool: Pool) -> bool:
        raise NotImplementedError

    def _asked_to_go(self, name: str, signal: str) -> float:
        pool = self._pool_of(name)
        if pool is None:
            raise LookupError(name)
        return pool.rotation.asked_to_go(name, signal)

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

    def _require_running(self) -> None:
        """Raise `ClusterNotRunning` where the cluster has not started, or is closed."""
        if self.status is not Status.running:
            raise ClusterNotRunning(self.name, self.status.name)

    def _require_started(self) -> None:
        """The same, but a cluster that is closed will do."""
        if not hasattr(self, "_waiting"):
            raise ClusterNotRunning(self.name, self.status.name)

    def __enter__(self) -> Self:
        self._require_running()  # it starts when it is made
        entered: Self = super().__enter__()
        return entered

    async def __aenter__(self) -> Self:
        if self.status is Status.closed:
            raise ClusterNotRunning(self.name, self.status.name)
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

    @property
    def _ending(self) -> bool:
        """Whether it is closed, or close() has begun. Nothing is submitted then."""
        ended = self.status in (Status.closing, Status.closed)
        return ended or self._closing is not None

    async def _close_once(self, opening: asyncio.Future[None] | None) -> None:
        if opening is not None and not opening.done():
            await asyncio.wait([opening], timeout=GENTLE_SECONDS)
            await self._cancel_unanswered()
            await asyncio.wait([opening])
        pools = [pool for pool in self._pools.values() if pool.made]
        self._silenced.enter_context(suppress_close_messages(self.scheduler))
        try:
            if self._adaptive is not None:
                self._adaptive.stop()
            if hasattr(self, "_waiting"):
                self._requirements.stop()
                self._waiting.stop()
            for pool in pools:
                await pool.rotation.stop()
                await pool.reconciler.stop()
            if pools:
                await self._way_back.aclose()
            for pool in pools:
                pool.fleet.mark_cancelled(self.workers)
            await asyncio.gather(*(pool.fleet.stop_admitting() for pool in pools))
            self.worker_spec.clear()
            for handle in self.workers.values():
                handle.ended()
            self.workers.clear()
            if self._unanswered:
                await asyncio.wait(self._unanswered, timeout=GENTLE_SECONDS)
            await self._cancel_unanswered()
            for task in self._releases:
                task.cancel()
            await super()._close()  # closes the scheduler, and so the workers
        except Exception:
            # Not raised: the caller can do nothing, and the rest must be closed.
            logger.exception("an error while %s closed", self.name)
        finally:
            # Not closed yet, as the base class has it: at an exit of Python nobody
            # would wait for the rest, and files and jobs would be left.
            self.status = Status.closing
            if self.scheduler is not None and self.shutdown_scheduler:
                await self.scheduler.close()
            await asyncio.gather(*(pool.fleet.aclose() for pool in pools))
            self._silenced.close()
            self.status = Status.closed

    def _until_closed(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return _held(work, self._unanswered)

    async def _cancel_unanswered(self) -> None:
        """End what waits for a launcher: it holds our lock, for a minute or longer.

        Rejected: to cancel the correction itself. SpecCluster returns one that was
        cancelled before it had the lock to every later caller, also to its close().
        """
        tasks = list(self._unanswered)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def note(self, text: str) -> None:
        """A line for the cluster's log, ``cluster.get_logs()["Cluster"]``."""
        # Not `_log`, which prints: it has been logged where people look.
        self._cluster_manager_logs.append((datetime.now(), text))
        del self._cluster_manager_logs[:-NOTES_KEPT]

    def _woke(self, seconds: float) -> None:
        """This process was suspended, or its loop blocked, for so long."""
        self.note(
            f"this process was suspended for {seconds:.0f} s. Workers that lost their"
            " connection in that time have ended, and are replaced"
        )

    def _in_background(
        self,
        work: Coroutine[Any, Any, None],
        tasks: set[asyncio.Future[Any]] | None = None,
    ) -> asyncio.Task[None]:
        task = _held(work, self._background if tasks is None else tasks)
        task.add_done_callback(self._log_error)
        return task

    def _log_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._ending:
            logger.warning("%s", error)


def _held(
    work: Coroutine[Any, Any, None], tasks: set[asyncio.Future[Any]]
) -> asyncio.Task[None]:
    """Run this as a task, which is in `tasks` until it has ended."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _option_error(exc: BaseException | None) -> OptionError | None:
    """What the user is to change, from within what Dask has wrapped it in, twice."""
    while exc is not None and not isinstance(exc, OptionError):
        exc = exc.__cause__
    return exc
