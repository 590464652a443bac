"""``dask gridengine up``: run a cluster, show it, finish its tasks, close it.

The cluster has its own thread. So a terminal that is stopped (Ctrl-S) stops the picture
and not the scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from distributed.core import Status

from dask_gridengine.bootstrap.certificates import client_identity
from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection
from dask_gridengine.cli.live_view import LiveView
from dask_gridengine.cli.scheduler_file import SchedulerFile
from dask_gridengine.cluster.cluster import GridEngineCluster
from dask_gridengine.cluster.control import snapshot
from dask_gridengine.formatting import plural
from dask_gridengine.nodes.listen_addresses import contact
from dask_gridengine.options import Options
from dask_gridengine.reconcile.drain import busy, drain_cluster

SHOW_SECONDS = 0.5  # between two pictures
EXPLAIN_SECONDS = 2.0  # between two calls of explain(), which walks through all nodes
DRAIN_SECONDS = 0.1  # between two pictures while running tasks finish
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds in which two signals count as one: `timeout` signals the process and then
#: its process group.
SAME_SIGNAL_SECONDS = 0.1
EXIT_COUNT = 3  # signals after which the process exits without closing anything

FOOTER = "Ctrl-C: close after the running tasks; twice: close now"


class StopSignals:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered.

    The first ends the command gently, the second immediately. Ignored signals stay
    ignored: ``nohup`` ignores SIGHUP, and a shell ignores SIGINT for background
    processes.

    A handler only counts and writes to a pipe. `threading.Event` would not do: a
    handler that sets it takes a lock, which the interrupted wait may hold.
    """

    def __init__(self) -> None:
        self.count = 0
        self.last = 0  # number of the last signal
        #: Whether a signal raises `KeyboardInterrupt`: until the cluster runs.
        self.interrupting = True
        self._received_at = float("-inf")
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._write_end)
        os.close(self._read_end)

    def wait(self, seconds: float) -> None:
        """Return when a signal is received, or after `seconds`."""
        if select.select([self._read_end], [], [], seconds)[0]:
            os.read(self._read_end, 1)

    @property
    def status(self) -> int:
        """Exit status that shells show for a process that the last signal has ended."""
        return 128 + self.last

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._received_at < SAME_SIGNAL_SECONDS:
            return
        self._received_at = now
        self.count += 1
        self.last = number
        if self.interrupting:
            raise KeyboardInterrupt
        if self.count >= EXIT_COUNT:
            # The launcher's child notices that this process ends, and ends all nodes.
            os._exit(self.status)
        os.write(self._write_end, b".")


def configured_jobs(options: dict[str, Any]) -> int:
    """Return the number of nodes that options and configuration request."""
    resolved = Options.resolve(options)
    pools = resolved.pools.values()
    return sum(pool.jobs for pool in pools) if pools else resolved.jobs


def run(
    options: dict[str, Any],
    *,
    adapt: tuple[int, int] | None,
    scheduler_file: Path | None,
) -> int:
    """Run a cluster until it is closed; returns the exit status."""
    file = SchedulerFile(scheduler_file) if scheduler_file else None
    if file is not None:
        file.check()
    with StopSignals() as signals:
        try:
            cluster = GridEngineCluster(**options, quiet=True)
        except KeyboardInterrupt:
            return signals.status
        signals.interrupting = False
        try:
            if adapt is not None:
                cluster.adapt(minimum_jobs=adapt[0], maximum_jobs=adapt[1])
            if file is not None:
                _write_scheduler_file(cluster, file)
            view = LiveView()
            for line in _introduction(cluster, file):
                view.print(line)
            with view:
                result, status = _run(cluster, signals, view)
                cluster.close()
            view.print(f"{cluster.name} was closed {result}; no nodes are left")
            return status
        finally:
            cluster.close()
            if file is not None:
                file.remove()


def _run(
    cluster: GridEngineCluster, signals: StopSignals, view: LiveView
) -> tuple[str, int]:
    """Show the cluster until it is ended; returns how, and the exit status."""
    _show(cluster, signals, view)
    if not signals.count:
        return "by another process", 0
    lost = _drain(cluster, signals, view)
    if signals.count > 1:
        # Dask logs each connection that is lost while its workers have tasks.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        return "immediately", signals.status
    if lost:
        return f"after finish-timeout and lost {plural(lost, 'task')}", 1
    return "after its running tasks", 0


def _show(cluster: GridEngineCluster, signals: StopSignals, view: LiveView) -> None:
    problems, due = "", 0.0
    while not signals.count and cluster.status is Status.running:
        if time.monotonic() >= due:
            problems = cluster.sync(_problems, cluster)
            due = time.monotonic() + EXPLAIN_SECONDS
        _update(cluster, view, problems, FOOTER)
        signals.wait(SHOW_SECONDS)


def _drain(cluster: GridEngineCluster, signals: StopSignals, view: LiveView) -> int:
    """Let running tasks finish; returns how many are lost."""
    loop = cluster.loop.asyncio_loop
    draining = asyncio.run_coroutine_threadsafe(drain_cluster(cluster), loop)
    printed = False
    while not draining.done() and signals.count < 2:
        running = busy(cluster)
        footer = f"waiting for {plural(running, 'task')}; Ctrl-C: close now"
        if running and not printed:
            view.print(f"{cluster.name}: {footer}")
            printed = True
        _update(cluster, view, "", footer)
        signals.wait(DRAIN_SECONDS)
    if not draining.done():
        draining.cancel()
        return busy(cluster)
    return draining.result()


def _update(
    cluster: GridEngineCluster, view: LiveView, problems: str, footer: str
) -> None:
    status = cluster.sync(_snapshot, cluster)
    if status is not None:
        view.show(status, problems, footer)


async def _snapshot(cluster: GridEngineCluster) -> dict[str, Any] | None:
    """Take a snapshot in the cluster's loop, where it cannot close meanwhile."""
    return snapshot(cluster) if cluster.status is Status.running else None


async def _problems(cluster: GridEngineCluster) -> str:
    if cluster.status is not Status.running:
        return ""
    return cluster.problems()


def _write_scheduler_file(cluster: GridEngineCluster, file: SchedulerFile) -> None:
    directory = cluster._started_pools()[0].directory
    first, *_ = Connection.read(directory / FILE_NAME).addresses  # nodes try it first
    address = contact(cluster.options, cluster.scheduler, first)
    identity = cluster.scheduler.identity()
    file.write(identity, address, directory, client_identity(cluster.security))


def _introduction(
    cluster: GridEngineCluster, file: SchedulerFile | None
) -> Iterator[str]:
    """Describe the cluster, and what to type in another process to use it."""
    yield f"{cluster.name}: {cluster.launcher_description}"
    yield f'  to use it: client = dask_gridengine.connect("{cluster.name}")'
    if file is None:
        return
    if file.pem.exists():
        yield "  or, in programs that read the scheduler file:"
        for name, value in file.environment().items():
            yield f"    export {name}={shlex.quote(value)}"
    yield f'    client = Client(scheduler_file="{file.path}")'
