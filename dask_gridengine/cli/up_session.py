"""What ``dask gridengine up`` does: start, show, drain, close.

The cluster has its own thread. So a terminal that is stopped (Ctrl-S) stops the
picture and not the scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import socket
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from distributed.core import Status

from dask_gridengine.bootstrap.certificates import client_identity
from dask_gridengine.cli.connection_files import entries
from dask_gridengine.cli.live_view import Screen
from dask_gridengine.cli.scheduler_file import SchedulerFile
from dask_gridengine.cli.signals import StopSignals
from dask_gridengine.cluster.cluster import GridEngineCluster
from dask_gridengine.nodes.endpoints import contact
from dask_gridengine.process_identity import ProcessIdentity
from dask_gridengine.reconcile.drain import busy, drain_cluster
from dask_gridengine.views.snapshot import snapshot

LOOK = 0.5  # seconds between pictures
EXPLAIN = 2.0  # seconds between looks at what is the matter: all nodes are looked at

FOOTER = "Ctrl-C lets running tasks end and gives all nodes back; twice: at once"


def run(
    options: dict[str, Any],
    *,
    adapt: tuple[int, int] | None,
    scheduler_file: Path | None,
) -> int:
    """Have a cluster until a signal comes or somebody else closes it.

    Parameters
    ----------
    options
        Of `GridEngineCluster`.
    adapt
        Nodes at least and at most, if their number shall follow the work.
    scheduler_file
        What to write for clients, if anything.

    Returns
    -------
    int
        The exit status.
    """
    file = SchedulerFile(scheduler_file) if scheduler_file else None
    if file is not None:
        file.check()
    with StopSignals() as stops:
        try:
            cluster = GridEngineCluster(**options, quiet=True)
        except KeyboardInterrupt:
            return stops.status
        stops.interrupting = False
        try:
            return _live(cluster, stops, adapt, file)
        finally:
            cluster.close()
            if file is not None:
                file.remove()


def _live(
    cluster: GridEngineCluster,
    stops: StopSignals,
    adapt: tuple[int, int] | None,
    file: SchedulerFile | None,
) -> int:
    screen = Screen()
    if adapt is not None:
        low, high = adapt
        cluster.adapt(minimum_jobs=low, maximum_jobs=high)
    screen.say(f"{cluster.name}: {cluster.launcher_description}")
    if file is not None:
        _write(cluster, file)
    for line in _recipe(cluster, file):
        screen.say(line)
    with screen:
        _show(cluster, stops, screen)
        if not stops.count:
            ended = "closed by dask gridengine kill, or by a client"
            return _tell(screen, cluster, ended, 0)
        left = _drain(cluster, stops, screen)
    if stops.count > 1:
        # Dask logs the loss of each connection when it is closed in the midst of work.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        return _tell(screen, cluster, "ended at once", stops.status)
    if left:
        text = f"ended; {left} tasks still ran after finish-timeout, and are lost"
        return _tell(screen, cluster, text, 1)
    return _tell(screen, cluster, "ended", 0)


def _tell(screen: Screen, cluster: GridEngineCluster, text: str, status: int) -> int:
    cluster.close()  # before it is said
    screen.say(f"{cluster.name}: {text}; all nodes are given back")
    return status


def _show(cluster: GridEngineCluster, stops: StopSignals, screen: Screen) -> None:
    trouble, due = "", 0.0
    while not stops.count and cluster.status is Status.running:
        if time.monotonic() >= due:
            trouble = cluster.sync(_trouble, cluster)
            due = time.monotonic() + EXPLAIN
        _picture(cluster, screen, trouble, FOOTER)
        stops.wait(LOOK)


def _drain(cluster: GridEngineCluster, stops: StopSignals, screen: Screen) -> int:
    """How many tasks were lost, because they took too long or Ctrl-C came again."""
    loop = cluster.loop.asyncio_loop
    ending: Future[int] = asyncio.run_coroutine_threadsafe(drain_cluster(cluster), loop)
    said = False
    while not ending.done() and stops.count < 2:
        running = busy(cluster)
        footer = f"draining: {running} tasks to finish; Ctrl-C ends it at once"
        if running and not said:
            screen.say(f"{cluster.name}: {footer}")
            said = True
        _picture(cluster, screen, "", footer)
        stops.wait(LOOK / 5)
    if not ending.done():
        ending.cancel()
        return busy(cluster)
    return ending.result()


def _picture(
    cluster: GridEngineCluster, screen: Screen, trouble: str, footer: str
) -> None:
    status = cluster.sync(_snapshot, cluster)
    if status is not None:
        screen.show(status, trouble, footer)


async def _snapshot(cluster: GridEngineCluster) -> dict[str, Any] | None:
    """In its loop, where it is not closed between the question and the answer."""
    return snapshot(cluster) if cluster.status is Status.running else None


async def _trouble(cluster: GridEngineCluster) -> str:
    """What is the matter; "" if nothing is."""
    if cluster.status is not Status.running:
        return ""
    return cluster.explain().partition("\n")[2]


def _write(cluster: GridEngineCluster, file: SchedulerFile) -> None:
    (entry,) = (
        entry
        for entry in entries(cluster.options.shared_directory)
        if entry.name == cluster.name
        and entry.connection.process == ProcessIdentity.of()
        and entry.connection.host == socket.gethostname()
    )
    if (tls := client_identity(cluster.security)) is not None:
        file.write_identity(tls)
    # As nodes are told: the likeliest of this host's addresses.
    address = contact(cluster.options, cluster.scheduler, entry.connection.addresses[0])
    file.write(cluster.scheduler.identity(0), address, entry.directory)


def _recipe(cluster: GridEngineCluster, file: SchedulerFile | None) -> list[str]:
    """What to type in another process."""
    lines = [f'  to use it: client = dask_gridengine.connect("{cluster.name}")']
    if file is not None:
        if file.pem.exists():
            lines.append("  or, where other programs use the scheduler file:")
            for name, value in file.environment().items():
                lines.append(f"    export {name}={shlex.quote(value)}")
        lines.append(f'    client = Client(scheduler_file="{file.path}")')
    return lines
