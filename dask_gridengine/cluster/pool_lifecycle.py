"""Open a pool, with its launcher and its private directory, and close it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dask_gridengine.bootstrap.connection_file import (
    FILE_NAME,
    Connection,
    make_private_directory,
)
from dask_gridengine.cluster.pool import NodePool
from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.errors import GridFull, OptionError
from dask_gridengine.formatting import plural
from dask_gridengine.grid_types import EndNotice, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.select import open_launcher
from dask_gridengine.nodes.job_request import command, request
from dask_gridengine.nodes.listen_addresses import (
    bootstrap_addresses,
    bootstrap_hosts,
    listen_at,
)
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.reconcile.drain import GENTLE_SECONDS

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster

logger = logging.getLogger(__name__)

NEWBORN_SECONDS = 0.5  # a Nanny takes half of that to notice that its worker runs
REMOVAL_SECONDS = 5.0  # for the file server to remove the files of the cluster
SETTLE_SECONDS = 5.0  # for the diagnoses of ends


async def open_pool(
    cluster: GridEngineCluster, name: str, options: Options
) -> NodePool:
    """Start the launcher, listen for nodes, and submit the first ones.

    Whatever fails is raised, and nothing is left behind. That the grid takes no more
    jobs for now is no failure: the nodes are submitted later.
    """

    def on_end(notice: EndNotice) -> None:
        pool.exits.on_end_notice(notice)  # no node ends before `pool` has submitted one

    async with contextlib.AsyncExitStack() as stack:
        directory = make_private_directory(options.shared_directory, options.name)
        stack.callback(_remove, directory, keep=())
        launcher = await open_launcher(
            options.launcher, on_end, slots=options.slots, cleanup=directory
        )
        stack.push_async_callback(launcher.aclose)
        pool = NodePool(
            cluster,
            name,
            options,
            launcher=launcher,
            request=await _request(options, launcher, directory),
            directory=directory,
        )
        stack.pop_all()
    try:
        _listen(pool)
        await _submit_first(pool)
    except BaseException:
        await stop_admitting(pool)
        await close_pool(pool)
        raise
    return pool


async def _request(
    options: Options, launcher: Launcher, directory: Path
) -> NodeRequest:
    # In a thread, and once: it may run qconf, which waits for the grid's master.
    await in_thread(lambda: options.memory_resource_per)
    logs = options.log_directory or directory / "logs"
    argv = command(options, directory / FILE_NAME, logs, launcher.batch_system.log_name)
    try:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise OptionError(
            f"log_directory={str(logs)!r} cannot be made: {exc.strerror}",
            hint="name a directory that you may write to and that the nodes see",
        ) from exc
    return request(options, argv, launcher.kind, launcher.batch_system)


def _listen(pool: NodePool) -> None:
    options, launcher = pool.options, pool.launcher
    if launcher.slots is not None and options.cores > launcher.slots:
        pool.reconciler.tell(
            f"cores={options.cores}, and this machine has"
            f" {plural(launcher.slots, 'slot')}: nodes run one at a time, with"
            f" {plural(options.cores, 'thread')} each"
        )
    listen, hosts = bootstrap_hosts(listen_at(options, launcher.kind))
    pool.bootstrap.start(listen, options.bootstrap_port)
    Connection(
        cluster=options.name,
        addresses=bootstrap_addresses(options, hosts, pool.bootstrap.port),
        server_key=pool.bootstrap.keys.public,
        node_keys=pool.bootstrap.node_keys,
        timeout=options.death_timeout,
        launcher=launcher.kind,
        batch_system=launcher.batch_system.name,
        pool=pool.name,
    ).write(pool.directory)


async def _submit_first(pool: NodePool) -> None:
    """Submit before the scheduler starts: nodes start meanwhile."""
    options = pool.options
    pool.arrays.start()
    pool.scale(options.jobs, by_user=True)
    error = await pool.reconciler.submit()
    if error is not None and not isinstance(error, GridFull):
        raise error


async def stop_admitting(pool: NodePool) -> None:
    """Admit no node any more, and stop those that do not work yet."""
    pool.admission.closed = True
    pool.registry.unbound.clear()
    idle = pool.registry.in_state(
        NodeState.QUEUED, NodeState.ARRIVED, NodeState.IMPORTING
    )
    # While a Nanny starts another worker it does not notice that the scheduler closes.
    # So it is in the first moments, until the Nanny knows that its worker runs.
    born = pool.registry.clock() - NEWBORN_SECONDS
    idle += [
        record
        for record in pool.registry.in_state(NodeState.WORKING)
        if len(record.present) < pool.options.processes or record.since > born
    ]
    with contextlib.suppress(Exception):  # close_pool() tries again, and logs errors
        await pool.cancel(idle)


async def close_pool(pool: NodePool) -> None:
    """Give nodes a moment to close by themselves, stop the rest, remove the files.

    Never raises, is bounded in time, and is idempotent.
    """
    if pool.closed:
        return
    pool.closed = True
    pool.arrays.close()
    pool.reports.close()
    await _end_nodes(pool)
    await pool.bootstrap.aclose()
    await pool.exits.drain(timeout=SETTLE_SECONDS)
    remove = partial(_remove, pool.directory, keep=pool.exits.logs_to_keep())
    try:
        await in_thread(remove, timeout=REMOVAL_SECONDS)
    except asyncio.TimeoutError:
        logger.warning(
            "Could not remove %s: its file server did not answer in %g s",
            pool.directory,
            REMOVAL_SECONDS,
        )
    except RuntimeError:
        remove()  # Python 3.12.0 and 3.12.1 start no thread at their exit


async def _end_nodes(pool: NodePool) -> None:
    listing = pool.launcher.batch_system.listing
    try:
        left = await wait_gone(pool, GENTLE_SECONDS)
        if left:
            await pool.launcher.cancel([record.id for record in left])
            left = await wait_gone(pool, GENTLE_SECONDS)
        if any(record.exit_report is None and not record.lost for record in left):
            left = await wait_gone(pool, pool.options.close_timeout)
        # Of the others only the grid's end notice is missing, which may take it ten
        # minutes after a restart of its master, or for ever if their host is lost.
        if left:
            logger.warning(
                "No end notice for %s (e.g. %s, which %s). Check with: %s",
                plural(len(left), "node"),
                left[0],
                "has sent its exit report" if left[0].exit_report else "is silent",
                listing,
            )
    except Exception:
        logger.exception("Could not end all nodes. Check with: %s", listing)
    finally:
        await pool.launcher.aclose()


async def wait_gone(pool: NodePool, timeout: float) -> list[NodeRecord]:
    """Wait for the end of every node; returns the nodes that may still run.

    The end is the grid's notice; where those are found in a list of jobs, which shows a
    job until its epilog has ended, a node's exit report is as good.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    prompt = pool.launcher.batch_system.reliable_notices

    def remaining() -> list[NodeRecord]:
        live = pool.registry.live.values()
        return [each for each in live if prompt or each.exit_report is None]

    while remaining() and (left := deadline - loop.time()) > 0:
        pool.changed.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(pool.changed.wait(), left)
    return remaining()


def _remove(directory: Path, *, keep: Collection[str]) -> None:
    """Remove everything except the logs of these nodes.

    This includes the log of an unknown node: one whose submission was cancelled, and
    that started before it was deleted.
    """
    with contextlib.suppress(OSError):
        (directory / FILE_NAME).unlink(missing_ok=True)
        for log in (directory / "logs").glob("*.log"):
            if log.stem not in keep:
                log.unlink()
        if (directory / "logs").is_dir():
            (directory / "logs").rmdir()  # fails if it holds some
        directory.rmdir()
