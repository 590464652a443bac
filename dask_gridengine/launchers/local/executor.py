"""A grid the size of one machine: slots, a queue, walltimes, end notices.

Nodes see what Grid Engine would show them and end as they would there: qdel and h_rt
are SIGKILL to everything they started. Single-threaded, driven by an event loop.
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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.grid_types import (
    EndCallback,
    EndNotice,
    NodeId,
    NodeRequest,
    signal_name,
)
from dask_gridengine.launchers.local import orphans, semaphores

# Bytes in what the kernel counts the biggest process of a node in. It never says less
# than what this process had when it forked, and never adds processes up.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(kw_only=True, eq=False)
class _Node:
    id: NodeId
    request: NodeRequest
    count: int  # nodes in its array
    process: subprocess.Popen[bytes] | None = None  # None while it queues
    started: float = 0.0  # on the loop's clock
    limit: asyncio.TimerHandle | None = None
    cancelled: bool = False
    reason: str = ""


class LocalExecutor:
    """Runs nodes as child processes, no more at a time than there are slots.

    A node of more slots than there are runs, too, while no other does.

    Parameters
    ----------
    slots
        How many slots there are.
    on_end
        Told of the end of every node, also of one that never ran.

    Attributes
    ----------
    directory
        Holds a private ``TMPDIR`` for each node that runs.
    """

    def __init__(self, slots: int, on_end: EndCallback) -> None:
        self.slots = slots
        self._free = slots
        self._on_end = on_end
        self._jobs = 0
        self._queue: deque[_Node] = deque()
        self._running: dict[int, _Node] = {}  # by process id
        self.directory = Path(tempfile.mkdtemp(prefix="dask-gridengine-"))
        self._preexec: Callable[[], None] | None = orphans.dies_with_parent()
        self._loop = asyncio.get_running_loop()
        orphans.become_reaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """Queue an array; nothing of it starts before the next turn of the loop."""
        self._jobs += 1
        ids = [NodeId(str(self._jobs), index) for index in range(1, count + 1)]
        for node in ids:
            self._queue.append(_Node(id=node, request=request, count=count))
        self._loop.call_soon(self._start_what_fits)
        return ids

    def cancel(self, nodes: Iterable[NodeId]) -> None:
        """Drop the queued ones, SIGKILL the running ones, ignore the rest."""
        cancelled = set(nodes)
        dropped = [node for node in self._queue if node.id in cancelled]
        self._queue = deque(node for node in self._queue if node.id not in cancelled)
        for pid, node in self._running.items():
            if node.id in cancelled:
                node.cancelled = True
                orphans.kill_group(pid)
        for node in dropped:
            self._on_end(EndNotice(node=node.id, cancelled=True))
        self._loop.call_soon(self._start_what_fits)

    def cancel_all(self) -> None:
        """Stop everything there is."""
        everyone = [*self._queue, *self._running.values()]
        self.cancel(node.id for node in everyone)

    async def aclose(self, timeout: float) -> None:
        """Stop everything; return when it is gone or `timeout` seconds are over."""
        deadline = self._loop.time() + timeout
        self.cancel_all()
        while self._running or self._kill_orphans():
            if self._loop.time() > deadline:
                break
            # SIGCHLD cannot be awaited: an orphan may get here after its sign.
            await asyncio.sleep(0.01)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_what_fits(self) -> None:
        # Strictly first in, first out: a node that waits for many slots is never
        # overtaken by small ones, so it cannot starve.
        while self._queue and self._taken_by(self._queue[0]) <= self._free:
            self._start(self._queue.popleft())

    def _taken_by(self, node: _Node) -> int:
        return min(node.request.slots, self.slots)

    def _start(self, node: _Node) -> None:
        tmp = self._directory(node)
        node.started = self._loop.time()
        try:
            tmp.mkdir(mode=0o700)
            node.process = subprocess.Popen(
                node.request.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self._environment(node, tmp),
                start_new_session=True,
                preexec_fn=self._preexec,
            )
        except (OSError, subprocess.SubprocessError, ValueError) as exc:
            shutil.rmtree(tmp, ignore_errors=True)
            reason = f"the command could not be started: {exc}"
            self._on_end(EndNotice(node=node.id, reason=reason, unstarted=True))
            return
        self._free -= self._taken_by(node)
        self._running[node.process.pid] = node
        if (walltime := node.request.walltime) is not None:
            node.limit = self._loop.call_later(walltime, self._out_of_time, node)

    def _directory(self, node: _Node) -> Path:
        return self.directory / str(node.id)

    def _environment(self, node: _Node, tmp: Path) -> dict[str, str]:
        return {
            **os.environ,
            **node.request.environment,
            "JOB_ID": node.id.job,
            "JOB_NAME": node.request.name,
            "SGE_TASK_ID": str(node.id.index),
            "SGE_TASK_FIRST": "1",
            "SGE_TASK_LAST": str(node.count),
            "SGE_TASK_STEPSIZE": "1",
            "NSLOTS": str(node.request.slots),
            "NHOSTS": "1",
            "HOSTNAME": socket.gethostname(),
            "QUEUE": "local",
            "TMPDIR": str(tmp),
            orphans.MARK: str(tmp),
        }

    def _out_of_time(self, node: _Node) -> None:
        assert node.process is not None
        node.reason = (
            f"it ran longer than its walltime of {node.request.walltime:g} s;"
            " Grid Engine's h_rt does the same"
        )
        orphans.kill_group(node.process.pid)

    def _reap(self) -> None:
        """Collect whoever ended: nodes, and orphans that became ours."""
        ended: list[tuple[_Node, int, int]] = []
        with contextlib.suppress(ChildProcessError):  # there are no children at all
            while (reaped := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, usage = reaped
                if node := self._running.pop(pid, None):
                    orphans.kill_group(pid)
                    code = os.waitstatus_to_exitcode(status)
                    ended.append((node, code, usage.ru_maxrss * MAXRSS_UNIT))
        # Killing an orphan makes orphans of its children and sends SIGCHLD, which
        # leads back here: generation after generation goes.
        self._kill_orphans()
        for node, code, peak_memory in ended:
            self._end(node, code, peak_memory)
        self._start_what_fits()

    def _end(self, node: _Node, code: int, peak_memory: int) -> None:
        assert node.process is not None
        node.process.returncode = code  # we have reaped it; Popen need not try
        if node.limit is not None:
            node.limit.cancel()
        self._free += self._taken_by(node)
        shutil.rmtree(self._directory(node), ignore_errors=True)
        semaphores.remove_stale(node.process.pid)
        self._on_end(
            EndNotice(
                node=node.id,
                exit_status=code if code >= 0 else None,
                signal=signal_name(-code) if code < 0 else None,
                cancelled=node.cancelled,
                reason=node.reason,
                ran=self._loop.time() - node.started,
                peak_memory=peak_memory,
            )
        )

    def _kill_orphans(self) -> bool:
        """Kill what the ended nodes left; whether there was any."""
        alive = {str(self._directory(node)) for node in self._running.values()}
        found = False
        for pid, submission_id in orphans.orphans(
            self._running, prefix=str(self.directory)
        ):
            # A daemon of a live node stays. One without a mark could be anybody's.
            if submission_id not in alive and (submission_id or not alive):
                orphans.kill(pid)
                found = True
        return found
