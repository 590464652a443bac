"""Start and close a cluster completely, also when a caller is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_ip

from dask_gridengine.cluster.blocked_tasks import BlockedTasks
from dask_gridengine.cluster.control import ControlHandler
from dask_gridengine.cluster.failure_info import ClusterFailureInfo
from dask_gridengine.cluster.pool import NodePool, pool_of
from dask_gridengine.cluster.pool_lifecycle import close_pool, open_pool, stop_admitting
from dask_gridengine.cluster.reachability import ReachabilityChecker
from dask_gridengine.errors import ClusterNotRunning, GridEngineError, OptionError
from dask_gridengine.net.addresses import bracketed
from dask_gridengine.nodes.listen_addresses import dashboard_address, listen_at
from dask_gridengine.options import Options
from dask_gridengine.reconcile.drain import GENTLE_SECONDS
from dask_gridengine.scheduler.log_filters import (
    file_limit_error,
    is_file_limit,
    shortened_file_limit,
    silenced,
    suppress_close_messages,
)

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

logger = logging.getLogger(__name__)


class Lifecycle:
    """Starts and closes a cluster: each is one task, which no caller can cancel.

    A start whose caller is cancelled is finished and closed then, so there are no
    half-started states to clean up.
    """

    def __init__(
        self, cluster: GridEngineCluster, *, quiet: bool, silence_logs: int | bool
    ) -> None:
        self._cluster, self._quiet = cluster, quiet
        self._silence_logs = silence_logs
        self._silenced = contextlib.ExitStack()
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        #: Openings and passes that may wait for a launcher.
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._releases: set[asyncio.Future[Any]] = set()
        self._background: set[asyncio.Future[Any]] = set()
        #: From the start on, also after the end.
        self.blocked: BlockedTasks | None = None
        self.reachability: ReachabilityChecker | None = None

    @property
    def ending(self) -> bool:
        """Whether the cluster is closed, or closing: nothing is submitted then."""
        ended = self._cluster.status in (Status.closing, Status.closed)
        return ended or self._closing is not None

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this as a task whose error is logged."""
        task = _hold(work, self._background)
        task.add_done_callback(self._log_error)
        return task

    def until_closed(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run this as a task that close() cancels if it takes too long."""
        return _hold(work, self._unanswered)

    def release(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this as a task that close() cancels: the nodes end anyhow."""
        task = _hold(work, self._releases)
        task.add_done_callback(self._log_error)
        return task

    def _log_error(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self.ending:
            bug = None if isinstance(error, GridEngineError) else error
            logger.warning("%s", error, exc_info=bug)

    async def start(self) -> None:
        """Start the cluster; several callers wait for the same start."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            raise ClusterNotRunning(self._cluster.name, Status.closed.name)
        self._opening.result()

    async def _open(self) -> None:
        cluster = self._cluster
        cluster.quiet = self._quiet
        if self._silence_logs:
            # Not by the base class, which restores the levels only when it closes: a
            # cluster that could not open would do so when it is garbage-collected.
            self._silenced.enter_context(silenced(self._silence_logs))
        self._silenced.enter_context(shortened_file_limit())
        try:
            await self._open_pools()
            await self._open_scheduler()
        except BaseException as exc:
            await self._close_pools()
            cluster.status = Status.closed
            self._silenced.close()
            if error := _known_error(exc, cluster.options):
                raise error from None
            raise
        self._begin()

    async def _open_pools(self) -> None:
        """Open all pools at the same time: each starts a process and asks the grid."""
        cluster = self._cluster
        pools = cluster.options.pools or {"": cluster.options}
        opened = [
            self.until_closed(self._open_pool(name, options))
            for name, options in pools.items()
        ]
        # All are awaited: a pool that opens must be open, or not there, when others
        # are closed because one has failed.
        results = await asyncio.gather(*opened, return_exceptions=True)
        for result in results:
            if isinstance(result, NodePool):
                cluster.pools.append(result)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _open_pool(self, name: str, options: Options) -> NodePool:
        cluster = self._cluster
        try:
            pool = await open_pool(cluster, name, options)
        except OptionError as exc:
            raise exc.prefixed(f"pool {name}") if name else exc from None
        first = name == next(iter(cluster.options.pools), "")
        if first and cluster.options.launcher is None:
            cluster._log(f"dask-gridengine: {pool.launcher.description}")
        return pool

    async def _open_scheduler(self) -> None:
        cluster = self._cluster
        cluster.scheduler_spec["options"] = self._scheduler_options()
        with warnings.catch_warnings():
            # Dask asks for the route to 8.8.8.8, remembers the answer, and warns where
            # there is none, as in many cells. Nodes do not depend on that answer.
            warnings.simplefilter("ignore", RuntimeWarning)
            get_ip()
        await SpecCluster._start(cluster)

    def _scheduler_options(self) -> dict[str, Any]:
        cluster = self._cluster
        options, pool = cluster.options, cluster.pools[0]
        given: dict[str, Any] = {
            "protocol": "tls" if cluster.security.require_encryption else "tcp",
            "host": bracketed(listen_at(pool.options, pool.launcher.kind)),
            "ports": options.scheduler_port,
            "security": cluster.security,
            "dashboard_address": dashboard_address(options),
        }
        if "port" in options.scheduler_options:
            del given["ports"]
        return {**given, **options.scheduler_options}

    def _begin(self) -> None:
        """Start what needs a running scheduler. Registrations are received from now."""
        cluster = self._cluster
        scheduler, pools = cluster.scheduler, cluster.pools
        self.reachability = ReachabilityChecker(scheduler, cluster.note)
        scheduler.attribute_failures(ClusterFailureInfo(pools, scheduler.suspects_of))
        scheduler.on_node_signal = self._asked_to_go
        scheduler.cluster_info = lambda: cluster.scheduler_info
        scheduler.show(cluster.view)
        self.blocked = BlockedTasks(cluster)
        self.blocked.start()
        control = ControlHandler(cluster)
        for pool in pools:
            pool.bootstrap.on_control_request = control.answer
            pool.receive()
            pool.monitor.start()
            pool.rotation.start()

    def _asked_to_go(self, name: str, signal: str) -> float:
        pool = pool_of(self._cluster.pools, name)
        if pool is None:
            raise LookupError(name)
        return pool.rotation.asked_to_go(name, signal)

    async def close(self) -> None:
        """Close the cluster. Idempotent; several callers wait for the same end."""
        if self._closing is None:
            opening = self._opening
            if opening is asyncio.current_task():
                opening = None  # it has failed and closes what it has opened
            self._closing = asyncio.ensure_future(self._close(opening))
        # Shielded: a caller that is cancelled must not leave jobs on the grid.
        await asyncio.shield(self._closing)

    async def _close(self, opening: asyncio.Future[None] | None) -> None:
        cluster = self._cluster
        if opening is not None and not opening.done():
            await asyncio.wait([opening], timeout=GENTLE_SECONDS)
            await self._cancel_unanswered()
            await asyncio.wait([opening])
        self._silenced.enter_context(suppress_close_messages(cluster.scheduler))
        try:
            await self._stop_pools()
            if self._unanswered:
                await asyncio.wait(self._unanswered, timeout=GENTLE_SECONDS)
            await self._cancel_unanswered()
            for task in self._releases:
                task.cancel()
            await SpecCluster._close(cluster)  # closes the scheduler, so the workers
        except Exception:
            # Not raised: the caller can do nothing, and the rest must be closed.
            logger.exception("Closing %s failed", cluster.name)
        finally:
            # The base class calls it closed already. At Python's exit the rest would
            # not be waited for then, and files and jobs would be left.
            cluster.status = Status.closing
            if cluster.scheduler is not None:
                await cluster.scheduler.close()
            await self._close_pools()
            self._silenced.close()
            cluster.status = Status.closed

    async def _stop_pools(self) -> None:
        cluster, pools = self._cluster, self._cluster.pools
        cluster.adaptive.stop()
        if self.blocked is not None:
            self.blocked.stop()
        for pool in pools:
            await pool.rotation.stop()
            await pool.monitor.stop()
        if self.reachability is not None:
            await self.reachability.aclose()
        for pool in pools:  # also nodes that are replaced, which are not desired
            live = pool.registry.live.values()
            pool.mark_cancelled([r.worker for r in live if r.worker is not None])
        await asyncio.gather(*map(stop_admitting, pools))
        for pool in pools:
            pool.drop_names(pool.names)

    async def _close_pools(self) -> None:
        pools = self._cluster.pools
        await asyncio.gather(*map(stop_admitting, pools))
        await asyncio.gather(*map(close_pool, pools))

    async def _cancel_unanswered(self) -> None:
        """Cancel passes that wait for a launcher, which may take a minute or longer.

        Rejected: to cancel `_correct_state` itself. SpecCluster returns one that was
        cancelled before it had the lock to every later caller, also to its close().
        """
        tasks = list(self._unanswered)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _hold(
    work: Coroutine[Any, Any, Any], tasks: set[asyncio.Future[Any]]
) -> asyncio.Task[Any]:
    """Run this as a task, which is in `tasks` until it has ended."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _known_error(exc: BaseException, options: Options) -> GridEngineError | None:
    """The error for users in what Dask has wrapped it in, twice."""
    chain = [exc]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for error in chain:
        if isinstance(error, OptionError):
            return error
        if is_file_limit(error):
            return file_limit_error()
    given = options.scheduler_options
    if given and len(chain) > 1 and isinstance(chain[-1], TypeError):
        return OptionError(f"scheduler_options={given}: {chain[-1]}")
    return None
