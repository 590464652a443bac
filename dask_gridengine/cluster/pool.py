"""One kind of nodes: their names, what is known of them, and what acts on them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from dask_gridengine.bootstrap.certificates import worker_identity
from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    ExitReport,
    Hello,
    Rejected,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.scaling import to_close
from dask_gridengine.dask_config import differing_config
from dask_gridengine.errors import LauncherError
from dask_gridengine.exit_causes import Cause
from dask_gridengine.formatting import plural
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.naming import PREFIX, node_name, prefix_of, suffixes
from dask_gridengine.nodes.admission import AdmissionControl, warnings_of
from dask_gridengine.nodes.allocation import allocate
from dask_gridengine.nodes.array_reports import ArrayReports
from dask_gridengine.nodes.exits import ExitTracker
from dask_gridengine.nodes.failures import Failures
from dask_gridengine.nodes.host_blocklist import HostBlocklist
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.nodes.submission import ArraySubmitter
from dask_gridengine.options import Options
from dask_gridengine.reconcile.drain import release
from dask_gridengine.reconcile.monitor import NodeMonitor
from dask_gridengine.reconcile.reconciler import Reconciler
from dask_gridengine.reconcile.rotation import WalltimeRotation

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster
    from dask_gridengine.grid_types import NodeRequest

logger = logging.getLogger(__name__)

CONFIG_SECONDS = 0.1  # between reads of Dask's configuration
MOST_WARNINGS = 20  # different warnings about nodes
#: Ends that change no number: we ended the node, or it was not needed.
_OUR_DOING = {Cause.CANCELLED, Cause.LEFT}


class NodePool:
    """The nodes of one kind.

    The *desired* nodes are the names of this pool in ``cluster.worker_spec``. The
    *known* nodes are in `registry`. `reconcile` compares the two.

    Parameters
    ----------
    cluster
        The `GridEngineCluster` of this pool.
    name
        What users call the pool; "" if the cluster has only one.
    options
        The options of this pool.
    launcher, request
        What starts the nodes, and what each requests from it.
    directory
        Private directory of the pool, with its connection file and its logs.
    clock
        Seconds; tests give their own.
    """

    def __init__(
        self,
        cluster: GridEngineCluster,
        name: str,
        options: Options,
        *,
        launcher: Launcher,
        request: NodeRequest,
        directory: Path,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self.cluster, self.name, self.options = cluster, name, options
        self.prefix, self.changed = name or PREFIX, cluster.changed
        self.launcher, self.request = launcher, request
        self.offered = options.offered  # Dask's resources of each worker
        # Once: all nodes get the same one, and it may be deleted meanwhile.
        self._working_directory = ""
        with contextlib.suppress(OSError):  # it is deleted already
            self._working_directory = os.getcwd()
        self._tls = worker_identity(cluster.security)
        self.directory = directory
        self.log_directory = options.log_directory or directory / "logs"
        self.registry = NodeRegistry(pool=name, clock=clock)
        self.failures, self.blocklist = Failures(), HostBlocklist()
        self.exits = ExitTracker(self)
        self.admission = AdmissionControl(self)
        self.bootstrap = BootstrapServer(
            on_hello=self._on_hello, on_exit_report=self._on_exit_report
        )
        self.arrays = ArraySubmitter(self)
        self.reports = ArrayReports(self)
        self.reconciler = Reconciler(self)
        self.monitor = NodeMonitor(self)
        self.rotation = WalltimeRotation(self)
        self.closed = False
        #: Names of nodes that are to replace others, which have to leave, by name.
        self.successors: dict[str, str] = {}
        self._counter = itertools.count()
        self._config, self._config_due = dict[str, Any](), float("-inf")
        self._clipped = 0  # the last number that was reduced to max-jobs
        self._warned: set[str] = set()

    # Desired nodes: names in `worker_spec`

    @property
    def names(self) -> list[str]:
        """Names of the desired nodes, oldest first; safe in any thread."""
        start = f"{self.prefix}-"
        spec = self.cluster.worker_spec
        return [name for name in list(spec) if name.startswith(start)]

    @property
    def wanted(self) -> int:
        """Number of desired nodes."""
        return len(self.names)

    @property
    def waiting(self) -> list[str]:
        """Desired names without a node, oldest first; safe in any thread."""
        return list(self.registry.unbound)

    @property
    def requested(self) -> list[str]:
        """Desired names for which a node has been submitted."""
        missing = self.reconciler.missing
        late = set(self.waiting[-missing:]) if missing else ()
        return [name for name in self.names if name not in late]

    @property
    def adapts(self) -> bool:
        """Whether adaptive scaling sets the number of desired nodes."""
        return self.name in self.cluster.adaptive

    def add_names(self, count: int) -> list[str]:
        """Desire more nodes. Their names have never been used before."""
        cluster, spec = self.cluster, node_spec(self.options)
        names = [node_name(next(self._counter), self.prefix) for _ in range(count)]
        for name in names:
            cluster.worker_spec[name] = spec
            cluster.workers[name] = NodeHandle(name, self)
        self.registry.unbound.extend(names)
        return names

    def drop_names(self, names: Collection[str]) -> None:
        """Desire these nodes no more; `reconcile` drains those that have started."""
        gone = set(names)
        for name in gone:
            self.cluster.worker_spec.pop(name, None)
            if handle := self.cluster.workers.pop(name, None):
                handle.ended()
        # Without those that have nodes. Not difference_update(), which would iterate
        # over all nodes for each that ends.
        gone = {name for name in gone if name not in self.registry.by_worker}
        if gone and not gone.isdisjoint(self.registry.unbound):
            kept = [name for name in self.registry.unbound if name not in gone]
            self.registry.unbound.clear()
            self.registry.unbound.extend(kept)

    def scale(self, count: int, *, by_user: bool) -> tuple[list[str], list[str]]:
        """Change the desired number at once; returns the new and the dropped names."""
        count, names = self._allowed(count), self.names
        if by_user and not count:  # nodes that are rotated out go, too
            for record in self.registry.live.values():
                record.rotating = False
        dropped = to_close(self, len(names) - count)
        self.drop_names(dropped)
        added = self.add_names(count - len(names))
        self.reconciler.note_scaled(count, len(added), by_user=by_user)
        return added, dropped

    def _allowed(self, count: int) -> int:
        most = self.options.max_jobs
        if most is None or count <= most:
            self._clipped = 0
            return count
        if self._clipped != count:
            self._clipped = count
            text = f"{plural(count, 'node')} requested, max-jobs allows {most}"
            self.note(text)
            logger.warning("%s", text)
        return most

    # Actions

    async def reconcile(self) -> LauncherError | None:
        """Drain nodes that are not desired, submit those that are missing.

        Does not wait for a node. Returns the error of a launcher that refused.
        """
        desired = self.cluster.worker_spec
        # A node that is rotated out drains in its own time.
        surplus = [
            record.worker
            for record in self.registry.live.values()
            if record.worker is not None
            and record.worker not in desired
            and not (record.cancelled or record.over)
            and not record.rotating
        ]
        if surplus:
            self.mark_cancelled(surplus)
            self.cluster.lifecycle.release(release(self, surplus))
        return await self.reconciler.submit()

    async def submit(self, count: int) -> int:
        """Queue this many nodes as one array; returns how many were queued."""
        records = await self.arrays.submit(count)
        if self.admission.closed:  # close() has not seen these nodes
            await self.cancel(records)
        else:
            await self.resubmit_blocked(records)
            self.admit_waiting()
        return len(records)

    async def resubmit_blocked(self, records: Iterable[NodeRecord]) -> None:
        """Delete nodes that their array's limit keeps from running, and request others.

        They queue behind the others of their array whatever room there is. Their array
        was submitted before the limit was known.
        """
        for job, blocked in self.arrays.blocked(records).items():
            self.note(
                f"The grid runs {plural(self.arrays.largest, 'node')} of an array at"
                " once."
                f" Resubmitting {plural(len(blocked), 'node')} of job {job} in other"
                " arrays"
            )
            self.reconciler.free += len(blocked)
            with contextlib.suppress(LauncherError):  # the session deletes them later
                await self.cancel(blocked)

    async def stop(self, name: str) -> None:
        """Desire one node less, and stop this one."""
        self.drop_names([name])
        self.mark_cancelled([name])
        try:
            await release(self, [name])
        finally:
            await self.give_back_places()

    async def give_back_places(self) -> None:
        """Delete the newest queued nodes that no name waits for."""
        names, registry = len(self.registry.unbound), self.registry
        states = [NodeState.QUEUED, NodeState.ARRIVED]
        held = self.admission.num_blocked if names else 0
        if held:  # queued nodes stand in for those held on an excluded host
            states.remove(NodeState.ARRIVED)
        surplus = registry.expected + self.arrays.in_flight - held - names
        if surplus > 0:
            await self.cancel(registry.in_state(*states)[-surplus:])

    def mark_cancelled(self, names: Collection[str]) -> None:
        """Remember that the nodes of these names end because we want it."""
        for name in names:
            if record := self.registry.by_worker.get(name):
                record.cancelled = True

    async def cancel(self, records: Collection[NodeRecord]) -> None:
        """Stop these nodes, whatever their state."""
        for record in records:
            record.cancelled = True
            self.registry.move(record, NodeState.DRAINING)
        self.admit_waiting()
        if records:
            await self.launcher.cancel([record.id for record in records])

    def replace(self, record: NodeRecord) -> None:
        """Desire a successor of a node that will drain as planned.

        Nothing was lost, so its submission costs no replacement budget.
        """
        assert record.worker is not None
        if record.rotating or record.worker not in self.cluster.worker_spec:
            return
        record.rotating = True
        self.drop_names([record.worker])
        (successor,) = self.add_names(1)
        queued = self.registry.unbound
        kept = {new: old for new, old in self.successors.items() if new in queued}
        self.successors = {**kept, successor: record.worker}
        self.reconciler.free += 1
        text = f"Requested a replacement for {record}, which will leave"
        self.reconciler.tell(text, logging.INFO)
        self.wake()

    def receive(self) -> None:
        """Let nodes become workers: the scheduler is there."""
        self.admission.ready = True
        self.admit_waiting()

    def admit_waiting(self) -> None:
        """Send allocations to nodes that need not wait any more."""
        self.bootstrap.send_answers(self.admission.release_waiting())

    def wake(self) -> None:
        """Have the pool checked, and a pass run, at once."""
        self.monitor.wake()

    def note(self, text: str) -> None:
        """Add a line to the cluster's log."""
        self.cluster.note(f"{self.name}: {text}" if self.name else text)

    # Events

    def registered(self, name: str) -> NodeRecord | None:
        """Record that the scheduler has a worker of this name."""
        record = self.registry.registered(name)
        if record is not None:
            self.failures.reset()
            self.blocklist.worked(record.host)
        self.admit_waiting()
        self.changed.set()
        if self.reconciler.missing:
            self.wake()  # there may be room for another array
        return record

    def missing(self, name: str, *, expected: bool) -> None:
        """Record that the scheduler has lost a worker of this name."""
        self.registry.missing(name, expected=expected)
        self.changed.set()
        self.wake()

    def _on_hello(self, hello: Hello) -> Answer:
        answer = self.admission.answer(hello)
        if self.registry.saying(hello) is not None and not isinstance(answer, Rejected):
            for key, text in warnings_of(hello):
                if key not in self._warned and len(self._warned) < MOST_WARNINGS:
                    self._warned.add(key)
                    self.reconciler.tell(text)
        return answer

    def _on_exit_report(self, exit_report: ExitReport) -> None:
        if self.exits.on_exit_report(exit_report):
            self.admit_waiting()
            self.changed.set()

    def node_ended(self, record: NodeRecord) -> None:
        """Nothing more comes of a node: desire a successor, or one node less.

        A queued node has no name. Its failure leaves a name without a node; that a user
        deleted it takes the newest name, if no other node is there for it.
        """
        cause = record.diagnosis.cause if record.diagnosis else Cause.UNKNOWN
        deleted = cause.on_purpose and cause not in _OUR_DOING
        name, registry = record.worker, self.registry
        if name is None and deleted:
            coming = registry.expected + self.arrays.in_flight
            if len(registry.unbound) > coming:
                name = registry.unbound[-1]
        if deleted and record.rotating:  # it has a successor, likely the newest node
            name = next(reversed(self.names), None)
        if name is not None and name in self.cluster.worker_spec:
            self.drop_names([name])
            if deleted:
                self.reconciler.note_deleted(record)
            else:
                self.add_names(1)
                self.reconciler.free += cause is Cause.DRAINED  # nothing was lost
        self.admit_waiting()
        self.changed.set()
        self.wake()

    def allocate(self, name: str, hello: Hello) -> Allocation:
        """Make the allocation of the node that sent this hello."""
        now = self.registry.clock()
        if now >= self._config_due:
            # Not for each node: it takes a millisecond, and thousands may arrive.
            self._config, self._config_due = differing_config(), now + CONFIG_SECONDS
        return allocate(
            self.options,
            self.cluster.scheduler,
            self._tls,
            name,
            hello,
            config=self._config,
            share=self._share_of_machine(hello.slots),
            working_directory=self._working_directory,
        )

    def _share_of_machine(self, slots: int) -> float | None:
        """A local node's share of this machine's memory; None on a grid.

        Each pool has slots of its own, so nodes of all pools run at the same time.
        """
        if not (own := self.launcher.slots):
            return None
        return min(slots, own) / sum(p.launcher.slots or 0 for p in self.cluster.pools)

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """The most nodes that can run at once, and why; None if nothing limits them."""
        options, limits = self.options, []
        if options.max_jobs is not None:
            limits.append((options.max_jobs, f"max_jobs={options.max_jobs}"))
        if slots := self.launcher.slots:
            why = f"cores={options.cores}, and this machine has slots={slots}"
            limits.append((max(1, slots // options.cores), why))
        return min(limits, default=None)


class NodeHandle(ProcessInterface):  # type: ignore[misc]
    """A desired node as `SpecCluster.workers` has it.

    It is *running* from the start: to wait for its node would block the cluster for as
    long as the queue is.
    """

    def __init__(self, name: str, pool: NodePool) -> None:
        super().__init__(name=name)
        self.name, self._pool = name, pool
        self.status = Status.running

    async def close(self) -> None:
        """Stop the node after its tasks end and its data moved."""
        if self.status is Status.running:
            try:
                await self._pool.stop(self.name)
            except Exception:  # SpecCluster would stay in "closing" for ever
                logger.exception("Could not stop node %s", self.name)

    def ended(self) -> None:
        """Note that the node is not desired any more."""
        self.status = Status.closed
        self._event_finished.set()


def node_spec(options: Options) -> dict[str, Any]:
    """A node as `SpecCluster.worker_spec` describes it."""
    given: dict[str, Any] = {"nthreads": options.threads}
    if options.memory:
        given["memory_limit"] = options.memory // options.processes
    spec: dict[str, Any] = {"cls": NodeHandle, "options": given}
    if options.processes > 1:
        spec["group"] = suffixes(options.processes)
    return spec


def pool_of(pools: Iterable[NodePool], name: Any) -> NodePool | None:
    """The pool of a node or a worker of this name; None if it is not ours."""
    prefix = prefix_of(name)
    return next((pool for pool in pools if pool.prefix == prefix), None)
