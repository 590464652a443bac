"""The nodes of one kind: submitted, received at the door, followed to their end.

Knows no Dask. `GridEngineCluster` asks it for nodes that will bear certain names, and
is told when a node is gone. Between the two stands the roster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dask_gridengine.batch.base import DIRECTORY, BatchSystem, write_directory
from dask_gridengine.blocking import in_thread
from dask_gridengine.bootstrap.connection_file import (
    FILE_NAME,
    Connection,
    make_private_directory,
)
from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    ExitReport,
    Hello,
    Rejected,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.exit_causes import Diagnosis
from dask_gridengine.grid_types import EndNotice
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.select import open_launcher
from dask_gridengine.nodes.admission import AdmissionControl
from dask_gridengine.nodes.array_reports import ArrayReports
from dask_gridengine.nodes.endpoints import (
    bootstrap_addresses,
    bootstrap_hosts,
    listen_at,
)
from dask_gridengine.nodes.exits import ExitTracker
from dask_gridengine.nodes.failures import Failures
from dask_gridengine.nodes.hello_warnings import warnings_of
from dask_gridengine.nodes.host_blocklist import HostBlocklist
from dask_gridengine.nodes.job_request import command, request
from dask_gridengine.nodes.memory_option import larger_memory
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from dask_gridengine.nodes.submission import ArraySubmitter
from dask_gridengine.options import Options

logger = logging.getLogger(__name__)

GENTLE_SECONDS = 3.0  # for workers to close by themselves before their nodes are killed
NEWBORN_SECONDS = 0.5  # a Nanny takes half of that to notice that its worker works
REMOVAL_SECONDS = 5.0  # for the file server to remove the files of the cluster
MOST_NOTED = 20  # different remarks on nodes


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What the fleet asks of the cluster, and tells it."""

    make_allocation: Callable[[str, Hello], Allocation]
    on_over: Callable[[NodeRecord], None]  # nothing more comes of it; its name is free
    note: Callable[[str], None] = logger.warning  # people should know this


class Fleet:
    """Launcher, door, roster and connection file of one kind of nodes.

    Parameters
    ----------
    options
        What the user asked for.
    versions
        What a node must have.
    callbacks
        The cluster's side.
    pool
        What this kind of nodes is called; "" where there is only one.
    changed
        Set whenever a node changes its state; fleets of one cluster share it, as they
        do the next. Who waits clears it first.
    one_way
        Hosts whose workers cannot be reached from here, and that in a sentence.
    """

    def __init__(
        self,
        options: Options,
        *,
        versions: Mapping[str, str],
        callbacks: Callbacks,
        pool: str = "",
        changed: asyncio.Event | None = None,
        unreachable_hosts: dict[str, str] | None = None,
    ) -> None:
        self.options, self.pool = options, pool
        self.registry = NodeRegistry(pool=pool)
        self.failures = Failures()
        self.blocklist = HostBlocklist()
        self.exits = ExitTracker(
            self.registry,
            self.failures,
            self.blocklist,
            walltime=options.walltime,
            keep_logs=options.log_directory is not None,
            larger=partial(larger_memory, options, of_grid=True),
            on_over=self._on_over,
            on_gone=lambda record: self.changed.set(),
        )
        self.admission = AdmissionControl(
            self.registry,
            versions=versions,
            max_importing=options.max_importing,
            make_allocation=callbacks.make_allocation,
            block_seconds=lambda host: self.blocklist.block_seconds(
                host, self.registry.clock()
            ),
        )
        self.bootstrap = BootstrapServer(
            on_hello=self._on_hello, on_exit_report=self._on_exit_report
        )
        self.unreachable_hosts = {} if unreachable_hosts is None else unreachable_hosts
        self.changed = changed or asyncio.Event()
        self._tell_over, self._note = callbacks.on_over, callbacks.note
        self._noted: set[str] = set()  # what is said once for all nodes
        self.arrays = ArraySubmitter(
            options,
            self.registry,
            self.admission,
            self.blocklist,
            cancel=self.cancel,
            note=callbacks.note,
        )
        self.reports = ArrayReports(self.registry)
        self._launcher: Launcher | None = None  # until it is closed
        self._opened: Launcher | None = None
        self.dialect = BatchSystem()  # of the grid, once that is known
        self.directory: Path | None = None

    @property
    def launcher(self) -> Launcher:
        """What starts the nodes; it describes itself also when it is closed."""
        assert self._opened is not None, "the fleet is not open"
        return self._opened

    @property
    def log_directory(self) -> Path:
        assert self.directory is not None, "the fleet is not open"
        return self.options.log_directory or self.directory / "logs"

    async def open(self) -> None:
        """Find a launcher, open the door and write the connection file.

        Raises
        ------
        LauncherUnavailable, OptionError
            Whatever is wrong; nothing is left behind then.
        """
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise

    async def _open(self) -> None:
        options = self.options
        self.directory = make_private_directory(options.shared_directory, options.name)
        self._launcher = self._opened = await open_launcher(
            options.launcher,
            self._on_end,
            slots=options.slots,
            cleanup=self.directory,
        )
        self.dialect = self.launcher.dialect
        self._say_overcommitted()
        self.exits.with_advice = self.dialect.with_advice
        # Options that do not go together are found before anything is submitted.
        file, name = self.directory / FILE_NAME, self.dialect.log_name
        argv = command(options, file, self.log_directory, name)
        self.request = request(options, argv, self.launcher.kind, self.dialect)
        self.log_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.exits.logs = self.log_directory
        self.exits.account = self.launcher.account
        listen, hosts = bootstrap_hosts(self.bind_host)
        self.bootstrap.start(listen, options.bootstrap_port)
        Connection(
            cluster=options.name,
            addresses=bootstrap_addresses(options, hosts, self.bootstrap.port),
            server_key=self.bootstrap.keys.public,
            node_keys=self.bootstrap.node_keys,
            timeout=options.death_timeout,
            dialect=self.dialect.name,
            pool=self.pool,
        ).write(self.directory)
        marked = {
            **self.request.environment,
            DIRECTORY: write_directory(self.directory),
        }
        self.arrays.open(self.launcher, replace(self.request, environment=marked))
        self.reports.open(self.launcher, self.request.native)

    def _say_overcommitted(self) -> None:
        cores, slots = self.options.cores, self.launcher.slots
        if slots is not None and cores > slots:
            self._note(
                f"cores={cores}, and this machine has {slots}"
                f" slot{'s' if slots > 1 else ''}: nodes run one at a time, with"
                f" {cores} threads each"
            )

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """The most nodes that can run at once, and why; None if nothing bounds them."""
        options, bounds = self.options, []
        if options.max_jobs is not None:
            bounds.append((options.max_jobs, f"max_jobs={options.max_jobs}"))
        if self._launcher is not None and (slots := self._launcher.slots):
            why = f"cores={options.cores}, and this machine has slots={slots}"
            bounds.append((max(1, slots // options.cores), why))
        return min(bounds, default=None)

    @property
    def bind_host(self) -> str | None:
        """The one address to listen at; None is all of this host's."""
        return listen_at(self.options, self.launcher.kind)

    async def submit(self, names: Sequence[str]) -> None:
        """Have a node for each of these names, see `ArraySubmitter.submit`."""
        await self.arrays.submit(names)
        self._call_in()

    def receive(self) -> None:
        """There is a scheduler now: nodes may become workers."""
        self.admission.ready = True
        self._call_in()

    async def withdraw(self, names: Collection[str], *, keep_places: bool) -> None:
        """Take back names no node bears yet, and the queue places beyond the rest.

        The newest places go first. A node that comes to the door just now is told to
        leave there.

        Parameters
        ----------
        names
            Of workers that are not wanted any more.
        keep_places
            Leave the places in the queue: they serve the next names, or their nodes
            are told to leave when they arrive.
        """
        gone = set(names)
        kept = [name for name in self.registry.unbound if name not in gone]
        self.registry.unbound.clear()
        self.registry.unbound.extend(kept)
        surplus = self.registry.expected + self.registry.backlog - len(kept)
        if surplus > 0:
            forgiven = min(surplus, self.registry.backlog)
            self.registry.backlog -= forgiven
            surplus -= forgiven
        if surplus > 0 and not keep_places:
            waiting = self.registry.in_state(NodeState.QUEUED, NodeState.ARRIVED)
            await self.cancel(waiting[-surplus:])

    def mark_cancelled(self, names: Collection[str]) -> None:
        """These workers end because we want it, however they do."""
        for name in names:
            if record := self.registry.by_worker.get(name):
                record.cancelled = True

    async def cancel(self, records: Collection[NodeRecord]) -> None:
        """Stop these nodes, wherever they are."""
        for record in records:
            record.cancelled = True
            self.registry.move(record, NodeState.DRAINING)
        self._call_in()
        if records and self._launcher is not None:  # else all were, as it was closed
            await self._launcher.cancel([record.id for record in records])

    def give_up(self, record: NodeRecord, why: Diagnosis) -> None:
        """Expect nothing of a node any more; the caller cancels it."""
        self.exits.declare_lost(record, why)

    def registered(self, name: str) -> None:
        """The scheduler has a worker of this name."""
        record = self.registry.registered(name)
        if record is not None:
            self.failures.reset()
            self.blocklist.worked(record.host)
        self._call_in()
        self.changed.set()

    def missing(self, name: str, *, expected: bool) -> None:
        """The scheduler has no worker of this name any more."""
        self.registry.missing(name, expected=expected)
        self.changed.set()

    @property
    def held(self) -> int:
        """Nodes that sleep at the door because their host is shut."""
        return self.admission.num_blocked

    async def wait_gone(self, timeout: float) -> list[NodeRecord]:
        """Wait until the launcher has seen every node's end; returns who is left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self.registry.alive and (left := deadline - loop.time()) > 0:
            self.changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changed.wait(), left)
        return list(self.registry.live.values())

    async def stop_admitting(self) -> None:
        """Nobody new comes in; whoever does not work yet is cancelled."""
        self.admission.closed = True
        self.registry.unbound.clear()
        self.registry.backlog = 0
        idle = self.registry.in_state(
            NodeState.QUEUED, NodeState.ARRIVED, NodeState.IMPORTING
        )
        # Where a Nanny is starting another worker nobody hears the scheduler close.
        # So it is in the first moments, until a Nanny knows that its worker works.
        born = self.registry.clock() - NEWBORN_SECONDS
        idle += [
            record
            for record in self.registry.in_state(NodeState.WORKING)
            if len(record.present) < self.options.processes or record.since > born
        ]
        with contextlib.suppress(Exception):  # aclose() tries again, and says so
            await self.cancel(idle)

    async def aclose(self) -> None:
        """Wait shortly for nodes that close by themselves, stop the rest, let go.

        Never raises, is bounded in time, and is idempotent.
        """
        self.arrays.close()
        self.reports.close()
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            await self._end_nodes(launcher)
        await self.bootstrap.aclose()
        await self.exits.drain(timeout=5)
        if self.directory is not None:
            await self._remove(self.directory)

    async def _remove(self, directory: Path) -> None:
        remove = partial(_remove, directory, keep=self.exits.logs_to_keep())
        try:
            await in_thread(remove, timeout=REMOVAL_SECONDS)
        except asyncio.TimeoutError:
            logger.warning(
                "%s is left behind: its file server did not answer in %g s",
                directory,
                REMOVAL_SECONDS,
            )
        except RuntimeError:
            remove()  # Python 3.12.0 and 3.12.1 start no thread at their exit

    async def _end_nodes(self, launcher: Launcher) -> None:
        try:
            left = await self.wait_gone(GENTLE_SECONDS)
            if left:
                await launcher.cancel([record.id for record in left])
                left = await self.wait_gone(GENTLE_SECONDS)
            if any(record.exit_report is None and not record.lost for record in left):
                left = await self.wait_gone(self.options.close_timeout)
            # Of others no more than the grid's word is missing, which may take it ten
            # minutes after a restart of its master, or for ever if their host is lost.
            if left:
                logger.warning(
                    "%d nodes were not seen to end, e.g. %s, which %s; see: %s",
                    len(left),
                    left[0],
                    "has said farewell" if left[0].exit_report else "is silent",
                    self.dialect.listing,
                )
        except Exception:
            logger.exception(
                "could not end all nodes; check with: %s", self.dialect.listing
            )
        finally:
            await launcher.aclose()

    def _on_hello(self, hello: Hello) -> Answer:
        answer = self.admission.answer(hello)
        if self.registry.saying(hello) is not None and not isinstance(answer, Rejected):
            for remark in warnings_of(hello):
                if remark.key not in self._noted and len(self._noted) < MOST_NOTED:
                    self._noted.add(remark.key)
                    self._note(remark.text)
        return answer

    def _on_exit_report(self, exit_report: ExitReport) -> None:
        if self.exits.on_exit_report(exit_report):
            self._call_in()
            self.changed.set()

    def _on_end(self, end: EndNotice) -> None:
        self.exits.on_end_notice(end)

    def _on_over(self, record: NodeRecord) -> None:
        self._tell_over(record)
        self._call_in()
        self.changed.set()

    def _call_in(self) -> None:
        """Whenever fewer nodes import: let those in that wait for it at the door."""
        self.bootstrap.send_answers(self.admission.release_waiting())


def _remove(directory: Path, *, keep: Collection[str]) -> None:
    """Take everything away but the logs of these nodes.

    Also the log of a node that nobody knows: one whose submission was cancelled while
    it was under way, and that started before it was deleted.
    """
    with contextlib.suppress(OSError):
        (directory / FILE_NAME).unlink(missing_ok=True)
        for log in (directory / "logs").glob("*.log"):
            if log.stem not in keep:
                log.unlink()
        if (directory / "logs").is_dir():
            (directory / "logs").rmdir()  # unless it holds some
        directory.rmdir()
