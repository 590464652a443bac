"""The process launcher's child, ``dask_gridengine.launchers.local.process``.

It reads and writes the messages of `protocol` and runs the nodes in a `LocalExecutor`.
When its parent ends, it kills every node, removes its files and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from argparse import Namespace

from dask_gridengine.grid_types import EndNotice
from dask_gridengine.launchers.child import (
    ParentPipe,
    end_fields,
    parse_arguments,
    remove_shared_directory,
)
from dask_gridengine.launchers.local.executor import LocalExecutor
from dask_gridengine.launchers.protocol import (
    INTERNAL,
    Message,
    pack,
    unpack,
    unpack_request,
)

WATCH_INTERVAL = 0.5  # seconds between looks at the parent's process id


def available_slots() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessSession:
    """Carries out what the parent asks, until it asks to close or is gone."""

    def __init__(self, pipe: ParentPipe, options: Namespace) -> None:
        self._pipe = pipe
        self._cleanup = options.cleanup
        self._grid = LocalExecutor(options.slots or available_slots(), self._say_end)
        self._loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[Message | None] = self._loop.create_future()

    async def run(self) -> None:
        """Serve until the end; returns when nothing is left."""
        # No-op handlers, not SIG_IGN: nodes would inherit that through exec.
        for number in (signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, lambda: None)
        self._loop.add_signal_handler(signal.SIGTERM, self._finish, None)
        self._loop.add_reader(self._pipe, self._listen)
        self._watch_parent()
        directory = str(self._grid.directory)
        self._pipe.send("ready", slots=self._grid.slots, directory=directory)
        request = await self._stop
        self._loop.remove_reader(self._pipe)
        await self._grid.aclose(timeout=request["timeout"] if request else 10)
        if request is not None:
            self._pipe.send("reply", id=request["id"])
        if self._pipe.outlives_parent():  # else it removes its directory itself
            remove_shared_directory(self._cleanup)

    def _watch_parent(self) -> None:
        if self._pipe.parent_gone:
            self._finish(None)
        else:
            self._loop.call_later(WATCH_INTERVAL, self._watch_parent)

    def _listen(self) -> None:
        for message in self._pipe.receive():
            self._execute(message)
        if self._pipe.parent_gone:
            self._finish(None)

    def _finish(self, request: Message | None) -> None:
        if not self._stop.done():
            self._stop.set_result(request)

    def _execute(self, message: Message) -> None:
        kind, number = message["kind"], message["id"]
        if kind == "submit":
            request = unpack_request(message["request"])
            nodes = self._grid.submit(request, message["count"])
            self._pipe.send("reply", id=number, nodes=pack(nodes))
        elif kind == "cancel":
            self._grid.cancel(unpack(message["nodes"]))
            self._pipe.send("reply", id=number)
        elif kind == "ask":
            self._pipe.send("reply", id=number)  # SIGCHLD misses no end
        elif kind == "close":
            self._finish(message)
        else:
            text = f"no such request: {kind!r}"
            self._pipe.send("reply", id=number, error=INTERNAL, text=text)

    def _say_end(self, end: EndNotice) -> None:
        self._pipe.send("end", **end_fields(end))


async def _run(options: Namespace) -> None:
    await ProcessSession(ParentPipe(options.parent), options).run()


def main() -> None:
    """Run the session until its parent closes it or goes."""
    asyncio.run(_run(parse_arguments(sys.argv[1:])))


if __name__ == "__main__":
    main()
