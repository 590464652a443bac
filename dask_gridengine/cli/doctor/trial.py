"""Starts a small cluster with the user's options and asks its nodes for reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.connection_file import make_private_directory
from dask_gridengine.cli.doctor.finding import Finding, passed
from dask_gridengine.cli.doctor.node_report import NodeReport, report_node
from dask_gridengine.clock import steady_time
from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.formatting import plural
from dask_gridengine.naming import node_of
from dask_gridengine.net.connect_probe import CONNECTED, try_connect
from dask_gridengine.nodes.history import JobRow
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.options import Options

START_SECONDS = 90.0  # from a node's arrival until it has a worker
CONNECT_SECONDS = 3.0  # for a worker to accept a connection
REPORT_SECONDS = 60.0
REMOVAL_SECONDS = 10.0
POLL_SECONDS = 0.1


@dataclass(kw_only=True)
class NodeResult:
    """What is known of one node of the trial."""

    row: JobRow
    explanation: str  # by `GridEngineCluster.explain`
    answer: str = ""  # of its worker to a connection from here
    report: NodeReport | None = None
    error: str = ""  # reason of a missing report
    ahead: float = 0.0  # seconds of its clock before the clock of this host
    accuracy: float = 0.0  # seconds; half the round trip

    @property
    def place(self) -> str:
        """Its host, or its id where the host is unknown."""
        return self.row.host or f"node {self.row.id}"


async def make_directories(
    options: Options, made: dict[str, Path], stack: AsyncExitStack
) -> Finding:
    """Make directories for the cluster's files and logs, which `stack` removes.

    A cluster keeps the logs of failed nodes; the doctor leaves nothing.
    """
    shared, logs = options.shared_directory, options.log_directory
    for option, parent in (("shared_directory", shared), ("log_directory", logs)):
        if parent is not None:
            new = not await in_thread(parent.exists)
            made[option] = await in_thread(make_private_directory, parent, "doctor")
            stack.push_async_callback(_remove, made[option], parent if new else None)
    return passed(f"{shared} is writable")


class Trial:
    """A cluster of a few nodes. Needs a running event loop.

    Parameters
    ----------
    options
        Of the cluster, resolved.
    given
        Those of them that do not come from Dask's configuration.
    count
        Nodes to submit.
    """

    def __init__(
        self, options: Options, given: Mapping[str, Any], *, count: int
    ) -> None:
        self._count = min(count, options.max_jobs or count)
        own: dict[str, Any] = {
            "name": f"doctor-{options.name}"[:64],
            "pools": {},
            "scheduler_options": {**options.scheduler_options, "dashboard": False},
        }
        self._cluster = GridEngineCluster(
            jobs=self._count,
            asynchronous=True,
            quiet=True,
            silence_logs=logging.CRITICAL,
            **{**given, **own},
        )

    async def start(self, stack: AsyncExitStack) -> Finding:
        """Start the cluster, which `stack` closes."""
        began = time.monotonic()
        await stack.enter_async_context(self._cluster)
        seconds = time.monotonic() - began
        return passed(
            f"{self._cluster.launcher_description}; {plural(self._count, 'node')}"
            f" submitted after {seconds:.1f} s"
        )

    @property
    def _rows(self) -> Sequence[JobRow]:
        """The nodes submitted first; the cluster replaces those that fail."""
        return self._cluster.jobs()[: self._count]

    async def wait(self, timeout: float, progress: Callable[[str], object]) -> None:
        """Wait until each node has a worker or has ended.

        A node may queue for `timeout` seconds, and needs `START_SECONDS` after that.
        """
        deadline = steady_time() + timeout
        while pending := [row for row in self._rows if not _is_settled(row)]:
            ends = [
                deadline if row.arrived is None else row.arrived + START_SECONDS
                for row in pending
            ]
            left = max(ends) - steady_time()
            if left < 0:
                return
            started = sum(row.arrived is not None for row in self._rows)
            progress(
                f"{started} of {self._count} nodes started; waiting {left:.0f} s more"
            )
            await asyncio.sleep(POLL_SECONDS)

    async def results(self) -> list[NodeResult]:
        """Ask each node with a worker for a report; never raises."""
        results = [
            NodeResult(row=row, explanation=self._cluster.explain(str(row.id)))
            for row in self._rows
        ]
        workers = {
            node_of(info["name"]): address
            for address, info in self._cluster.scheduler_info["workers"].items()
        }
        asked = {
            address: result
            for result in results
            if (address := workers.get(result.row.worker or ""))
        }
        try:
            async with Client(
                self._cluster, asynchronous=True, set_as_default=False
            ) as client:
                requests = (_ask(client, asked, address) for address in asked)
                await asyncio.gather(*requests)
        except (OSError, asyncio.TimeoutError) as exc:  # no connection from here
            for result in asked.values():
                result.error = result.error or f"the scheduler cannot be reached: {exc}"
        return results


async def _ask(client: Client, results: Mapping[str, NodeResult], address: str) -> None:
    """Fill in the result of the worker at this address."""
    result = results[address]
    result.answer, _ = await in_thread(try_connect, _place(address), CONNECT_SECONDS)
    if result.answer != CONNECTED:
        return  # the scheduler cannot send it a message either
    others = [_place(other) for other in results if other != address]
    try:
        clock = _clock(client, address)
        result.ahead, result.accuracy = await asyncio.wait_for(clock, REPORT_SECONDS)
        report = client.run(report_node, others, workers=[address])
        result.report = (await asyncio.wait_for(report, REPORT_SECONDS))[address]
    except asyncio.TimeoutError:
        result.error = "its worker did not answer"
    except Exception as exc:  # noqa: BLE001 - Dask raises whatever the worker does
        result.error = f"{type(exc).__name__}: {exc}"


def _place(address: str) -> str:
    return address.partition("://")[2]


async def _clock(client: Client, address: str) -> tuple[float, float]:
    """Return how far a worker's clock is ahead, and how exactly that is known."""
    await client.run(time.time, workers=[address])  # connects
    began, at = time.monotonic(), time.time()
    theirs = (await client.run(time.time, workers=[address]))[address]
    half = (time.monotonic() - began) / 2
    return theirs - (at + half), half


def _is_settled(row: JobRow) -> bool:
    return bool(row.cause) or row.state in (NodeState.WORKING, NodeState.SUSPENDED)


async def _remove(directory: Path, parent: Path | None) -> None:
    """Remove a directory, and its parent if that is new and empty."""

    def remove() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        if parent is not None:
            with contextlib.suppress(OSError):
                parent.rmdir()

    with contextlib.suppress(asyncio.TimeoutError):  # a dead file server
        await in_thread(remove, timeout=REMOVAL_SECONDS)
