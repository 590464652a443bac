"""Where jobs run: local processes or Grid Engine.

A scheduler starts its cluster when it is first used and keeps it: the second map starts
no job. It ends with `close`, at the end of a ``with`` block, when nothing refers to it
any more, or with Python.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_timedelta
from distributed import Client

from dask_gridengine import GridEngineCluster, GridEngineError, OptionError
from dask_gridengine.launchers.drmaa.discovery import grid_is_configured
from dask_gridengine.option_parsing import whole
from dask_gridengine.options import Options
from gridengine import settings
from gridengine.clusters import OwnCluster
from gridengine.errors import TimeoutError
from gridengine.lanes import Flight, Lanes
from gridengine.places import ClientPlace, TaskPlace, in_task
from gridengine.tally import Tally

__all__ = [
    "GridEngineScheduler",
    "ProcessScheduler",
    "Scheduler",
    "TimeoutError",
    "best_available",
]

logger = logging.getLogger(__name__)

#: Options of Dask's scheduler, unless the configuration says otherwise: a dashboard
#: that takes no other cluster's port, and is loaded when somebody looks.
DASK_SCHEDULER = {"dashboard_address": ":0"}


#: Nodes to begin with, until it is known how long an item takes.
FIRST_NODES = 4
#: Seconds of work for each thread that are worth a node more; as in Dask's adaptive
#: scaling, since a node takes seconds to start.
WORTH_SECONDS = 5.0


class Scheduler:
    """What both have in common: a cluster, started when it is needed.

    Parameters
    ----------
    most
        Nodes to have at most.
    first
        Nodes that a map begins with; others follow when there is work for them. None
        begins with all.
    **options
        Of `dask_gridengine.GridEngineCluster`.
    """

    def __init__(self, most: int, first: int | None = None, **options: Any) -> None:
        self._most, self._first, self._options = most, first, options
        self._is_refused = False  # whether the grid has refused nodes during a map
        self._lock = threading.RLock()
        self._own: OwnCluster | None = None
        self._closed = False
        self._sessions = 0

    # What users call

    @property
    def client(self) -> Client:
        """A Dask client of the cluster, which is started if need be."""
        return self._open(0).client

    @property
    def address(self) -> str:
        """Where the workers find Dask's scheduler; starts a cluster if need be."""
        return str(self._open(0).cluster.scheduler_address)

    def close(self) -> None:
        """End the cluster; a later use is an error. Idempotent."""
        self._closed = True
        self.killall()

    def killall(self) -> None:
        """End all jobs now, and the cluster; the next use starts a new one."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else str(self.tally())
        return f"<{type(self).__name__}: {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be sent to a worker; inside of a function"
            " that is mapped, call gridengine.map without scheduler=, which uses the"
            " workers of the outer map"
        )

    # What a run asks (gridengine.engine.Place)

    @contextlib.contextmanager
    def session(self, items: int | None) -> Iterator[Client]:
        """The client for one run over so many items, with nodes asked for."""
        with self._lock:
            self._sessions += 1
            self._is_refused = False
        try:
            yield self._open(self._wanted(items)).client
        finally:
            with self._lock:
                self._sessions -= 1
                own = self._own
                if not self._sessions and own is not None and own.alive:
                    own.rest_after(_idle_seconds())

    def slots(self) -> int:
        """Items that can run, or could if there were workers, at the same time."""
        own = self._own
        return own.slots() if own is not None and own.alive else self._most

    @property
    def warm(self) -> bool:
        """Whether there are workers already."""
        own = self._own
        return own is not None and own.alive and bool(own.cluster.scheduler.workers)

    @property
    def first_items(self) -> int | None:
        """Items to ask for before their duration is known; None is all."""
        return None if self._first is None else self._first * self._cores

    def need(self, items: int | None, seconds: float) -> None:
        """Request the nodes that the work is worth.

        Only if their number at least doubles: each request is an array of its own. If
        the grid refuses them the map goes on with the nodes that run.
        """
        own = self._own
        if own is None or not own.alive or self._is_refused:
            return
        most = self._wanted(items)
        jobs = math.ceil(min(most, seconds / WORTH_SECONDS / self._cores))
        if jobs <= own.wanted or jobs < min(most, 2 * own.wanted):
            return
        try:
            own.grow(jobs)
        except GridEngineError as exc:
            self._is_refused = True
            logger.warning("no more than %d nodes for this map: %s", own.wanted, exc)

    @property
    def direct(self) -> bool:
        """Yes: Dask's scheduler reaches them from here, so this process can.

        Besides, what came through the scheduler to a client in its own process would
        not be put together again where it was split at 64 MiB (distributed 2026.8.0).
        """
        return True

    @property
    def inline(self) -> int:
        """A chunk's usual size: the scheduler is near, and does not keep messages."""
        return 4 * 2**20

    @property
    def cluster(self) -> GridEngineCluster | None:
        """The cluster; None while there is none."""
        own = self._own
        return own.cluster if own is not None and own.alive else None

    def check(self) -> None:
        """Raise if the cluster was closed, or no worker will come any more.

        What is lost meanwhile the cluster replaces by itself.

        Raises
        ------
        NodesFailed
            With what is known of each node's end.
        """
        own = self._own
        if own is None or not own.alive:
            raise RuntimeError(f"{self!r} was closed while it was working")
        if (error := own.stuck()) is not None:
            raise error

    def tail(self, chunks: int) -> None:
        """Give back nodes that have nothing to do any more, after the idle timeout.

        Not while another run may want them.
        """
        seconds = _idle_seconds()
        with self._lock:
            alone = self._sessions == 1
            own = self._own
            if alone and seconds is not None and own is not None and own.alive:
                own.tail(chunks, seconds)

    def abandon(self, lanes: Lanes, flights: set[Flight]) -> None:
        """These were called back: see that they do not hold their workers."""
        if self._own is not None and self._own.alive:
            self._own.free(lanes, flights)

    def tally(self) -> Tally:
        """Workers there are, shall be, and wait in the queue."""
        own = self._own
        if own is None or not own.alive:
            return Tally(0, 0, 0)
        return Tally(len(own.cluster.scheduler.workers), own.wanted, own.queued)

    # Steps of the above

    @functools.cached_property
    def _cores(self) -> int:
        """Slots of a node, also where `job_extra_directives` has them."""
        names = Options.names()
        given = {key: v for key, v in self._options.items() if key in names}
        return Options.resolve(given).cores

    def _wanted(self, items: int | None) -> int:
        if items is None:
            return self._most
        return min(self._most, -(-items // self._cores))

    def _open(self, jobs: int) -> OwnCluster:
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self!r}: make a new one")
            if self._own is None or not self._own.alive:
                self._own = OwnCluster(jobs, **self._cluster_options())
                weakref.finalize(self, self._own.close_soon).atexit = False
            elif jobs:
                self._own.grow(jobs)
            return self._own

    def _cluster_options(self) -> dict[str, Any]:
        configured = dask.config.get("gridengine.scheduler-options", default=None) or {}
        return {
            "shared_directory": settings.assigned_directory(),
            "scheduler_options": {**DASK_SCHEDULER, **configured},
            **self._options,
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
        walltime = requests.pop("h_rt", None)
        if walltime is not None:
            given["walltime"] = walltime
        if requests:
            given["resource_spec"] = ",".join(
                _request(key, value) for key, value in requests.items()
            )
        if max_jobs is None:
            max_jobs = settings.of_map("max-jobs")
        most = whole(max_jobs, "max_jobs", least=1)
        super().__init__(most, FIRST_NODES, **given)


def best_available() -> Scheduler | TaskPlace:
    """The scheduler of this process: Grid Engine where one is set up, else processes.

    A grid that is set up (SGE_ROOT or DRMAA_LIBRARY_PATH) and does not work is an error
    when the first item is run.

    Always the same one, so that it is warm, until it is closed. Inside of a function
    that is being mapped it is the workers of the outer map.
    """
    global _default
    if in_task():
        return TaskPlace()
    with _default_lock:
        stale = _default is None or _default._closed or _default_pid != os.getpid()
        if stale:
            _make_default()
        assert _default is not None
        return _default


_default: Scheduler | None = None
_default_pid = 0
_default_lock = threading.Lock()


def _make_default() -> None:
    global _default, _default_pid
    on_grid = grid_is_configured(os.environ)
    _default = GridEngineScheduler() if on_grid else ProcessScheduler()
    _default_pid = os.getpid()


def place_of(scheduler: Any, client: Client | None = None) -> Any:
    """What a caller gave for a scheduler, as something to run on.

    Parameters
    ----------
    scheduler
        A scheduler, or a class or another callable that makes one.
    client
        A Dask client, which goes before it.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if client is not None:
        return ClientPlace(client)
    made = scheduler
    if isinstance(made, type) or (callable(made) and not hasattr(made, "session")):
        made = made()
    if not hasattr(made, "session"):
        raise TypeError(
            f"scheduler={scheduler!r}; it is a ProcessScheduler, a GridEngineScheduler"
            " or what makes one, such as gridengine.schedulers.best_available"
        )
    return made


def _idle_seconds() -> float | None:
    given = settings.of_map("idle-timeout")
    return None if given is None else float(parse_timedelta(given))


def _refuse_options(resources: Mapping[str, Any]) -> None:
    """Refuse queue= and its like: requested as a resource, the grid would refuse it."""
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
