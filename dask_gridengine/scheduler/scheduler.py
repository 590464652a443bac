"""Dask's Scheduler, quick to start, within reach of its own process, and asked why.

Of the 0.5 s that Dask's own takes, 0.4 are the import of bokeh for a dashboard nobody
may ever look at, and as long would the first nodes wait for an address to go to.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import sys
from collections.abc import Collection
from typing import Any

from distributed import Scheduler
from distributed.comm.addressing import (
    parse_address,
    parse_host_port,
    unparse_host_port,
)
from distributed.core import Status
from distributed.http.utils import get_handlers
from distributed.metrics import time
from distributed.protocol.serialize import ToPickle
from distributed.scheduler import TaskState, heartbeat_interval
from tornado.ioloop import PeriodicCallback
from tornado.web import Application, RequestHandler

from dask_gridengine.blocking import in_thread
from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.clock import steady_time
from dask_gridengine.net.ports import Ports, is_free, none_free
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.scheduler.failure_attribution import FairScheduler
from dask_gridengine.views import json_api as routes
from dask_gridengine.views import prometheus
from dask_gridengine.worker.task_loading import PortableTask

DASHBOARD = "distributed.dashboard.scheduler"
OUR_PAGE = "dask_gridengine.views.page"
WITHOUT_BOKEH = "distributed.http.scheduler.missing_bokeh"
LOOK_EVERY = 1.0  # seconds between looks at the clocks
TOLERANCE = 1.0  # seconds by which a busy loop is late


class ClusterScheduler(FairScheduler):
    """A Scheduler that also listens within this process, its dashboard loaded late.

    Parameters
    ----------
    dashboard, dashboard_address, http_prefix
        As Dask's. The port is open from the start; the pages are loaded when somebody
        first asks for one. None shows less for that: what they draw is collected from
        when one is opened.
    ports
        Where to listen: the first that is free. None takes ``port``, as Dask does.
    **options
        All else that Dask's takes.

    Attributes
    ----------
    in_process_address
        ``inproc://...``, once it has started.
    """

    def __init__(
        self,
        *,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        http_prefix: str | None = "/",
        ports: Ports | None = None,
        **options: Any,
    ) -> None:
        self._ports = ports
        super().__init__(
            dashboard=False,
            dashboard_address=dashboard_address,
            http_prefix=http_prefix,
            **options,
        )
        self.in_process_address = ""
        #: Addresses of workers whose nodes the grid has suspended, and whether that is
        #: why they are paused.
        self._suspended: dict[str, bool] = {}
        self.handlers["gridengine_module_file"] = self.module_file
        self.view = NodeHistory("", dict, dict)  # until `show` says whose nodes
        self._tally: prometheus.ClusterCounters | None = None
        routes.connect(self, http_prefix)
        if dashboard or (dashboard is None and dashboard_address):
            _LateDashboard(self, http_prefix)
        self._looked = steady_time()
        self._ahead = time() - self._looked  # of the wall clock
        look = PeriodicCallback(self.look_at_clocks, 1000 * LOOK_EVERY)
        self.periodic_callbacks["gridengine-clocks"] = look

    def show(self, view: NodeHistory) -> None:
        """Tell visitors of these nodes, on page, JSON route and metrics."""
        self.view, self._tally = view, prometheus.connect(view)

    async def close(self, *args: Any, **how: Any) -> None:
        """As Dask's."""
        prometheus.disconnect(self._tally)
        await super().close(*args, **how)

    # Tasks that cannot be unpickled

    def _task_to_msg(self, ts: TaskState) -> dict[str, Any]:
        """As Dask's; the worker unpickles each task separately, see `PortableTask`."""
        msg: dict[str, Any] = super()._task_to_msg(ts)
        ws, failure_info = ts.processing_on, self.failure_info
        # A worker that the user has started may not have this package.
        if ws is not None and failure_info is not None and failure_info.ours(ws.name):
            msg["run_spec"] = ToPickle(PortableTask(ts.key, ts.run_spec))
        return msg

    def module_file(self, module: str) -> str:
        """The file of a module that this process has imported; "" without one."""
        found = sys.modules.get(module)
        places = [getattr(found, "__file__", None), *getattr(found, "__path__", ())]
        return next((str(place) for place in places if place), "")

    # What it tells its witness, and learns from it

    async def handle_worker(self, comm: Any, worker: str) -> None:
        """As Dask's, but to be cancelled while closing is no error to be logged.

        So it goes where workers are on their way out just then: ``scale(0)``, and the
        end of a ``with``.
        """
        try:
            await super().handle_worker(comm, worker)
        except asyncio.CancelledError:
            if self.status not in (Status.closing, Status.closed):
                raise

    def log_event(self, topic: str | Collection[str], msg: Any) -> None:
        """As Dask's; what our Nannies say goes to the witness, too."""
        if (
            topic == WORKER_EXIT
            and self.failure_info is not None
            and isinstance(msg, dict)
        ):
            self.failure_info.worker_exit(str(msg.get("name")), msg)
        super().log_event(topic, msg)

    async def check_worker_ttl(self) -> None:
        """As Dask's; but workers are not silent while this process is suspended.

        A notebook that was suspended for as long as the limit would otherwise end all
        its workers in the moment it comes back. A suspended node's worker is
        not lost either.
        """
        for address in list(self._suspended):
            if (ws := self.workers.get(address)) is not None:
                ws.last_seen = time()
            else:
                del self._suspended[address]
        self.look_at_clocks()
        await super().check_worker_ttl()

    def quiet(self, seconds: float) -> list[str]:
        """Names of workers without a heartbeat for this long."""
        since = time() - max(seconds, 3 * heartbeat_interval(len(self.workers)))
        return [ws.name for ws in self.workers.values() if ws.last_seen < since]

    def suspended(self, names: Collection[str], now: bool) -> None:
        """The grid has suspended the node of these workers, or has resumed it.

        Until it is resumed no new task is sent there; it keeps its tasks and results.
        """
        for address in filter(None, map(self.aliases.get, names)):
            if (ws := self.workers.get(address)) is None:
                continue
            if now:
                running = ws.status is Status.running
                self._suspended.setdefault(address, running)
                status = Status.paused
            else:
                status = Status.running
                # It may be on its way out since, for another reason.
                paused = ws.status is Status.paused
                running = self._suspended.pop(address, False) and paused
                ws.last_seen = time()
            if running:
                stimulus = f"suspended-by-the-grid-{time()}"
                self.handle_worker_status_change(status, ws, stimulus)

    def heartbeat_worker(self, *, address: str, **said: Any) -> Any:
        """As Dask's. A heartbeat of a suspended node says that it is resumed."""
        ws = self.workers.get(address) if address in self._suspended else None
        if ws is not None and self.failure_info is not None:
            self.failure_info.heard(ws.name)
            # Another worker of its node may have been heard before.
            self.suspended([ws.name], False)
        return super().heartbeat_worker(address=address, **said)

    def look_at_clocks(self) -> None:
        """Do not count as silence what is none, see `check_worker_ttl`.

        Dask notes by the wall clock when it has heard of a worker. So neither time in
        which this process was suspended may count, nor a step of that clock.
        """
        now, wall = steady_time(), time()
        suspended = now - self._looked - LOOK_EVERY
        step = wall - now - self._ahead
        self._looked, self._ahead = now, wall - now
        seconds = sum(s for s in (suspended, step) if s > TOLERANCE)
        if not seconds and step >= -TOLERANCE:
            return
        for ws in self.workers.values():
            # Never beyond the present: it may have been heard since.
            ws.last_seen = min(ws.last_seen + seconds, wall)

    def fail_waiting(self, error: Exception) -> int:
        """Give this error to all tasks that wait for a worker; how many there were.

        For those that wait for one kind of workers: `pools.requirements`.
        """
        waiting: list[TaskState] = [*self.unrunnable, *self.queued]
        self.fail(waiting, error)
        return len(waiting)

    async def listen(self, port_or_addr: Any = None, **options: Any) -> None:
        """As Dask's; where *the* address is asked for, at the first port of `ports`.

        Raises
        ------
        OptionError
            If none of them is free.
        """
        if self._ports is None or port_or_addr not in self._start_address:
            await super().listen(port_or_addr, **options)
            return
        scheme, host = parse_address(port_or_addr)
        host = parse_host_port(host, 0)[0]
        for port in self._ports:
            if not is_free(host, port):  # tornado would leave a socket behind
                continue
            try:
                address = unparse_host_port(host, port)
                await super().listen(f"{scheme}://{address}", **options)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise none_free("scheduler_port", self._ports)

    async def start_unsafe(self) -> ClusterScheduler:
        """Listen, to the network first: that address is *the* address."""
        await super().start_unsafe()
        await self.listen(
            "inproc://",
            allow_offload=False,
            handshake_overrides={"pickle-protocol": 4, "compression": None},
        )
        self.in_process_address = self.listeners[-1].contact_address
        return self


class _LateDashboard:
    """Stands where the dashboard will be, and fetches it for the first visitor."""

    def __init__(self, scheduler: Scheduler, prefix: str | None) -> None:
        self._scheduler, self._prefix = scheduler, prefix
        self._admission = Application([(r".*", _Visit, {"dashboard": self})])
        http = scheduler.http_application
        http.add_application(self._admission)
        # JupyterLab asks for this first, and Dask answers from what is loaded.
        index = (r".*/individual-plots\.json", _Visit, {"dashboard": self})
        http.add_handlers(r".*$", [index])
        self._index = http.default_router.rules[-2]  # the last one is what was there

    async def load(self) -> None:
        """Take the visitors' way to the real one; any number may ask at once."""
        try:
            # In a thread: it takes seconds from a slow file server, and there is work.
            module, ours = await in_thread(_import, DASHBOARD, OUR_PAGE)
        except ImportError:
            module = ours = None
        http = self._scheduler.http_application
        if self._admission not in http.applications:
            return
        http.applications.remove(self._admission)
        http.default_router.rules.remove(self._index)
        if module is None:
            pages = get_handlers(self._scheduler, [WITHOUT_BOKEH], prefix=self._prefix)
            http.add_application(Application(pages))
        else:
            module.connect(
                http, self._scheduler.http_server, self._scheduler, prefix=self._prefix
            )
            ours.connect(self._scheduler, self._prefix)


def _import(*names: str) -> list[Any]:
    return [importlib.import_module(name) for name in names]


class _Visit(RequestHandler):  # type: ignore[misc]
    def initialize(self, dashboard: _LateDashboard) -> None:
        self._dashboard = dashboard

    async def get(self) -> None:
        await self._dashboard.load()
        # Back to the same page. Relative: a proxy may have put us below another path,
        # and what the request names must never lead to another host.
        page = self.request.path.rpartition("/")[2]
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"./{page}{query}")
