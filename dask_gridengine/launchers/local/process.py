"""The process launcher's child process: ``dask_gridengine.launchers.local.process``.

When its parent ends, it kills every node, removes its files and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from argparse import Namespace

from dask_gridengine.launchers.child import (
    ParentPipe,
    parse_arguments,
    remove_shared_directory,
)
from dask_gridengine.launchers.local.executor import LocalExecutor
from dask_gridengine.launchers.messages import (
    INTERNAL,
    READY,
    Message,
    decode_request,
    from_ranges,
    to_ranges,
)

WATCH_INTERVAL = 0.5  # seconds between checks of the parent's process id


def available_slots() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessSession:
    """Serves the parent until the parent asks it to close or is gone."""

    def __init__(self, pipe: ParentPipe, options: Namespace) -> None:
        slots = options.slots or available_slots()
        self._pipe, self._cleanup = pipe, options.cleanup
        self._executor = LocalExecutor(slots, pipe.send_end)
        self._loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[Message | None] = self._loop.create_future()

    async def run(self) -> None:
        """Serve; return when nothing is left."""
        # Handlers that do nothing, not SIG_IGN: nodes would inherit that through exec.
        for number in (signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, lambda: None)
        self._loop.add_signal_handler(signal.SIGTERM, self._finish, None)
        self._loop.add_reader(self._pipe, self._receive)
        self._watch_parent()
        executor = self._executor
        directory = str(executor.directory)
        self._pipe.send("reply", id=READY, slots=executor.slots, directory=directory)
        request = await self._stop
        self._loop.remove_reader(self._pipe)
        await executor.aclose(timeout=request["timeout"] if request else 10)
        if request is not None:
            self._pipe.send("reply", id=request["id"])
        if self._pipe.outlives_parent():  # otherwise the parent removes its directory
            remove_shared_directory(self._cleanup)

    def _watch_parent(self) -> None:
        if self._pipe.parent_gone:
            self._finish(None)
        else:
            self._loop.call_later(WATCH_INTERVAL, self._watch_parent)

    def _receive(self) -> None:
        for message in self._pipe.receive():
            self._handle(message)
        if self._pipe.parent_gone:
            self._finish(None)

    def _finish(self, request: Message | None) -> None:
        if not self._stop.done():
            self._stop.set_result(request)

    def _handle(self, message: Message) -> None:
        kind = message["kind"]
        result: Message = {}
        if kind == "submit":
            request = decode_request(message["request"])
            nodes = self._executor.submit(request, message["count"])
            result = {"nodes": to_ranges(nodes)}
        elif kind == "cancel":
            self._executor.cancel(from_ranges(message["nodes"]))
        elif kind == "close":
            self._finish(message)
            return
        elif kind != "recheck":  # needs no work: SIGCHLD misses no end
            result = {"error": INTERNAL, "text": f"unknown request {kind!r}"}
        self._pipe.send("reply", id=message["id"], **result)


async def _run(options: Namespace) -> None:
    await ProcessSession(ParentPipe(options.parent), options).run()


def main() -> None:
    """Serve the parent until it closes this session or ends."""
    asyncio.run(_run(parse_arguments(sys.argv[1:])))


if __name__ == "__main__":
    main()
