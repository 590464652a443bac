"""Runs nodes on this machine: slots, a queue, walltimes, end notices.

Nodes get the environment of a Grid Engine job and end like one: qdel and h_rt are
SIGKILL to every process of the node. Single-threaded, driven by an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.formatting import format_duration
from dask_gridengine.grid_types import (
    EndCallback,
    EndNotice,
    NodeId,
    NodeRequest,
    signal_name,
)
from dask_gridengine.launchers.local import orphans, semaphores

# Bytes of the unit in which the kernel reports the largest process of a node. The value
# is never below what this process had when it forked, and never a sum of processes.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(kw_only=True, eq=False)
class _QueuedNode:
    id: NodeId
    request: NodeRequest
    num_nodes: int  # of its array
    slots: int  # that it takes


@dataclass(kw_only=True, eq=False)
class _RunningNode:
    queued: _QueuedNode
    process: subprocess.Popen[bytes]
    directory: Path
    started: float  # on the loop's clock
    walltime_timer: asyncio.TimerHandle | None = None
    cancelled: bool = False
    reason: str = ""


class LocalExecutor:
    """Runs nodes as child processes, at most as many as there are slots.

    A node that requests more slots than there are runs alone. `directory` holds a
    private ``TMPDIR`` for each running node.
    """

    def __init__(self, slots: int, on_end: EndCallback) -> None:
        self.slots = slots
        self._free = slots
        self._on_end = on_end
        self._jobs = 0
        self._queue: deque[_QueuedNode] = deque()
        self._running: dict[int, _RunningNode] = {}  # by process id
        self.directory = Path(tempfile.mkdtemp(prefix="dask-gridengine-"))
        self._preexec = orphans.die_with_parent()
        self._loop = asyncio.get_running_loop()
        orphans.become_reaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """Queue an array; its nodes start in the next iteration of the loop."""
        self._jobs += 1
        ids = [NodeId(str(self._jobs), index) for index in range(1, count + 1)]
        slots = min(request.slots, self.slots)
        self._queue.extend(
            _QueuedNode(id=node, request=request, num_nodes=count, slots=slots)
            for node in ids
        )
        self._loop.call_soon(self._start_queued)
        return ids

    def cancel(self, nodes: Iterable[NodeId]) -> None:
        """Drop queued nodes, SIGKILL running ones, ignore others."""
        cancelled = set(nodes)
        dropped = [node for node in self._queue if node.id in cancelled]
        self._queue = deque(node for node in self._queue if node.id not in cancelled)
        for pid, node in self._running.items():
            if node.queued.id in cancelled:
                node.cancelled = True
                orphans.kill_group(pid)
        for queued in dropped:
            self._on_end(EndNotice(node=queued.id, cancelled=True))
        self._loop.call_soon(self._start_queued)

    async def aclose(self, timeout: float) -> None:
        """Stop all nodes; wait at most `timeout` seconds until they are gone."""
        deadline = self._loop.time() + timeout
        running = [node.queued for node in self._running.values()]
        self.cancel(node.id for node in [*self._queue, *running])
        while self._running or self._kill_orphans():
            if self._loop.time() > deadline:
                break
            # SIGCHLD cannot be awaited: an orphan may become ours after its signal.
            await asyncio.sleep(0.01)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_queued(self) -> None:
        # Strictly first in, first out: smaller nodes never overtake a node that waits
        # for many slots, so it cannot starve.
        while self._queue and self._queue[0].slots <= self._free:
            self._start(self._queue.popleft())

    def _start(self, node: _QueuedNode) -> None:
        directory = self.directory / str(node.id)
        started = self._loop.time()
        try:
            directory.mkdir(mode=0o700)
            process = subprocess.Popen(
                node.request.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(node, directory),
                start_new_session=True,
                preexec_fn=self._preexec,
            )
        except (OSError, subprocess.SubprocessError, ValueError) as exc:
            shutil.rmtree(directory, ignore_errors=True)
            reason = f"the command could not be started: {exc}"
            self._on_end(EndNotice(node=node.id, reason=reason, unstarted=True))
            return
        self._free -= node.slots
        running = _RunningNode(
            queued=node,
            process=process,
            directory=directory,
            started=started,
        )
        self._running[process.pid] = running
        if (walltime := node.request.walltime) is not None:
            running.walltime_timer = self._loop.call_later(
                walltime, self._on_walltime, running
            )

    def _on_walltime(self, node: _RunningNode) -> None:
        walltime = format_duration(node.queued.request.walltime or 0.0)
        node.reason = (
            f"it ran longer than its walltime of {walltime}; Grid Engine's h_rt does"
            " the same"
        )
        orphans.kill_group(node.process.pid)

    def _reap(self) -> None:
        """Collect all processes that ended: nodes, and orphans that became ours."""
        ended: list[tuple[_RunningNode, int, int]] = []
        with contextlib.suppress(ChildProcessError):  # there are no children
            while (reaped := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, usage = reaped
                if node := self._running.pop(pid, None):
                    orphans.kill_group(pid)
                    code = os.waitstatus_to_exitcode(status)
                    ended.append((node, code, usage.ru_maxrss * MAXRSS_UNIT))
        # Killing an orphan makes orphans of its children and sends SIGCHLD, which calls
        # this again: generation after generation is killed.
        self._kill_orphans()
        for node, code, peak_memory in ended:
            self._end(node, code, peak_memory)
        self._start_queued()

    def _end(self, node: _RunningNode, code: int, peak_memory: int) -> None:
        node.process.returncode = code  # we have reaped it; Popen need not try
        if node.walltime_timer is not None:
            node.walltime_timer.cancel()
        self._free += node.queued.slots
        shutil.rmtree(node.directory, ignore_errors=True)
        semaphores.remove_stale(node.process.pid)
        self._on_end(
            EndNotice(
                node=node.queued.id,
                exit_status=code if code >= 0 else None,
                signal=signal_name(-code) if code < 0 else None,
                cancelled=node.cancelled,
                reason=node.reason,
                ran=self._loop.time() - node.started,
                peak_memory=peak_memory,
            )
        )

    def _kill_orphans(self) -> bool:
        """Kill processes that ended nodes left; return whether there were any."""
        live = {str(node.directory) for node in self._running.values()}
        found = False
        for pid, node in orphans.orphans(self._running, prefix=str(self.directory)):
            # A daemon of a live node stays. One without a mark may belong to any node.
            if node not in live and (node or not live):
                orphans.kill(pid)
                found = True
        return found


def _environment(node: _QueuedNode, directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        **node.request.environment,
        "JOB_ID": node.id.job,
        "JOB_NAME": node.request.name,
        "SGE_TASK_ID": str(node.id.index),
        "SGE_TASK_FIRST": "1",
        "SGE_TASK_LAST": str(node.num_nodes),
        "SGE_TASK_STEPSIZE": "1",
        "NSLOTS": str(node.request.slots),
        "NHOSTS": "1",
        "HOSTNAME": socket.gethostname(),
        "QUEUE": "local",
        "TMPDIR": str(directory),
        orphans.NODE_VARIABLE: str(directory),
    }
