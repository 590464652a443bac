"""`GridEngineCluster`: a Dask cluster whose workers are Grid Engine jobs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from distributed.core import Status

from dask_gridengine.cluster.adaptive import (
    ADAPT_OPTIONS,
    ADAPTIVE_MAXIMUM,
    AdaptivePools,
    GridAdaptive,
)
from dask_gridengine.cluster.demand import workers_of_pool
from dask_gridengine.cluster.explain import explain_node
from dask_gridengine.cluster.job_script import render
from dask_gridengine.cluster.pool import Pool
from dask_gridengine.cluster.representation import ShownCluster
from dask_gridengine.cluster.scaling import bounds, target, whole
from dask_gridengine.errors import OptionError
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.job_table import JobTable
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.unknown_options import refuse_unknown

_OWN = (
    "asynchronous",
    "loop",
    "n_workers",
    "quiet",
    "silence_logs",
    "shutdown_on_close",
)


class GridEngineCluster(ShownCluster):
    """A Dask cluster on Grid Engine, or on local processes where there is none.

    Parameters
    ----------
    jobs
        Nodes to ask for at once, as one array. Each becomes one worker, or as many as
        ``processes`` says. Where there are pools, a dict: pool to its number.
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
        resource_spec, parallel_environment, launcher, security, and others. A wrong
        name lists them all. ``pools`` are several kinds of nodes: a dict of dicts of
        options, by name.

    Raises
    ------
    TypeError
        If there is no such option.
    OptionError
        If a value makes no sense.
    LauncherUnavailable
        If the launcher asked for cannot be had here, or a grid is set up (SGE_ROOT,
        DRMAA_LIBRARY_PATH) and does not work; ``launcher="process"`` needs no grid.
    SubmitError
        If the grid refuses the array.

    Examples
    --------
    >>> from dask.distributed import Client
    >>> with GridEngineCluster(  # doctest: +SKIP
    ...     jobs=2, launcher="process", quiet=True
    ... ) as cluster, Client(cluster) as client:
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """

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
        resolved = _resolve(jobs, n_workers, options)
        super().__init__(
            resolved,
            asynchronous=asynchronous,
            loop=loop,
            quiet=quiet,
            silence_logs=silence_logs,
            shutdown_on_close=shutdown_on_close,
        )

    def scale(
        self,
        n: int | None = None,
        memory: str | float | None = None,
        cores: int | None = None,
        *,
        jobs: int | Mapping[str, int] | None = None,
        pool: str | None = None,
    ) -> Any:
        """Ask for this many workers; returns when the grid has queued their nodes.

        Give one or several; the largest counts, in whole nodes. From then on the
        cluster keeps that number by itself: what is lost is replaced. On the way down,
        places in the queue go first, the newest first; then idle workers, then those
        that hold least. They
        finish what they run (for ``finish-timeout``), and their data is moved.
        In an event loop ``worker_spec`` changes at once, and the grid is asked later.

        If Grid Engine does not answer, what is missing is asked for when it does.

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
            pools at once, a dict: pool to its number; the others stay as they are.
        pool
            Which kind of nodes, where there are several; zero may be said of all.

        Raises
        ------
        OptionError
            If there are several pools and it is not said which.
        SubmitError
            If the grid refuses; the workers there were remain. In an event loop, the
            returned task raises it.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        counts = self._counts(n, memory, cores, jobs, pool)
        if self.status is not Status.closing or any(counts.values()):
            self._require_running()  # Dask's close() says scale(0)
        self._stop_adapting(counts)
        if self.asynchronous or self.called_from_running_loop:
            return self._in_background(self._scale(counts))
        return self.sync(self._scale, counts)

    def _counts(
        self,
        n: int | None,
        memory: str | float | None,
        cores: int | None,
        jobs: int | Mapping[str, int] | None,
        pool: str | None,
    ) -> dict[Pool, int]:
        if isinstance(jobs, Mapping):
            if any(given is not None for given in (n, memory, cores, pool)):
                raise OptionError("scale(jobs={pool: number}) says all: nothing beside")
            return {self.pool(name): _nodes(name, n) for name, n in jobs.items()}
        several = pool is None and len(self._pools) > 1
        pools = self._pools.values() if several else [self.pool(pool)]
        counts = {
            each: target(each.options, n=n, jobs=jobs, cores=cores, memory=memory)
            for each in pools
        }
        if several and any(counts.values()):
            self.pool(None)  # says that it needs a name
        return counts

    # SpecCluster binds its own `scale` to this name.
    scale_up = scale

    def jobs(self) -> JobTable:
        """All nodes that are not gone, and the last 2,000 of each pool that are.

        In the order of submission, with their states. `counts` has the number of all.
        Also after `close`, as are `explain`, `job_script`, `counts` and `wanted`.
        """
        rosters = [pool.fleet.registry for pool in self._pools.values()]
        dropped = sum(registry.dropped.total() for registry in rosters)
        return JobTable(self._records, dropped=dropped)

    @property
    def wanted(self) -> int:
        """How many nodes there shall be: what was scaled to, less what was deleted."""
        return sum(pool.wanted for pool in self._pools.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes are in each state, e.g. ``{"queued": 3}``; costs nothing."""
        counts = [pool.fleet.registry.shown() for pool in self._pools.values()]
        found = {s.value: sum(each[s] for each in counts) for s in NodeState}
        return {state: count for state, count in found.items() if count}

    @property
    def launcher_description(self) -> str:
        """What starts the nodes, e.g. "Grid Engine through DRMAA (SGE 8.1.9)"."""
        first = next(iter(self._pools.values()))
        return first.fleet.launcher.description

    def explain(self, worker: str | None = None) -> str:
        """Say what the nodes are at, why others ended, and what to type next.

        Parameters
        ----------
        worker
            The name of a worker or its node (``"ge-3"``) or the id of a job
            (``"123.7"``), for all that is known of that one; by default of all, alike
            ones together.

        Raises
        ------
        OptionError
            If no such worker or job is known: there never was one, or it ended long
            ago, see `jobs`.
        ClusterNotRunning
            If the cluster has not started.
        """
        self._require_started()
        if worker is None:
            return self._explain_all()
        node = node_of(worker)
        # Ids are one pool's on local processes, where each pool has a grid of its own.
        if found := [r for r in self._records if node in (r.worker, str(r.id))]:
            return "\n".join(
                line
                for record in found
                for line in (
                    explain_node(record),
                    *self._why_it_queues(record),
                    *self._waiting.about(record.worker or ""),
                )
            )
        raise OptionError(
            f"{self.name} never had a worker or a job {worker!r}, or it ended long ago;"
            " cluster.jobs() lists those that are kept"
        )

    def _why_it_queues(self, record: NodeRecord) -> list[str]:
        if record.state is not NodeState.QUEUED:
            return []
        fleets = (pool.fleet for pool in self._pools.values())
        reports = next(f for f in fleets if f.pool == record.pool).reports
        return [f"why it queues: {reason}" for reason in reports.reasons]

    def job_script(self, pool: str | None = None) -> str:
        """What is submitted for one node, as a script for ``qsub``, with remarks.

        Parameters
        ----------
        pool
            Which kind of nodes, where there are several.
        """
        found = self.pool(pool)
        fleet = found.fleet
        return render(found.options, fleet.request, fleet.launcher, fleet.reports.added)

    def adapt(
        self,
        Adaptive: Any = GridAdaptive,
        *,
        pool: str | None = None,
        idle_grace: float | str | None = None,
        **options: Any,
    ) -> Any:
        """Let the number of workers follow the work.

        Parameters
        ----------
        pool
            The kind of nodes that does, where there are several; all of them if it is
            left out, each for the tasks that it is for.
        minimum_jobs, maximum_jobs
            Nodes; at most as many as make `ADAPTIVE_MAXIMUM` workers where nothing is
            said.
        minimum, maximum, minimum_cores, maximum_cores, minimum_memory, maximum_memory
            The same in workers, threads and bytes.
        idle_grace
            Seconds a node is kept that has nothing to do; ``idle-grace`` by default.
        wait_count
            The same in intervals; if both are given, the longer one counts.
        interval, target_duration, worker_key
            As in `distributed.deploy.Adaptive`.
        **options
            Of the class that is given as `Adaptive`. All options are those of this
            call alone.

        Returns
        -------
        Adaptive or AdaptivePools
            The adaptive scaling, or where there are pools, a dict of them.

        Raises
        ------
        TypeError
            If there is no such option.
        OptionError
            If a bound makes no sense. What was adapted before goes on then.
        ClusterNotRunning
            If the cluster has not started, or is closed.
        """
        self._require_running()
        if Adaptive is GridAdaptive:
            refuse_unknown(options, ADAPT_OPTIONS, "adapt()")
        if not issubclass(Adaptive, GridAdaptive):
            unknown = "pools" if self.options.pools else "idle_grace"
            if self.options.pools or idle_grace is not None:
                name = Adaptive.__name__
                raise OptionError(f"{name} knows no {unknown}: use GridAdaptive")
        several = pool is None and self.options.pools
        pools = list(self._pools.values()) if several else [self.pool(pool)]
        made = {
            each.name: self._adaptive_of(each, Adaptive, idle_grace, options)
            for each in pools
        }
        self._adapt_no_more(pools)
        adaptive: Any = next(iter(made.values()))
        if self.options.pools:
            adaptive = getattr(self, "_adaptive", None) or AdaptivePools()
            adaptive.update(made)
        self._adaptive = adaptive
        return adaptive

    def _adaptive_of(
        self,
        pool: Pool,
        Adaptive: Any,
        idle_grace: float | str | None,
        options: dict[str, Any],
    ) -> Any:
        rest = dict(options)
        minimum, maximum = bounds(pool.options, rest)
        if options.get("maximum") is None and options.get("maximum_jobs") is None:
            maximum = min(maximum, max(ADAPTIVE_MAXIMUM, minimum))
        if issubclass(Adaptive, GridAdaptive):
            rest |= {"idle_grace": idle_grace, "pool": pool}
        return Adaptive(self, minimum=minimum, maximum=maximum, **rest)

    def num_paused(self, pool: Pool) -> int:
        """Workers of one kind that Dask has paused for long, while work waits."""
        return self._waiting.lasting[pool.name]

    def demand(self, pool: Pool, seconds: float) -> int:
        """Workers of a pool that the tasks are worth which are for it.

        Parameters
        ----------
        pool
            The kind of nodes.
        seconds
            How long a task must take to be worth a worker.
        """
        return workers_of_pool(self.scheduler, self._requirements, pool, seconds)

    async def scale_adaptively(self, count: int, pool: Pool | None = None) -> None:
        """As ``scale(n=count)``, but nothing that has failed is forgiven.

        What was lost is left to the reconciler, which has a budget: adaptive scaling
        says the same number again and again.
        """
        pool = pool or self.pool()
        await self._scale({pool: pool.options.nodes(count)}, anew=False)

    @property
    def in_process_address(self) -> str:
        """Where a client in this very process reaches the scheduler (``inproc://``).

        There is no encryption, no serialisation and no socket on this way, and nobody
        else can take it. With ``loop=cluster.loop`` the client needs no thread either.

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

    def close(self, timeout: float | None = None) -> Any:
        """Give all nodes back. Bounded in time, and idempotent.

        A fork of this process has none of its threads: it closes nothing, neither at
        its exit nor when it leaves a ``with``, and does not wait for what cannot come.
        """
        return super().close(timeout) if os.getpid() == self._pid else None

    def _stop_adapting(self, pools: Iterable[Pool]) -> None:
        """The user's number counts; adaptive scaling would change it in a second."""
        if self.status is not Status.running:
            return
        for pool in self._adapt_no_more(pools):
            name = f" of {pool.name}" if pool.name else ""
            self._log(f"adaptive scaling{name} is off: scale() was called")

    def _adapt_no_more(self, pools: Iterable[Pool]) -> list[Pool]:
        """Switch it off for these; for which of them it was on."""
        stopped = []
        for pool in pools:
            if self._adapts(pool):
                stopped.append(pool)
                if isinstance(self._adaptive, AdaptivePools):
                    self._adaptive.pop(pool.name).stop()
                else:
                    self._adaptive.stop()
                    self._adaptive = None
        return stopped

    def _adapts(self, pool: Pool) -> bool:
        adaptive = getattr(self, "_adaptive", None)
        if isinstance(adaptive, AdaptivePools):
            return pool.name in adaptive
        return adaptive is not None


def _resolve(
    jobs: int | Mapping[str, int] | None,
    n_workers: int | None,
    options: Mapping[str, Any],
) -> Options:
    """All options, with how many nodes of each kind there shall be at first."""
    by_pool = jobs if isinstance(jobs, Mapping) else {}
    asked = n_workers if jobs is None else jobs
    otherwise = isinstance(jobs, Mapping) or (jobs is None and n_workers is not None)
    resolved = Options.resolve({**options, "jobs": 0 if otherwise else jobs})
    pools = resolved.pools
    if pools and not isinstance(jobs, Mapping) and asked:
        raise OptionError(
            f"{asked} nodes of which pool? Give jobs={{{next(iter(pools))!r}: {asked}}}"
            f"; there are: {', '.join(pools)}"
        )
    if unknown := [name for name in by_pool if name not in pools]:
        there = ", ".join(pools) or "none: give pools={...}"
        raise OptionError(f"jobs: no pool {unknown[0]!r}. There are: {there}")
    for name, count in by_pool.items():
        pools[name] = replace(pools[name], jobs=_nodes(name, count))
    if n_workers is not None:
        wanted = resolved.nodes(whole("n_workers", n_workers, "workers"))
        if jobs is not None and jobs != wanted:
            raise OptionError(f"jobs={jobs} and n_workers={n_workers}: give one")
        resolved = replace(resolved, jobs=wanted)
    return resolved


def _nodes(pool: str, count: Any) -> int:
    return whole(f"jobs[{pool!r}]", count, "nodes")
