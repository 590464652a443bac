"""Dask's Scheduler, as a cluster on a grid starts it.

It overrides three methods of Dask's: `listen`, `check_worker_ttl` and the private
`_task_to_msg`. tests/contract/test_scheduler_hooks.py fails when Dask changes what the
overrides and the plugins rely on.
"""

from __future__ import annotations

import errno
import sys
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from distributed import Scheduler
from distributed.comm.addressing import (
    parse_address,
    parse_host_port,
    unparse_host_port,
)
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time
from distributed.protocol.pickle import dumps
from distributed.protocol.serialize import ToPickle
from distributed.scheduler import TaskState
from distributed.utils import key_split

from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.net.ports import Ports, free_ports
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.scheduler.dashboard import Dashboard
from dask_gridengine.scheduler.failure_attribution import FailureAttribution
from dask_gridengine.scheduler.task_durations import TaskDurations
from dask_gridengine.scheduler.worker_liveness import WorkerLiveness
from dask_gridengine.worker.task_loading import PortableTask

if TYPE_CHECKING:
    from dask_gridengine.cluster.failure_info import ClusterFailureInfo


REMOVED_KEPT = 1000


class ClusterScheduler(Scheduler):  # type: ignore[misc]
    """A Scheduler that also listens within its process, and knows its nodes.

    Parameters
    ----------
    dashboard, dashboard_address, http_prefix
        As Dask's. The port is open from the start; the first visitor loads the pages.
    host, port, interface, protocol
        As Dask's, of the address in the network.
    ports
        Where to listen: the first that is free. None takes `port`, as Dask does.
    **options
        All else that Dask's takes.
    """

    def __init__(
        self,
        *,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        http_prefix: str | None = "/",
        host: str | None = None,
        port: int = 0,
        interface: str | None = None,
        protocol: str | None = None,
        ports: Ports | None = None,
        **options: Any,
    ) -> None:
        self._ports = ports
        # The first of the addresses is `address`, so workers get the network's.
        super().__init__(
            dashboard=False,
            dashboard_address=dashboard_address,
            http_prefix=http_prefix,
            host=[host, None],
            port=[port, None],
            interface=[interface, None],
            protocol=[protocol, "inproc"],
            **options,
        )
        pages = bool(dashboard or (dashboard is None and dashboard_address))
        self.view = NodeHistory("", dict, dict)  # until `show`
        self.dashboard = Dashboard(self, http_prefix, pages=pages)
        self.task_durations = TaskDurations()
        self.add_plugin(_Hooks(self))
        self.liveness = WorkerLiveness(self, self._resumed)
        self.failure_info: ClusterFailureInfo | None = None
        self.failures: FailureAttribution | None = None
        #: Addresses of workers that were removed, the last ones.
        self.removed: deque[str] = deque(maxlen=REMOVED_KEPT)
        #: Returns the ``scheduler_info`` of the cluster object. Dask sends it the
        #: status of a worker that registers ("init"), and no change.
        self.cluster_info: Callable[[], dict[str, Any]] | None = None
        #: Called with a node's name and the signal that it got; returns the seconds
        #: that the node has left. See `node_signal`.
        self.on_node_signal: Callable[[str, str], float] | None = None
        self.handlers["gridengine_node_signal"] = self.node_signal
        self.handlers["gridengine_module_file"] = self.module_file

    @property
    def in_process_address(self) -> str:
        """``inproc://...``, after the start."""
        addresses = (listener.contact_address for listener in self.listeners)
        return next(str(a) for a in addresses if a.startswith("inproc://"))

    def show(self, view: NodeHistory) -> None:
        """Show these nodes on page, JSON route and metrics."""
        self.view = view
        self.dashboard.show(view)

    def attribute_failures(self, info: ClusterFailureInfo) -> None:
        """Count deaths of workers against tasks by what the cluster knows of them."""
        self.failure_info, self.failures = info, FailureAttribution(self, info)

    def suspects_of(self, key: Any) -> list[str]:
        """Names of the workers that died while they had this task."""
        return self.failures.suspects_of(key) if self.failures else []

    def fail(self, tasks: Collection[TaskState], error: Exception) -> None:
        """End waiting or running tasks with this error; none of them is tried again."""
        if not tasks:
            return
        stimulus, pickled = f"{type(error).__name__}-{time()}", dumps(error)
        recommendations: dict[Any, Any] = {}
        for ts in tasks:
            key, ws = ts.key, ts.processing_on
            # Dask before 2025.5 insists on the worker of a running task.
            where = {} if ws is None else {"worker": ws.address}
            recommendations |= self.transition(
                key, "erred", stimulus, exception=pickled, cause=key, **where
            )
        self.transitions(recommendations, stimulus_id=stimulus)

    def fail_waiting(self, error: Exception) -> int:
        """End all tasks that wait for a worker with this error; return their number."""
        waiting = [*self.unrunnable, *self.queued]
        self.fail(waiting, error)
        return len(waiting)

    async def node_signal(self, name: str, signal: str) -> float:
        """Return how many seconds a node has that the grid sent a signal.

        Raises
        ------
        LookupError
            If this cluster does not drain the node; it has to drain itself.
        """
        if self.on_node_signal is None:
            raise LookupError(name)
        return self.on_node_signal(name, signal)

    def module_file(self, module: str) -> str:
        """Return the file of a module that this process has imported, or ""."""
        found = sys.modules.get(module)
        paths = [getattr(found, "__file__", None), *getattr(found, "__path__", ())]
        return next((str(path) for path in paths if path), "")

    def _resumed(self, name: str) -> None:
        if self.failure_info is not None:
            self.failure_info.heard(name)

    # Overrides

    async def listen(
        self, port_or_addr: Any = None, *args: Any, **options: Any
    ) -> None:
        """As Dask's; in the network at the first port of `ports` that is free.

        Raises
        ------
        OptionError
            If none of them is free.
        """
        if self._ports is None or self.listeners:
            await super().listen(port_or_addr, *args, **options)
            return
        scheme, host = parse_address(port_or_addr)
        host = parse_host_port(host, 0)[0]
        # Only free ones: where it cannot bind, tornado would leave a socket behind.
        for port in free_ports(host, self._ports, "scheduler_port"):
            address = f"{scheme}://{unparse_host_port(host, port)}"
            try:
                await super().listen(address, *args, **options)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
            else:
                return

    async def check_worker_ttl(self) -> None:
        """As Dask's; suspensions of this process or of a node are not silence."""
        self.liveness.spare_suspended()
        await super().check_worker_ttl()

    def heartbeat_worker(self, *, address: str, **info: Any) -> dict[str, Any]:
        """As Dask's, which warns of each heartbeat that its worker's removal meets."""
        if address not in self.workers and address in self.removed:
            return {"status": "missing"}
        answer: dict[str, Any] = super().heartbeat_worker(address=address, **info)
        return answer

    def _task_to_msg(self, ts: TaskState, *duration: float) -> dict[str, Any]:
        """As Dask's; the worker unpickles each task separately, see `PortableTask`.

        Dask before 2025.2 also passes the task's duration.
        """
        msg: dict[str, Any] = super()._task_to_msg(ts, *duration)
        ws, info = ts.processing_on, self.failure_info
        # A worker that the user has started may not have this package.
        if ws is not None and info is not None and info.ours(ws.name):
            msg["run_spec"] = ToPickle(PortableTask(ts.key, ts.run_spec))
        return msg


class _Hooks(SchedulerPlugin):  # type: ignore[misc]
    """Passes on Dask's events.

    It is the only plugin of a cluster: Dask calls each for each transition of a task,
    also those without a method for it, which takes a microsecond each (measured).
    """

    name = "gridengine"

    def __init__(self, scheduler: ClusterScheduler) -> None:
        self._scheduler = scheduler

    async def start(self, scheduler: Scheduler) -> None:
        self._scheduler.dashboard.start()

    async def close(self) -> None:
        self._scheduler.dashboard.close()
        if self._scheduler.failures is not None:
            self._scheduler.failures.close()

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **options: Any
    ) -> None:
        if finish == "memory" and start == "processing":
            phases = options.get("startstops") or ()
            computed = [p for p in phases if p["action"] == "compute"]  # no transfers
            seconds = sum(float(p["stop"]) - float(p["start"]) for p in computed)
            self._scheduler.task_durations.record(key_split(key), seconds)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        if self._scheduler.failures is not None:
            self._scheduler.failures.add_worker(worker)

    def log_event(self, topic: str, msg: Any) -> None:
        """Process exits that Nannies report, and removals and statuses of workers."""
        scheduler = self._scheduler
        if not isinstance(msg, dict):
            return
        if topic == WORKER_EXIT and scheduler.failure_info is not None:
            scheduler.failure_info.worker_exit(str(msg.get("name")), msg)
        elif topic == "all" and msg.get("action") == "remove-worker":
            scheduler.removed.append(msg["worker"])
            if scheduler.failures is not None:
                scheduler.failures.remove_worker(msg)
        elif msg.get("action") == "worker-status-change" and scheduler.cluster_info:
            workers = scheduler.cluster_info()["workers"]  # the topic is an address
            if (known := workers.get(topic)) is not None:
                known["status"] = msg["status"]
