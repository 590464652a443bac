"""`GridEngineCluster`: a Dask cluster whose workers are Grid Engine jobs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Collection, Coroutine
from datetime import datetime
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_ip

from dask_gridengine import granted
from dask_gridengine.adaptive import ADAPTIVE_MAXIMUM, GridAdaptive
from dask_gridengine.allocation import Allocation, Hello
from dask_gridengine.allocator import allocate
from dask_gridengine.authority import security_of, worker_identity
from dask_gridengine.config import Options, refuse_unknown
from dask_gridengine.errors import DrmCommunicationError, NodesFailed, OptionError
from dask_gridengine.explain import explain, explain_node
from dask_gridengine.fleet import Callbacks, Fleet
from dask_gridengine.handle import NodeHandle
from dask_gridengine.jobscript import render
from dask_gridengine.jobtable import JobTable
from dask_gridengine.lastwords import addresses, last_words
from dask_gridengine.nodes import NodeRecord, NodeState
from dask_gridengine.notes import Annotator
from dask_gridengine.prospects import shortfall, wait_for_workers
from dask_gridengine.quiet import silenced
from dask_gridengine.retiring import release
from dask_gridengine.scaling import target, to_close
from dask_gridengine.scheduler import ClusterScheduler
from dask_gridengine.upkeep import Hands, Upkeep
from dask_gridengine.witness import FleetWitness

logger = logging.getLogger(__name__)

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
        Nodes to ask for at once, as one array. Each becomes one worker.
    n_workers
        The same, under the name other clusters use.
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
        if jobs is not None and n_workers is not None and jobs != n_workers:
            raise OptionError(f"jobs={jobs} and n_workers={n_workers}: give one")
        jobs = n_workers if jobs is None else jobs
        self.options = Options.resolve({**options, "jobs": jobs})
        self._wants_quiet, self._silence_logs = quiet, silence_logs
        self._silenced = contextlib.ExitStack()
        self._pid = os.getpid()
        self._counter = itertools.count()
        self._keep_places = False  # of names that are given up: adaptive scaling may
        self._background: set[asyncio.Future[Any]] = set()
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        security = security_of(self.options.security, self.options.name)
        self._tls = worker_identity(security)
        worker: dict[str, Any] = {
            "cls": NodeHandle,
            "options": {"nthreads": self.options.cores},
        }
        if self.options.memory:
            worker["options"]["memory_limit"] = self.options.memory
        names = [self._next_name() for _ in range(self.options.jobs)]
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

    # What users call

    def scale(
        self,
        n: int | None = None,
        memory: str | float | None = None,
        cores: int | None = None,
        *,
        jobs: int | None = None,
    ) -> Any:
        """Ask for this many workers; returns when the grid has queued them.

        Give one or several; the largest counts. From then on the cluster keeps that
        number by itself: what is lost is replaced. On the way down, places in the queue
        go first, the newest first; then idle workers, then those that hold least. They
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
            Nodes. One node is one worker.

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

    def explain(self, worker: str | None = None) -> str:
        """Say what the nodes are at, why others ended, and what to type next.

        Parameters
        ----------
        worker
            The name of a worker (``"ge-3"``) or the id of a job (``"123.7"``), for
            all that is known of that one; by default of all, alike ones together.

        Raises
        ------
        OptionError
            If there never was such a worker or job.
        """
        if worker is None:
            return explain(self._upkeep)
        for record in self._fleet.roster:
            if worker in (record.worker, str(record.id)):
                return explain_node(record)
        raise OptionError(
            f"{self.name} never had a worker or a job {worker!r}; cluster.jobs() lists"
            " them"
        )

    def job_script(self) -> str:
        """What is submitted for one node, as a script for ``qsub``, with remarks."""
        return render(self.options, self._fleet.request, self._fleet.launcher)

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

    def close(self, timeout: float | None = None) -> Any:
        """Give all nodes back. Bounded in time, and idempotent.

        A fork of this process has none of its threads: it closes nothing, neither at
        its exit nor when it leaves a ``with``, and does not wait for what cannot come.
        """
        return super().close(timeout) if os.getpid() == self._pid else None

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

    # What SpecCluster calls

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
        hands = Hands(
            planned=lambda: len(self.worker_spec),
            add=self._add,
            cancel=self._fleet.cancel,
            woke=self._woke,
            despair=self._despair,
            note=self._note,
        )
        missed = parse_timedelta(
            dask.config.get("distributed.deploy.lost-worker-timeout")
        )
        self._upkeep = Upkeep(self._fleet, hands, missed=missed)
        self._upkeep.want(len(self.worker_spec))
        try:
            await self._fleet.open()
            if self.options.launcher is None:
                self._log(f"dask-gridengine: {self._fleet.launcher.description}")
            if self.worker_spec:
                # Before there is a scheduler to go to: that starts while they do.
                await self._submit([*self.worker_spec])
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

    async def _open_scheduler(self) -> None:
        self.scheduler_spec["options"] = self._scheduler_options()
        with warnings.catch_warnings():
            # Dask asks for the route to 8.8.8.8, remembers the answer, and warns where
            # there is none, as on many a cell. Nodes do not depend on that answer.
            warnings.simplefilter("ignore", RuntimeWarning)
            get_ip()
        await super()._start()

    async def __aenter__(self) -> GridEngineCluster:
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
                await upkeep.stop()
            if fleet is not None:
                fleet.let_go(self.workers)
                await fleet.dismiss()
            self.worker_spec.clear()
            for handle in self.workers.values():
                handle.ended()
            self.workers.clear()
            for task in self._background:
                task.cancel()
            await super()._close()  # closes the scheduler, and so the workers
        finally:
            if fleet is not None:
                await fleet.aclose()
            self._silenced.close()
            self.status = Status.closed

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

    async def _submit(self, names: list[str]) -> None:
        try:
            await self._fleet.submit(names)
        except BaseException:
            for name in names:
                self.worker_spec.pop(name, None)
            raise
        for name in names:
            self.workers[name] = NodeHandle(name, self._stop)

    def new_worker_spec(self) -> dict[str, Any]:
        """The next worker's name, never used before, and its specification."""
        return {self._next_name(): self.new_spec}

    def _update_worker_status(self, op: str, msg: Any) -> None:
        workers = self.scheduler_info["workers"]
        if op == "add":
            for info in msg["workers"].values():
                self._fleet.registered(info["name"])
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
        """Give up these workers by name, as adaptive scaling does."""
        records = self._fleet.roster.by_worker
        for name in workers:
            record = records.get(name)
            if record is None or record.state is not NodeState.IMPORTING:
                self.worker_spec.pop(name, None)  # else: when it is there
        self._upkeep.plan(len(self.worker_spec))
        self._keep_places = True
        await self._correct_state()

    def adapt(self, Adaptive: Any = GridAdaptive, **options: Any) -> Any:
        """Let the number of workers follow the work.

        Parameters
        ----------
        minimum, maximum
            Workers; at most `ADAPTIVE_MAXIMUM` where nothing is said.
        minimum_cores, maximum_cores, minimum_memory, maximum_memory
            The same in other units.
        **options
            Of `distributed.deploy.Adaptive`, e.g. ``interval``. They are those of this
            call alone.
        """
        self._adaptive_options: dict[str, Any] = {}
        options.setdefault("maximum", ADAPTIVE_MAXIMUM)
        return super().adapt(Adaptive=Adaptive, **options)

    async def scale_adaptively(self, count: int) -> None:
        """As `scale`, but nothing that has failed is forgiven.

        What was lost is left to the reconciler, which has a budget: adaptive scaling
        says the same number again and again.
        """
        await self._scale(count, anew=False)

    # Steps of the above

    def _next_name(self) -> str:
        return f"ge-{next(self._counter)}"

    async def _scale(self, count: int, *, anew: bool = True) -> None:
        if self.status in (Status.closing, Status.closed):
            if count == 0:
                return  # the base class's close() asks for it; there is nobody left
            raise RuntimeError(f"{self.name} is closed: start a new cluster")
        waiting = self._fleet.roster.unbound
        surplus = len(self.worker_spec) - count
        for name in to_close(self.scheduler, [*self.worker_spec], waiting, surplus):
            del self.worker_spec[name]
        more = count - len(self.worker_spec)
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
        except DrmCommunicationError as exc:
            self._upkeep.unheard(str(exc))
        except BaseException:
            self._upkeep.desired = len(self.worker_spec)
            raise

    def _stop_adapting(self) -> None:
        """The user's number counts; adaptive scaling would change it in a second."""
        adaptive = getattr(self, "_adaptive", None)
        if adaptive is not None and self.status is Status.running:
            adaptive.stop()
            del self._adaptive
            self._log("adaptive scaling is off: scale() was called")

    async def _add(self, names: int) -> None:
        """Have so many more names, and whatever nodes are missing, as one array."""
        for _ in range(names):
            self.worker_spec.update(self.new_worker_spec())
        await self._correct_state()

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
        while len(roster.unbound) > roster.expected and not self._fleet.door.submitting:
            names.append(roster.unbound.pop())
        wanted = False
        for name in names:
            wanted |= self.worker_spec.pop(name, None) is not None
            if handle := self.workers.pop(name, None):
                handle.ended()
        self._upkeep.over(record, wanted=wanted)

    def _despair(self) -> None:
        """No worker can come: tasks that wait for one get the reasons."""
        if self._upkeep.hopeless is None and getattr(self, "_adaptive", None):
            return  # all were taken away, but it asks anew for work that waits
        if error := self.stuck():
            self.scheduler.fail_waiting(error)

    def _note(self, text: str) -> None:
        # Not `_log`, which prints: it has been logged where people look.
        self._cluster_manager_logs.append((datetime.now(), text))

    def _woke(self, seconds: float) -> None:
        """This process was suspended, or its loop blocked, for so long."""
        self.scheduler.excuse(seconds)
        self._note(
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
            "host": self._fleet.bind_host,
            "security": self.security,
            "dashboard_address": ":8787",
        }
        return {**options, **self.options.scheduler_options}

    def _allocate(self, name: str, hello: Hello) -> Allocation:
        return allocate(self.options, self.scheduler, self._tls, name, hello)
