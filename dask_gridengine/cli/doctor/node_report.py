"""What is measured on each node, in a Dask worker, with ``client.run``."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Worker

from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.formatting import format_duration
from dask_gridengine.net.connect_probe import CONNECTED, try_connect

PEER_SECONDS = 3.0  # for another worker to accept a connection
SCRATCH_SECONDS = 20.0  # for a file server to answer
WRITTEN = 16 * 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A scratch directory."""

    directory: str
    free: int = 0  # bytes
    speed: float = 0.0  # bytes a second, written and synchronised
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """One node, as its worker sees it."""

    host: str
    python: str
    threads: int
    memory_limit: int  # bytes; 0 means no limit
    open_files: int  # the hard limit
    scheduler: str  # the address it is connected to
    scratch: Scratch
    #: Other workers that it cannot connect to: address to the result of the attempt.
    unreachable: dict[str, str] = field(default_factory=dict)


async def report_node(peers: Sequence[str], dask_worker: Worker) -> NodeReport:
    """Measure the node of a worker; `peers` are ``host:port`` of other workers."""
    answers = await asyncio.gather(
        *(in_thread(try_connect, peer, PEER_SECONDS) for peer in peers)
    )
    # DIRECTORY/dask-scratch-space/worker-...
    directory = str(Path(dask_worker.local_directory).parents[1])
    try:
        scratch = await in_thread(measure, directory, timeout=SCRATCH_SECONDS)
    except asyncio.TimeoutError:
        error = f"no answer in {format_duration(SCRATCH_SECONDS)}"
        scratch = Scratch(directory=directory, error=error)
    return NodeReport(
        host=socket.gethostname(),
        python=f"{platform.python_version()} ({sys.executable})",
        threads=dask_worker.state.nthreads,
        memory_limit=dask_worker.memory_manager.memory_limit or 0,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        scheduler=dask_worker.scheduler.address,
        scratch=scratch,
        unreachable={
            peer: answer
            for peer, (answer, _) in zip(peers, answers, strict=True)
            if answer != CONNECTED
        },
    )


def measure(directory: str) -> Scratch:
    """Write a file to a directory, and delete it."""
    try:
        room = os.statvfs(directory)
        data = os.urandom(WRITTEN)  # some file systems do not store zeros
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            began = time.monotonic()
            written = file.write(data)
            os.fsync(file.fileno())
            seconds = time.monotonic() - began
    except OSError as exc:
        return Scratch(directory=directory, error=exc.strerror or str(exc))
    free = room.f_bavail * room.f_frsize
    return Scratch(directory=directory, free=free, speed=written / max(1e-6, seconds))
