"""`GridEngineCluster`: a Dask cluster whose workers are Grid Engine jobs."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

from distributed.core import Status

from dask_gridengine.adaptive import ADAPTIVE_MAXIMUM, GridAdaptive
from dask_gridengine.config import Options, refuse_unknown
from dask_gridengine.errors import OptionError
from dask_gridengine.explain import explain, explain_node
from dask_gridengine.jobscript import render
from dask_gridengine.jobtable import JobTable
from dask_gridengine.names import node_of
from dask_gridengine.nodes import NodeState
from dask_gridengine.reconciled import ReconciledCluster
from dask_gridengine.scaling import target

_OWN = (
    "asynchronous",
    "loop",
    "n_workers",
    "quiet",
    "silence_logs",
    "shutdown_on_close",
)


class GridEngineCluster(ReconciledCluster):
    """A Dask cluster on Grid Engine, or on local processes where there is none.

    Parameters
    ----------
    jobs
        Nodes to ask for at once, as one array. Each becomes one worker, or as many as
        ``processes`` says.
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
        name lists them all.

    Raises
    ------
    TypeError
        If there is no such option.
    OptionError
        If a value makes no sense.
    LauncherUnavailable
        If the launcher asked for cannot be had here.
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
        jobs: int | None = None,
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
        asked = n_workers if jobs is None else jobs
        resolved = Options.resolve({**options, "jobs": asked})
        if n_workers is not None:
            wanted = resolved.nodes(n_workers)
            if jobs is not None and jobs != wanted:
                raise OptionError(f"jobs={jobs} and n_workers={n_workers}: give one")
            resolved = replace(resolved, jobs=wanted)
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
        jobs: int | None = None,
    ) -> Any:
        """Ask for this many workers; returns when the grid has queued their nodes.

        Give one or several; the largest counts, in whole nodes. From then on the
        cluster keeps that number by itself: what is lost is replaced. On the way down,
        places in the queue go first, the newest first; then idle workers, then those
        that hold least. They
        finish what they run (for ``finish-timeout``), and their data is moved.

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
            Nodes. One node is one worker, or as many as ``processes`` says.

        Raises
        ------
        SubmitError
            If the grid refuses; the workers there were remain. In an event loop, the
            returned task raises it.
        """
        count = target(self.options, n=n, jobs=jobs, cores=cores, memory=memory)
        self._stop_adapting()
        if self.asynchronous or self.called_from_running_loop:
            return self._in_background(self._scale(count))
        return self.sync(self._scale, count)

    # SpecCluster binds its own `scale` to this name.
    scale_up = scale

    def jobs(self) -> JobTable:
        """Every node ever asked for, in the order of submission, with its state."""
        return JobTable(self._fleet.roster)

    @property
    def wanted(self) -> int:
        """How many nodes there shall be: what was scaled to, less what was deleted."""
        return self._upkeep.desired

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes are in each state, e.g. ``{"queued": 3}``; costs nothing."""
        counts = self._fleet.roster.counts
        return {state.value: counts[state] for state in NodeState if counts[state]}

    @property
    def launcher_description(self) -> str:
        """What starts the nodes, e.g. "Grid Engine through DRMAA (SGE 8.1.9)"."""
        return self._fleet.launcher.description

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
            If there never was such a worker or job.
        """
        if worker is None:
            return explain(self._upkeep)
        for record in self._fleet.roster:
            if node_of(worker) in (record.worker, str(record.id)):
                return explain_node(record)
        raise OptionError(
            f"{self.name} never had a worker or a job {worker!r}; cluster.jobs() lists"
            " them"
        )

    def job_script(self) -> str:
        """What is submitted for one node, as a script for ``qsub``, with remarks."""
        return render(self.options, self._fleet.request, self._fleet.launcher)

    def adapt(
        self,
        Adaptive: Any = GridAdaptive,
        *,
        minimum_jobs: int | None = None,
        maximum_jobs: int | None = None,
        idle_grace: float | str | None = None,
        **options: Any,
    ) -> Any:
        """Let the number of workers follow the work.

        Parameters
        ----------
        minimum_jobs, maximum_jobs
            Nodes; at most as many as make `ADAPTIVE_MAXIMUM` workers where nothing is
            said.
        minimum, maximum, minimum_cores, maximum_cores, minimum_memory, maximum_memory
            The same in workers, threads and bytes.
        idle_grace
            Seconds a node is kept that has nothing to do; ``idle-grace`` by default.
        **options
            Of `distributed.deploy.Adaptive`, e.g. ``interval``. They are those of this
            call alone.
        """
        for bound, jobs in (("minimum", minimum_jobs), ("maximum", maximum_jobs)):
            if jobs is not None:
                if options.get(bound) is not None:
                    raise OptionError(f"{bound} and {bound}_jobs: give one")
                options[bound] = jobs * self.options.processes
        self._adaptive_options: dict[str, Any] = {}
        options.setdefault("maximum", ADAPTIVE_MAXIMUM)
        if issubclass(Adaptive, GridAdaptive):
            grace = self.options.idle_grace if idle_grace is None else idle_grace
            options["idle_grace"] = grace
        return super().adapt(Adaptive=Adaptive, **options)

    async def scale_adaptively(self, count: int) -> None:
        """As ``scale(n=count)``, but nothing that has failed is forgiven.

        What was lost is left to the reconciler, which has a budget: adaptive scaling
        says the same number again and again.
        """
        await self._scale(self.options.nodes(count), anew=False)

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
        return str(self.scheduler.in_process_address)

    def close(self, timeout: float | None = None) -> Any:
        """Give all nodes back. Bounded in time, and idempotent.

        A fork of this process has none of its threads: it closes nothing, neither at
        its exit nor when it leaves a ``with``, and does not wait for what cannot come.
        """
        return super().close(timeout) if os.getpid() == self._pid else None

    def _stop_adapting(self) -> None:
        """The user's number counts; adaptive scaling would change it in a second."""
        adaptive = getattr(self, "_adaptive", None)
        if adaptive is not None and self.status is Status.running:
            adaptive.stop()
            del self._adaptive
            self._log("adaptive scaling is off: scale() was called")
