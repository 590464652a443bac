"""`GridEngineCluster`: a Dask cluster whose workers are Grid Engine jobs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Coroutine, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.objects import SchedulerInfo

from dask_gridengine.bootstrap.certificates import security_of
from dask_gridengine.cluster.adaptive import AdaptivePools, GridAdaptive
from dask_gridengine.cluster.blocked_tasks import BlockedTasks
from dask_gridengine.cluster.explain import explain, explain_named, hints
from dask_gridengine.cluster.job_script import render
from dask_gridengine.cluster.lifecycle import Lifecycle
from dask_gridengine.cluster.pool import NodePool, node_spec, pool_of
from dask_gridengine.cluster.scaling import nodes_by_pool, resolve_options
from dask_gridengine.errors import (
    ClusterNotRunning,
    DrmCommunicationError,
    GridEngineError,
    GridFull,
    LauncherError,
    NodesFailed,
    OptionError,
    short_traceback,
)
from dask_gridengine.formatting import format_duration
from dask_gridengine.naming import nodes_of, suffixes
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.options import Options
from dask_gridengine.reconcile.wait_for_workers import (
    missing_workers_error,
    wait_for_workers,
)
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from dask_gridengine.unknown_options import refuse_unknown
from dask_gridengine.views.job_table import JobTable, addresses, log_tail
from dask_gridengine.views.notebook import Representation, Text

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

logger = logging.getLogger(__name__)

NOTES_KEPT = 10_000  # lines of the cluster's log: each node that is replaced adds one
_OWN = (
    "asynchronous",
    "loop",
    "n_workers",
    "quiet",
    "silence_logs",
    "shutdown_on_close",
)


class GridEngineCluster(SpecCluster):  # type: ignore[misc]
    """A Dask cluster on Grid Engine, or on local processes where there is none.

    Parameters
    ----------
    jobs
        Nodes to request at once, as one array. Each becomes one worker, or as many as
        ``processes`` says. With several pools a dict: number of nodes by pool.
    n_workers
        The same in workers, under the name other clusters use.
    asynchronous
        Whether this is used with ``await``, inside an event loop.
    loop
        The tornado loop to run in; a new thread's by default.
    quiet
        Print nothing, not even which launcher was chosen.
    silence_logs
        Log level of the scheduler's logs in this process, as in `LocalCluster`;
        False leaves them as they are configured.
    shutdown_on_close
        Whether to close when Python ends.
    **options
        Everything in ``gridengine.yaml``, which explains each, with ``_`` for ``-``:
        cores, memory (str or bytes), walltime (str or seconds), queue, project,
        resource_spec, parallel_environment, launcher, security, and others. The error
        for an unknown name lists them all. ``pools`` are several kinds of nodes: a dict
        of dicts of options, by name.

    Raises
    ------
    UnknownOption
        If there is no such option (it is a TypeError, too).
    OptionError
        If the value of an option is invalid.
    LauncherUnavailable
        If the launcher is not available here, or a grid is set up (SGE_ROOT,
        DRMAA_LIBRARY_PATH) and does not work; ``launcher="process"`` needs no grid.
    SubmitError
        If the grid rejects the array.

    Examples
    --------
    >>> from dask.distributed import Client
    >>> with GridEngineCluster(  # doctest: +SKIP
    ...     jobs=2, launcher="process", quiet=True
    ... ) as cluster, Client(cluster) as client:
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """

    @short_traceback
    def __init__(
        self,
        jobs: int | Mapping[str, int] | None = None,
        *,
        n_workers: int | None = None,
        asynchronous: bool = False,
        loop: Any = None,
        quiet: bool = False,
        silence_logs: int | bool = logging.WARN,
        shutdown_on_close: bool = True,
        **options: Any,
    ) -> None:
        refuse_unknown(options, [*Options.names(), *_OWN])
        self.options = resolve_options(jobs, n_workers, options)
        self.pools: list[NodePool] = []  # empty until the cluster starts
        self.adaptive = AdaptivePools()
        self.changed = asyncio.Event()  # set whenever a node changes its state
        self.view = NodeHistory(
            self.options.name,
            lambda: {pool.name: pool.registry for pool in self.pools},
            lambda: {pool.name: pool.wanted for pool in self.pools},
        )
        self.summary = NodeSummary(self.view)
        self.lifecycle = Lifecycle(self, quiet=quiet, silence_logs=silence_logs)
        self._representation = Representation(self)
        self._pid = os.getpid()
        try:
            super().__init__(
                # Only for what the base class does with it: names are a pool's.
                worker=node_spec(next(iter(self.options.pools.values()), self.options)),
                scheduler={"cls": ClusterScheduler, "options": {}},
                asynchronous=asynchronous,
                loop=loop,
                security=security_of(self.options.security, self.options.name),
                name=self.options.name,
                shutdown_on_close=shutdown_on_close,
            )
        except BaseException:
            if runner := getattr(self, "_loop_runner", None):
                runner.stop()  # the base class leaves its thread running
            raise

    # Start and end: each is one shielded task, see `Lifecycle`

    async def _start(self) -> None:
        try:
            await self.lifecycle.start()
        except GridEngineError as exc:
            raise exc.with_traceback(None) from None  # as `short_traceback` does

    async def _close(self) -> None:
        await self.lifecycle.close()
        self._representation.show_again()

    def close(self, timeout: float | None = None) -> Any:
        """Give all nodes back. Bounded in time, and idempotent.

        A fork of this process has none of its threads: there it does nothing, neither
        at Python's exit nor at the end of a ``with``.
        """
        return super().close(timeout) if os.getpid() == self._pid else None

    @short_traceback
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
        except BaseException:  # also when cancelled, unlike the base class
            await asyncio.shield(self._close())
            raise

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise ClusterNotRunning(self.name, "forked")

    def _require_running(self) -> None:
        self._require_own_process()
        if self.status is not Status.running:
            raise ClusterNotRunning(self.name, self.status.name)

    def _require_started(self) -> BlockedTasks:
        """Raise `ClusterNotRunning` before the start, but not after the end."""
        self._require_own_process()
        if self.lifecycle.blocked is None:
            raise ClusterNotRunning(self.name, self.status.name)
        return self.lifecycle.blocked

    # Pools

    @short_traceback
    def pool(self, name: str | None = None) -> NodePool:
        """The pool of this name; without one, the only pool.

        Raises
        ------
        OptionError
            If there is no such pool, or several and no name.
        ClusterNotRunning
            If the cluster has not started.
        """
        only = name is None and len(self.options.pools) <= 1
        if only or name in self.options.pools:
            if not self.pools:
                raise ClusterNotRunning(self.name, self.status.name)
            return next(pool for pool in self.pools if only or pool.name == name)
        wrong = "several pools" if name is None else f"no pool {name!r}"
        there = ", ".join(self.options.pools)
        raise OptionError(
            f"{self.name} has {wrong}",
            hint=f"name one of {there}" if there else "leave out pool=",
        )

    def _started_pools(self) -> list[NodePool]:
        self._require_started()
        return self.pools

    # Scaling

    @short_traceback
    def scale(
        self,
        n: int | None = None,
        memory: str | float | None = None,
        cores: int | None = None,
        *,
        jobs: int | Mapping[str, int] | None = None,
        pool: str | None = None,
    ) -> Any:
        """Request this many workers; returns when the grid has queued their nodes.

        Give one or several; the largest counts, in whole nodes. From then on the
        cluster keeps that number: lost nodes are replaced. When it shrinks, queued
        nodes are deleted first, the newest first; then idle workers leave, then those
        that hold the least data. They finish their running tasks (for
        ``finish-timeout``), and their data is moved.

        In an event loop ``worker_spec`` changes at once, and the grid is asked later.
        If Grid Engine does not answer, the nodes are submitted when it does.

        Parameters
        ----------
        n
            Workers.
        memory
            Bytes in all, or e.g. ``"1 TB"``; needs the cluster's ``memory=``.
        cores
            Threads in all.
        jobs
            Nodes. One node is one worker, or as many as ``processes`` says. For several
            pools at once, a dict: number of nodes by pool; other pools do not change.
        pool
            The pool to scale, if there are several; not needed for zero.

        Raises
        ------
        OptionError
            If no number is given or a value is invalid, or if there are several pools
            and none is named.
        SubmitError
            If the grid rejects the nodes; existing workers remain. In an event loop,
            the returned task raises it.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        numbers = {"n": n, "jobs": jobs, "cores": cores, "memory": memory}
        counts = nodes_by_pool(self, numbers, pool)
        if self.status is not Status.closing or any(counts.values()):
            self._require_running()  # Dask's close() calls scale(0)
        self._stop_adapting(counts)
        if self.asynchronous or self.called_from_running_loop:
            return self.lifecycle.in_background(self._scale(counts))
        return self.sync(self._scale, counts)

    # SpecCluster binds its own `scale` to this name.
    scale_up = scale

    def _scale(
        self, counts: Mapping[NodePool, int], *, by_user: bool = True
    ) -> Coroutine[Any, Any, None]:
        """Change ``worker_spec`` now; the coroutine runs the pass."""
        if self.lifecycle.ending:
            if any(counts.values()):
                raise ClusterNotRunning(self.name, self.status.name)
            counts = {}
        changes = {
            pool: pool.scale(count, by_user=by_user) for pool, count in counts.items()
        }
        return self._reconcile_scaled(changes, by_user=by_user)

    async def _reconcile_scaled(
        self, changes: Mapping[NodePool, tuple[list[str], list[str]]], *, by_user: bool
    ) -> None:
        if not changes:
            return
        failed = await self._correct_state()
        if self.lifecycle.ending and any(added for added, _ in changes.values()):
            raise ClusterNotRunning(self.name, Status.closed.name)
        rejected: list[LauncherError] = []
        for pool, (added, dropped) in changes.items():
            if by_user or dropped:
                self.lifecycle.release(pool.give_back_places())
            error = failed.get(pool)
            if not error or not (by_user or added):
                continue
            if not isinstance(error, DrmCommunicationError | GridFull):
                # These nodes will never come. Lost nodes may: they did before.
                pool.drop_names([n for n in added if n in pool.registry.unbound])
                pool.reconciler.clear_backoff()
                rejected.append(error)
        if rejected:
            raise rejected[0]

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up the nodes of these workers, by name, as adaptive scaling does.

        Their queue places are kept. A node that imports Dask just now stays.
        """
        if self.status is not Status.closing:  # while it closes all nodes go anyhow
            self._require_running()
        pools = set()
        for name in nodes_of(workers):
            if (pool := pool_of(self.pools, name)) is None:
                continue
            pools.add(pool)
            record = pool.registry.by_worker.get(name)
            if record is None or record.state is not NodeState.IMPORTING:
                pool.drop_names([name])
        for pool in pools:
            pool.reconciler.note_scaled(pool.wanted, 0, by_user=False)
        await self._correct_state()

    # SpecCluster's own passes retire by address what they know by name, and so lose
    # data (dask/distributed#4069); hold the lock while they wait for workers; and leave
    # a zombie where a start fails.

    def _correct_state(self) -> asyncio.Future[dict[NodePool, LauncherError]]:
        # Several callers await the same task: cancelling one must not cancel it.
        return asyncio.shield(super()._correct_state())

    async def _correct_state_internal(self) -> dict[NodePool, LauncherError]:
        """Run one pass of each pool; returns the errors of launchers that refused."""
        async with self._lock:
            self._correct_state_waiting = None
            if self.lifecycle.ending:
                return {}
            passes = {
                pool: self.lifecycle.until_closed(pool.reconcile())
                for pool in self.pools
            }
            await asyncio.wait(passes.values())
            if any(task.cancelled() for task in passes.values()):
                raise ClusterNotRunning(self.name, Status.closed.name)
            errors = {pool: task.result() for pool, task in passes.items()}
            return {pool: error for pool, error in errors.items() if error is not None}

    def _request_pass(self) -> None:
        """Run a pass soon; nothing waits for it."""
        if self._correct_state_waiting is not None:
            return  # one waits already
        if self.status is Status.running and not self.lifecycle.ending:
            self.lifecycle.in_background(self._reconcile())

    async def _reconcile(self) -> None:
        await self._correct_state()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        known = self.scheduler_info["workers"]
        if op == "add":
            for address, info in msg["workers"].items():
                if ws := self.scheduler.workers.get(address):
                    info["status"] = ws.status.name  # it may have changed since
                pool = pool_of(self.pools, info["name"])
                record = pool.registered(info["name"]) if pool else None
                if record and self.lifecycle.reachability is not None:
                    self.lifecycle.reachability.check(record.host, address)
        elif msg not in known:
            return  # polling has removed it already
        # Not SpecCluster's own: it would start a lost name again.
        Cluster._update_worker_status(self, op, msg)

    # Adaptive scaling

    @short_traceback
    def adapt(
        self,
        Adaptive: Any = GridAdaptive,
        *,
        pool: str | None = None,
        idle_grace: float | str | None = None,
        **options: Any,
    ) -> Any:
        """Scale the number of workers with the work.

        Parameters
        ----------
        pool
            The pool to scale; by default each pool, for the tasks that it is for.
        minimum_jobs, maximum_jobs
            Nodes. Without a maximum as many as make `ADAPTIVE_MAXIMUM` workers.
        minimum, maximum, minimum_cores, maximum_cores, minimum_memory, maximum_memory
            The same in workers, threads and bytes.
        idle_grace
            Seconds for which an idle node is kept; ``idle-grace`` by default.
        wait_count
            The same in intervals; if both are given, the longer one counts.
        interval, target_duration, worker_key
            As in `distributed.deploy.Adaptive`.
        **options
            Options of the class that is given as `Adaptive`. Options of earlier calls
            do not count.

        Returns
        -------
        Adaptive or AdaptivePools
            The adaptive scaling; with several pools a dict of them.

        Raises
        ------
        UnknownOption
            If there is no such option (it is a TypeError, too).
        OptionError
            If a value is invalid. Adaptive scaling goes on as before then.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        self._require_running()
        several = pool is None and self.options.pools
        pools = self.pools if several else [self.pool(pool)]
        self.adaptive.start(self, Adaptive, pools, idle_grace, options)
        self._adaptive = self.adaptive  # Dask's widget stops it
        return self.adaptive if self.options.pools else self.adaptive[pools[0].name]

    async def scale_adaptively(self, count: int, pool: NodePool) -> None:
        """As ``scale(n=count)``, but failures are not cleared.

        Adaptive scaling requests the same number again and again; lost nodes are left
        to the replacement budget.
        """
        await self._scale({pool: pool.options.nodes(count)}, by_user=False)

    def _stop_adapting(self, pools: Iterable[NodePool]) -> None:
        """End adaptive scaling, which would change the user's number in a second."""
        if self.status is not Status.running:
            return
        for pool in self.adaptive.end(pools):
            name = f" of {pool.name}" if pool.name else ""
            self._log(f"adaptive scaling{name} is off: scale() was called")

    # What there is

    def jobs(self) -> JobTable:
        """All nodes that are not gone, and the last 2,000 of each pool that are.

        In the order of submission, with their states. `counts` has the number of all.
        Also after `close`, as are `explain`, `job_script` and `counts`.
        """
        dropped = sum(p.registry.dropped.total() for p in self._started_pools())
        return JobTable(self._records, dropped=dropped)

    @property
    def wanted(self) -> int:
        """Number of desired nodes: as scaled to, less those that users deleted."""
        return sum(pool.wanted for pool in self._started_pools())

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes are in each state, e.g. ``{"queued": 3}``; costs nothing."""
        counts = [pool.registry.shown() for pool in self._started_pools()]
        found = {s.value: sum(each[s] for each in counts) for s in NodeState}
        return {state: count for state, count in found.items() if count}

    @property
    def launcher_description(self) -> str:
        """What starts the nodes, e.g. "Grid Engine through DRMAA (SGE 8.1.9)"."""
        return self._started_pools()[0].launcher.description

    @property
    def waiting(self) -> list[str]:
        """Names of desired nodes that have not arrived, oldest first in each pool."""
        return [name for pool in self._started_pools() for name in pool.waiting]

    # Dask's own iterate over dicts that the event loop changes in another thread.

    @property
    def plan(self) -> set[str]:
        """Names of the desired workers, for adaptive scaling."""
        return _worker_names((pool, pool.names) for pool in self._started_pools())

    @property
    def requested(self) -> set[str]:
        """Names of the desired workers whose nodes have been submitted."""
        return _worker_names((pool, pool.requested) for pool in self._started_pools())

    @property
    def observed(self) -> set[str]:
        """Names of the workers that are there, without those that are replaced."""
        self._require_started()
        infos = list(self.scheduler_info["workers"].values())
        return {i["name"] for i in infos if not self._rotating(i["name"])}

    def _rotating(self, worker: Any) -> bool:
        pool = pool_of(self.pools, worker)
        record = pool.registry.bearing(worker) if pool else None
        return record is not None and record.rotating

    @property
    def _records(self) -> list[NodeRecord]:
        """All nodes that are kept, in the order of submission."""
        records = [record for pool in self.pools for record in pool.registry]
        if len(self.pools) > 1:
            records.sort(key=lambda record: record.submitted)
        return records

    @short_traceback
    def explain(self, worker: str | None = None) -> str:
        """Explain what the nodes do, why others ended, and what to type next.

        Parameters
        ----------
        worker
            The name of a worker or its node (``"ge-3"``) or the id of a job
            (``"123.7"``), for everything that is known of it. By default all nodes,
            similar ones together.

        Raises
        ------
        OptionError
            If no such worker or job is known: it never existed, or ended long ago, see
            `jobs`.
        ClusterNotRunning
            If the cluster has not started.
        """
        blocked = self._require_started()
        if worker is not None:
            return Text(explain_named(self.name, self.pools, worker, blocked))
        if self.status is Status.closed:
            return Text(f"{self.name} is closed.\n{self.problems()}".rstrip())
        return Text(self.problems(numbers=True))

    def problems(self, *, numbers: bool = False) -> str:
        """What `explain` says beside the `numbers` of nodes; "" before the start."""
        if self.lifecycle.blocked is None:
            return ""
        lines = [explain(self.pools, numbers=numbers)]
        if self.lifecycle.reachability is not None:
            lines += self.lifecycle.reachability.failed.values()
        lines += [*self.lifecycle.blocked.findings, *hints(self)]
        return "\n".join(filter(None, lines))

    @short_traceback
    def job_script(self, pool: str | None = None) -> str:
        """What is submitted for one node, as a script with comments.

        Parameters
        ----------
        pool
            The pool, if there are several.
        """
        self._require_started()
        found = self.pool(pool)
        return render(found.options, found.request, found.launcher, found.reports.added)

    def stuck(self) -> NodesFailed | None:
        """Why no worker will come any more, as far as that can be known.

        Cheap, and safe in any thread: call it once a second while you wait for results.

        Returns
        -------
        NodesFailed or None
            None while a worker runs, a node may still become one, or none is requested.
            The cluster goes on to submit a single node now and then, and `scale` has
            it try again at once.
        """
        pools = self.pools
        deleted = any(pool.reconciler.deleted_nodes for pool in pools)
        requested = deleted or any(pool.wanted for pool in pools)
        if self.status is not Status.running or not requested:
            return None
        return missing_workers_error(pools, self.scheduler, 1)

    @property
    def in_process_address(self) -> str:
        """Address of the scheduler for clients in this very process (``inproc://``).

        It needs no encryption, no serialisation and no socket, and no other process
        can use it. With ``loop=cluster.loop`` the client needs no thread either.

        Examples
        --------
        >>> client = Client(  # doctest: +SKIP
        ...     cluster.in_process_address,
        ...     security=cluster.security,
        ...     loop=cluster.loop,
        ... )
        """
        self._require_running()
        return str(self.scheduler.in_process_address)

    # Waiting for workers, and failures

    async def _wait_for_workers(
        self, n_workers: int = 0, timeout: float | str | None = None
    ) -> None:
        await wait_for_workers(
            self.pools,
            self.scheduler,
            n_workers,
            timeout,
            remarks=lambda: self._require_started().findings,
            hints=lambda: hints(self),
        )
        # The subscription that keeps it up to date may be some milliseconds late.
        self.scheduler_info = SchedulerInfo(self.scheduler.identity())

    @short_traceback
    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> Any:
        """As Dask's, but it also ends when the workers cannot come any more.

        Raises
        ------
        NodesFailed
            If nodes have failed and those left cannot be enough.
        TimeoutError
            After `timeout` seconds; it tells the states of the nodes.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        self._require_running()
        return super().wait_for_workers(n_workers, timeout)

    def _on_persistent_failure(self, pool: NodePool) -> None:
        """Give the reasons to tasks that need a worker which cannot come."""
        if pool.reconciler.persistent_failure is None and pool.adapts:
            return  # all were deleted, but it requests new ones for work that waits
        if error := self.stuck():
            self.scheduler.fail_waiting(error)
        elif error := missing_workers_error([pool], self.scheduler, 1, others=False):
            self._require_started().fail_tasks_of(pool, error)

    def _on_resume(self, seconds: float) -> None:
        """This process was suspended, or its event loop blocked."""
        self.note(
            f"This process was suspended for {format_duration(seconds)}. Workers that"
            " lost their connection will be replaced"
        )

    # Logs and representation

    def note(self, text: str) -> None:
        """Add a line to the cluster's log, ``cluster.get_logs()["Cluster"]``."""
        # Not `_log`, which prints: the caller has logged it.
        self._cluster_manager_logs.append((datetime.now(), text))
        del self._cluster_manager_logs[:-NOTES_KEPT]

    @short_traceback
    def get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | str | Collection[str] = True,
    ) -> Any:
        """As Dask's, and with the last lines of nodes that have ended.

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
        live = addresses(self.scheduler, workers)
        logs = await super()._get_logs(cluster, scheduler, live)
        logs.update(log_tail(self._records, workers))
        return logs

    @short_traceback
    def timeline(self, path: str | Path | None = None) -> Any:
        """Draw the run: a bar for each node, coloured by its state.

        Below are the numbers of nodes in each state. Also after `close`.

        Parameters
        ----------
        path
            Where to save it as well, as ``.html``; it needs no network to be shown.

        Returns
        -------
        bokeh.models.Model
            For ``bokeh.io.show``; in a notebook after
            ``bokeh.io.output_notebook(bokeh.resources.INLINE)``, which loads nothing.

        Raises
        ------
        OptionError
            If bokeh is not installed, or `path` does not end in ``.html``.
        ClusterNotRunning
            If the cluster has not started.
        """
        self._require_started()
        try:
            from dask_gridengine.views.timeline import draw, save
        except ImportError:
            raise OptionError(
                "timeline() draws with bokeh, which is not installed",
                hint="pip install bokeh",
            ) from None

        picture = draw(self.view)
        if path is not None:
            save(picture, Path(path), title=f"{type(self).__name__} {self.name}")
        return picture

    def __repr__(self) -> str:
        return self._representation.line(hints(self))

    def _repr_html_(self, cluster_status: Any = None) -> str:
        if not self.pools:
            return str(super()._repr_html_(cluster_status))
        return self._representation.html(self.problems().splitlines())

    @property
    def _cluster_class_name(self) -> str:
        # Dask takes a cluster's name for that of its class.
        return type(self).__name__

    def _scaling_status(self) -> str:
        return ""  # beside Dask's controls; the table has it

    def _widget(self) -> Any:
        # Dask's controls cannot name a pool.
        return None if self.options.pools else super()._widget()

    def _ipython_display_(self, **kwargs: Any) -> None:
        self._representation.show()


def _worker_names(named: Iterable[tuple[NodePool, list[str]]]) -> set[str]:
    return {
        node + suffix
        for pool, nodes in named
        for suffix in suffixes(pool.options.processes)
        for node in nodes
    }
