"""Where functions run: on local processes or Grid Engine.

A scheduler starts its cluster when it is first used and keeps it: the second map starts
no job. The cluster ends with `close`, at the end of a ``with`` block, with the last
reference to the scheduler, or with Python.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_timedelta
from distributed import Client, SpecCluster, get_client, get_worker, rejoin, secede
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from dask_gridengine import GridEngineCluster, GridEngineError, OptionError
from dask_gridengine.launchers.drmaa.discovery import configured_systems
from dask_gridengine.option_parsing import whole
from dask_gridengine.options import Options
from gridengine import settings
from gridengine.errors import TimeoutError, short_repr

__all__ = [
    "GridEngineScheduler",
    "ProcessScheduler",
    "Scheduler",
    "TimeoutError",
    "best_available",
]

logger = logging.getLogger(__name__)

#: Options of Dask's scheduler, unless the configuration says otherwise. One death is an
#: error at once: the map finds its item, without sending a chunk to its death 4 times.
DASK_SCHEDULER = {"dashboard_address": ":0", "allowed_failures": 0}
#: Nodes to begin with, until it is known how long an item takes.
FIRST_NODES = 4
#: Seconds of work for each thread that are worth another node, as in Dask's adaptive
#: scaling: a node takes seconds to start.
WORTH_SECONDS = 5.0
#: Seconds after which idle nodes are released if another cluster waits for some.
OTHERS_SECONDS = 5.0
#: Seconds for which a count of workers is valid, and in which a worker must answer.
COUNT_SECONDS, REACH_SECONDS = 0.5, 2.0


@dataclass(frozen=True)
class WorkerCounts:
    """Workers at one moment."""

    running: int
    wanted: int
    queued: int = 0  # nodes that wait in the grid's queue

    def __str__(self) -> str:
        line = f"{self.running}/{self.wanted} workers"
        return f"{line}, {self.queued} queued" if self.queued else line


class Scheduler:
    """What both have in common: a cluster, started when it is needed.

    It has `most` nodes at most. A map begins with `first` nodes (None is all), and
    others follow if there is work for them. `options` are those of the cluster.
    """

    owns_workers = True
    #: Dask's scheduler reaches the workers from this process, so its client can. And of
    #: what passes through a scheduler in the same process, messages that were split at
    #: 64 MiB are not joined again (distributed 2026.8.0).
    direct = True
    inline_bytes = 4 * 2**20

    def __init__(self, most: int, first: int | None = None, **options: Any) -> None:
        self._most, self._first, self._options = most, first, options
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._closed = False
        self._sessions: list[int | None] = []  # items of each
        self._is_refused = False  # whether the grid has refused nodes to a map

    # What users call

    @property
    def client(self) -> Client:
        """A Dask client of the cluster, which is started if need be."""
        return self._open(0).client

    @property
    def cluster(self) -> GridEngineCluster | None:
        """The cluster; None if it is not running."""
        running = self._running
        return running.cluster if running is not None and running.is_usable else None

    @property
    def address(self) -> str:
        """Address of Dask's scheduler for workers; starts the cluster if need be."""
        return str(self._open(0).cluster.scheduler_address)

    def close(self) -> None:
        """End the cluster; a later use is an error. Idempotent."""
        self._closed = True
        self.killall()

    def killall(self) -> None:
        """End all jobs now, and the cluster; the next use starts a new one."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else str(self.counts())
        return f"<{type(self).__name__}: {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be sent to a worker; inside of a function"
            " that is mapped, call gridengine.map without scheduler=, which uses the"
            " workers of the outer map"
        )

    # What a mapping calls

    @contextlib.contextmanager
    def session(
        self, items: int | None, *, begin_small: bool = True
    ) -> Iterator[Client]:
        """A client for a run over these items (None: unknown), with nodes for them.

        Few nodes at the beginning, since items may be short, unless `begin_small` is
        false.
        """
        with self._lock:
            self._sessions.append(items)
            self._is_refused = False
            sessions: list[Any] = self._sessions
            together = None if None in sessions else sum(sessions)
            jobs = self._nodes_for(together)
            if begin_small and self._first is not None:
                jobs = min(jobs, self._first)
        try:
            yield self._open(jobs).client
        finally:
            with self._lock:
                self._sessions.remove(items)
                if not self._sessions and self._running is not None:
                    self._running.release_later(idle_timeout())

    def slots(self) -> int:
        """Items that can run, or could if the workers were there, at the same time."""
        cluster = self.cluster
        if cluster is None:
            return self._most
        # The copy that `dict` itself makes is made in one step, in whatever thread.
        workers = list(dict.values(cluster.scheduler.workers))
        threads = sum(ws.nthreads for ws in workers if ws.status is Status.running)
        return threads or max(1, cluster.wanted * self._cores)

    def counts(self) -> WorkerCounts:
        """Workers and nodes at this moment."""
        if (cluster := self.cluster) is None:
            return WorkerCounts(0, 0)
        queued = cluster.counts.get("queued", 0)
        return WorkerCounts(len(cluster.scheduler.workers), cluster.wanted, queued)

    def request_nodes(self, items: int | None, seconds: float) -> None:
        """Request the nodes that these items, with their seconds of work, are worth.

        Only if their number at least doubles, since each request is another array.
        """
        cluster = self.cluster
        if cluster is None or self._is_refused:
            return
        most, wanted = self._nodes_for(items), cluster.wanted
        jobs = math.ceil(min(most, seconds / WORTH_SECONDS / self._cores))
        if jobs <= wanted or jobs < min(most, 2 * wanted):
            return
        try:
            self._open(jobs)
        except GridEngineError as exc:
            self._is_refused = True
            logger.warning("no more than %d nodes for this map: %s", wanted, exc)

    def release_unneeded_nodes(self, chunks: int) -> None:
        """Release nodes that the last chunks, all at the workers, do not need for long.

        After a thousand items of a minute, one of two hours needs no hundred nodes. But
        another run may need them in a moment.
        """
        with self._lock:
            if len(self._sessions) == 1 and self._running is not None:
                self._running.release_unneeded(chunks, idle_timeout())

    def check(self) -> None:
        """Raise if the cluster was closed, or no worker will come."""
        if (cluster := self.cluster) is None:
            raise RuntimeError(f"{self!r} was closed while it was working")
        if (error := cluster.stuck()) is not None:
            raise error

    # Steps of the above

    @functools.cached_property
    def _cores(self) -> int:
        """Slots of a node, also if they are in `job_extra_directives`."""
        names = Options.names()
        given = {key: v for key, v in self._options.items() if key in names}
        return Options.resolve(given).cores

    def _nodes_for(self, items: int | None) -> int:
        return (
            self._most if items is None else min(self._most, -(-items // self._cores))
        )

    def _open(self, jobs: int) -> _Running:
        """The cluster, with at least this number of nodes running or queued."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self!r}: make a new one")
            if self.cluster is None:
                self._running = _Running(jobs, self._cluster_options())
                weakref.finalize(self, self._running.close_soon).atexit = False
            elif jobs and self._running is not None:
                self._running.grow(jobs)
            assert self._running is not None
            return self._running

    def _cluster_options(self) -> dict[str, Any]:
        configured = dask.config.get("gridengine.scheduler-options", default=None) or {}
        own = self._options.get("scheduler_options") or {}
        return {
            "shared_directory": settings.assigned_directory(),
            **self._options,
            "scheduler_options": {**DASK_SCHEDULER, **configured, **own},
        }


class ProcessScheduler(Scheduler):
    """Runs jobs in processes on this machine.

    Parameters
    ----------
    max_threads
        How many at the same time, at least 1; by default one for each CPU this process
        may use. The name is the old library's: they are processes.

    Raises
    ------
    OptionError
        If that is not a whole number, or below 1.
    """

    def __init__(self, max_threads: int | None = None) -> None:
        given = CPU_COUNT if max_threads is None else max_threads
        self.max_threads = whole(given, "max_threads", least=1)
        super().__init__(
            self.max_threads, launcher="process", slots=self.max_threads, quiet=True
        )


class GridEngineScheduler(Scheduler):
    """Runs jobs on Grid Engine; where none is set up, on this machine, and says so.

    With ``gridengine.launcher: drmaa`` in Dask's configuration or
    ``options={"launcher": "drmaa"}`` a host without a grid is an error instead.

    Parameters
    ----------
    name
        The jobs' name in ``qstat``.
    max_jobs
        Nodes to have at most; ``gridengine.map.max-jobs`` by default.
    options
        Any option of `dask_gridengine.GridEngineCluster`: queue, project, memory,
        cores, parallel_environment, ...
    **resources
        Requested of every node as ``-l``: ``h_rt="02:00:00"`` (which is also its
        walltime), ``h_vmem="10G"``, ``hostname="!node7"``. Added to
        ``gridengine.settings.DEFAULT_RESOURCES``.

    Raises
    ------
    OptionError
        If a resource would not be one request, or is the name of an option, or if
        `max_jobs` is below 1.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        max_jobs: int | None = None,
        options: Mapping[str, Any] | None = None,
        **resources: Any,
    ) -> None:
        _refuse_options(resources)
        self.resources = {**settings.DEFAULT_RESOURCES, **resources}
        given = dict(options or {})
        if name is not None:
            given["name"] = "".join(name.split())
        requests = {**self.resources}
        if (walltime := requests.pop("h_rt", None)) is not None:
            given["walltime"] = walltime
        if requests:
            found = [_request(key, value) for key, value in requests.items()]
            given["resource_spec"] = ",".join(found)
        if max_jobs is None:
            max_jobs = settings.of_map("max-jobs")
        super().__init__(whole(max_jobs, "max_jobs", least=1), FIRST_NODES, **given)


class ClientScheduler:
    """The workers of a Dask client, which are used as they are.

    A task that waits for items of its own lends its thread meanwhile: maps inside of
    maps would otherwise use up all threads with waiting.
    """

    owns_workers = False
    inline_bytes = 64 * 2**10  # Dask keeps the last thousand messages to each worker

    def __init__(self, client: Client) -> None:
        if client.asynchronous:
            raise TypeError(
                "client= is an asynchronous client, and this would block its loop;"
                " await client.map(...) there, or pass a client made outside of it"
            )
        self._client = client
        self._counted, self._workers, self._threads = 0.0, 0, 1

    @contextlib.contextmanager
    def session(
        self, items: int | None, *, begin_small: bool = True
    ) -> Iterator[Client]:
        with thread_for_others():
            yield self._client

    def slots(self) -> int:
        self.counts()
        return max(1, self._threads)

    def counts(self) -> WorkerCounts:
        if (now := time.monotonic()) - self._counted > COUNT_SECONDS:
            threads = self._client.nthreads()
            self._counted, self._workers = now, len(threads)
            self._threads = sum(threads.values())
        return WorkerCounts(self._workers, self._workers)

    @functools.cached_property
    def direct(self) -> bool:
        """Whether workers can be reached from here; a gateway hides them."""
        if self._client.direct_to_workers is not None:
            return bool(self._client.direct_to_workers)
        return bool(self._client.sync(self._can_reach_workers))

    async def _can_reach_workers(self) -> bool:
        for address in await self._client.scheduler.ncores_running(workers=None):
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                asking = self._client.rpc(address).identity()
                return bool(await asyncio.wait_for(asking, REACH_SECONDS))
            return False
        return False

    @property
    def cluster(self) -> Any:
        """What the client was made for; None if it was an address."""
        return self._client.cluster

    @property
    def address(self) -> str:
        """Address of Dask's scheduler."""
        return str(self._client.scheduler.address)

    def check(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise RuntimeError(
                f"the Dask client was closed (it is {self._client.status}) while"
                " gridengine was using it"
            )
        if isinstance(self.cluster, GridEngineCluster) and (
            error := self.cluster.stuck()
        ):
            raise error

    def request_nodes(self, items: int | None, seconds: float) -> None:
        """Nothing: the number of workers is the user's."""

    def release_unneeded_nodes(self, chunks: int) -> None:
        """Nothing, likewise."""

    def close(self) -> None:
        """Nothing: the client is the user's."""


class _Running:
    """A running cluster and its client, closed together."""

    def __init__(self, jobs: int, options: dict[str, Any]) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._idle_since: float | None = None
        #: Since when no more than so many chunks were left.
        self._tail_since: float | None = None
        self._tail_most = 0
        self._others_since = math.inf
        # A worker's death is an error for Dask; here it is handled.
        self.cluster = GridEngineCluster(jobs, silence_logs=logging.CRITICAL, **options)
        try:
            self.client = Client(
                self.cluster.in_process_address,
                security=self.cluster.security,
                loop=self.cluster.loop,
                set_as_default=False,
            )
        except BaseException:
            self.cluster.close()
            raise
        self.client.scheduler_comm.recent_message_log = deque(maxlen=0)
        self.client.sync(self._add_plugin)
        _open.add(self)

    async def _add_plugin(self) -> None:
        scheduler, plugin = self.cluster.scheduler, _ForgetMessages()
        scheduler.add_plugin(plugin)
        for worker in scheduler.stream_comms:
            plugin.add_worker(scheduler, worker)

    @property
    def is_usable(self) -> bool:
        """Whether it is neither closed nor inherited by a fork."""
        is_open = self.cluster.status is Status.running and not self._closed
        return is_open and self._pid == os.getpid()

    def grow(self, jobs: int) -> None:
        """Have at least this number of nodes, running or queued."""
        with self._lock:
            self._idle_since = self._tail_since = None
            wanted = self.cluster.wanted
        # After a persistent failure `scale` submits again.
        if wanted < jobs or self.cluster.stuck() is not None:
            self.cluster.scale(jobs=max(wanted, jobs))

    def release_unneeded(self, chunks: int, seconds: float | None) -> None:
        """Release the nodes that the last chunks have not needed for these seconds."""
        if seconds is None:
            return
        if self._others_wait():
            seconds = min(seconds, OTHERS_SECONDS)
        now = time.monotonic()
        if self._tail_since is not None and chunks <= self._tail_most:
            if now - self._tail_since < seconds:
                return
            if self._tail_most < self.cluster.wanted:
                self.cluster.scale(jobs=self._tail_most)
        self._tail_since, self._tail_most = now, chunks

    def release_later(self, seconds: float | None) -> None:
        """Release all nodes after these seconds without work; None keeps them."""
        if seconds is None or not self.is_usable:
            return
        since = self._idle_since = time.monotonic()
        self.client.loop.add_callback(self._check_idle, since, seconds)

    def _check_idle(self, since: float, seconds: float) -> None:
        """Called in the event loop, once a second."""
        now = time.monotonic()
        if not self._others_wait():
            self._others_since = math.inf
        self._others_since = min(self._others_since, now)
        waited = now - since >= seconds or now - self._others_since >= OTHERS_SECONDS
        with self._lock:
            if self._idle_since != since or not self.is_usable:
                return  # it is used again
            if waited:
                self._idle_since = None
                self.cluster.scale(0)  # in the event loop it does not wait
                return
        again = min(1.0, seconds)
        self.client.loop.call_later(again, self._check_idle, since, seconds)

    def _others_wait(self) -> bool:
        """Whether another cluster of this process, not idle, waits for nodes."""
        with contextlib.suppress(Exception):  # one of them has just opened or closed
            idle = {each.cluster for each in list(_open) if each._idle_since}
            grid = self.cluster.launcher_description
            return any(
                isinstance(other, GridEngineCluster)
                and other not in (self.cluster, *idle)
                and other.status is Status.running
                and other.launcher_description == grid
                and other.counts.get("queued", 0) > 0
                for other in list(SpecCluster._instances)
            )
        return False

    def close(self) -> None:
        """End all of it; idempotent."""
        with self._lock:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
        _open.discard(self)
        with contextlib.suppress(Exception):  # the cluster is what matters
            self.client.close()
        self.cluster.close()

    def close_soon(self) -> None:
        """End it without waiting, for finalizers: these run in any thread."""
        if not self._closed and self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # at exit; `_close_all` does it
                threading.Thread(target=self.close, name="gridengine-close").start()


class _ForgetMessages(SchedulerPlugin):  # type: ignore[misc]
    """Keep no log of messages.

    Dask keeps the last thousand on each way, for debugging. Ours contain the arguments
    of chunks: gigabytes, after some time.
    """

    def add_worker(self, scheduler: Any, worker: str) -> None:
        scheduler.stream_comms[worker].recent_message_log = deque(maxlen=0)

    def add_client(self, scheduler: Any, client: str) -> None:
        scheduler.client_comms[client].recent_message_log = deque(maxlen=0)


#: All that are open; Python's end closes them, whatever still refers to them.
_open: set[_Running] = set()


@atexit.register
def _close_all() -> None:
    for running in list(_open):
        running.close()


def best_available() -> Scheduler | ClientScheduler:
    """The scheduler of this process: Grid Engine where one is set up, else processes.

    A grid that is set up (SGE_ROOT or DRMAA_LIBRARY_PATH) and does not work is an error
    when the first item is run.

    Always the same one, so that it is warm, until it is closed. Inside of a function
    that is being mapped it is the workers of the outer map.
    """
    global _default, _default_pid
    if in_task():
        return ClientScheduler(get_client())
    with _default_lock:
        if _default is None or _default._closed or _default_pid != os.getpid():
            on_grid = bool(configured_systems(os.environ))
            _default = GridEngineScheduler() if on_grid else ProcessScheduler()
            _default_pid = os.getpid()
        return _default


_default: Scheduler | None = None
_default_pid = 0
_default_lock = threading.Lock()


def get_scheduler(given: Any, client: Client | None = None) -> Any:
    """Make a scheduler of what a caller has given, or of a client."""
    if client is not None:
        return ClientScheduler(client)
    made = given
    if isinstance(made, type) or (callable(made) and not hasattr(made, "session")):
        made = made()
    if hasattr(made, "session"):
        return made
    raise TypeError(
        f"scheduler={short_repr(given)}: expected ProcessScheduler(),"
        " GridEngineScheduler(), or what makes one, such as best_available\n"
        "  Hint: map takes one iterable; for a function of several arguments use"
        " starmap: gridengine.starmap(f, zip(xs, ys))"
    )


def in_task() -> bool:
    """Whether this thread is running a Dask task."""
    try:
        get_worker()
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def thread_for_others() -> Iterator[None]:
    """While a task waits in here, its worker's thread runs other tasks."""
    if not in_task():
        yield
        return
    secede()
    try:
        yield
    finally:
        rejoin()


def idle_timeout() -> float | None:
    """Seconds for which idle nodes are kept; None is for ever."""
    given = settings.of_map("idle-timeout")
    return None if given is None else float(parse_timedelta(given))


def _refuse_options(resources: Mapping[str, Any]) -> None:
    """Refuse queue= and the like: the grid would refuse it as a resource."""
    for name, value in resources.items():
        if name in Options.names():
            raise OptionError(
                f"{name}={value!r}: keywords of GridEngineScheduler are resource"
                f" requests (qsub -l), and {name} is an option of the cluster.\n"
                f"Hint: options={{{name!r}: {value!r}}}; if this site has a resource of"
                f" that name: options={{'resource_spec': '{name}={value}'}}"
            )


def _request(name: str, value: Any) -> str:
    request = f"{name}={value}"
    if any(sign in request for sign in ", \t\n\"'") or request.count("=") > 1:
        raise OptionError(
            f"{name}={value!r} is not one resource request; qconf -sc lists the"
            " names, and values have no commas or spaces"
        )
    return request
