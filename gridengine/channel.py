"""Messages from jobs to their host: a Dask queue, emptied as they come.

    JobController.send --> queue in Dask's scheduler --> Channel --> Run.deliver

A queue keeps the order. So when a job's result is here, all it has sent before is in
front of whatever the host itself puts into the queue then (`flush`).
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import deque
from weakref import WeakValueDictionary

from distributed import Client, Queue

from gridengine.run import Run
from gridengine.sealed import Sealed

#: Seconds between two looks at a client that might have been closed.
LOOK_SECONDS = 0.25

_MARK: list[object] = []
_LAST = None


def new_name() -> str:
    """A name for a channel, as no other has it."""
    return f"gridengine-{uuid.uuid4().hex}"


class Channel:
    """The host's end.

    Parameters
    ----------
    client
        Whose scheduler has the queue.
    name
        The queue's, from `new_name`.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._queue = Queue(name, client=client)
        self._runs: WeakValueDictionary[int, Run] = WeakValueDictionary()
        self._marks: deque[threading.Event] = deque()
        self._over = threading.Event()
        client.loop.add_callback(self._pump)

    def add(self, run: Run) -> None:
        """Deliver this run's messages from now on."""
        self._runs[run.ident] = run

    def flush(self) -> None:
        """Return when all is delivered that has been sent by jobs which have ended."""
        mark = threading.Event()
        self._client.loop.add_callback(self._put_mark, mark)
        while not mark.wait(LOOK_SECONDS):
            if self._over.is_set() or self._client.status != "running":
                return

    def close(self) -> None:
        """Take the queue away; what jobs send after that is an error there."""
        self._client.loop.add_callback(self._put, _LAST)
        while not self._over.wait(LOOK_SECONDS):
            if self._client.status != "running":
                return

    # In the loop

    async def _pump(self) -> None:
        try:
            while (record := await self._queue.get(asynchronous=True)) is not _LAST:
                if not record:
                    self._marks.popleft().set()
                    continue
                ident, pickled, *buffers = record
                if (run := self._runs.get(ident)) is not None:
                    # Arrays in bytes could not be written to.
                    run.deliver(Sealed("a message", pickled, *map(bytearray, buffers)))
        except (OSError, RuntimeError, KeyError, asyncio.CancelledError):
            pass  # the cluster has gone; whoever runs jobs on it will say so
        finally:
            self._over.set()
            self._queue.close()

    async def _put_mark(self, mark: threading.Event) -> None:
        self._marks.append(mark)
        await self._put(_MARK)

    async def _put(self, record: object) -> None:
        try:
            await self._queue.put(record, asynchronous=True)
        except (OSError, KeyError):
            self._over.set()  # as above
