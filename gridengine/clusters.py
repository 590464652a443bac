"""A cluster of our own with its client, and the promise that neither is left behind."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import logging
import os
import threading
import time
from collections import deque
from typing import Any

from distributed import Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from dask_gridengine import GridEngineCluster, NodesFailed
from gridengine.lanes import Flight, Lanes

logger = logging.getLogger(__name__)

#: Seconds a worker gets to end an item that nobody wants any more.
GRACE_SECONDS = 1.0
#: Seconds between two looks at whether other clusters wait for nodes, and seconds that
#: they must have waited: each new node is in the queue for a moment.
LOOK_SECONDS, OTHERS_SECONDS = 1.0, 5.0


class OwnCluster:
    """A cluster and a client in its own loop, closed together.

    Parameters
    ----------
    jobs
        Nodes to ask for at once.
    **options
        Of `GridEngineCluster`.
    """

    def __init__(self, jobs: int, **options: Any) -> None:
        # One death is enough: the engine finds out whose fault it was, by itself and
        # without sending a whole chunk to its death four times.
        dask_scheduler = {"allowed_failures": 0, **options.pop("scheduler_options", {})}
        self.cluster = GridEngineCluster(
            jobs,
            scheduler_options=dask_scheduler,
            # A worker's death is an error for Dask; here it is dealt with, and told.
            silence_logs=logging.CRITICAL,
            **options,
        )
        self._closing = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._timer: asyncio.TimerHandle | None = None
        # To rest is decided in the loop, to work in other threads.
        self._deciding = threading.Lock()
        self._awake, self._rested = True, False
        #: Since when, and down to how many nodes, a run's tail has needed no more.
        self._tail: deque[tuple[float, int]] = deque()
        try:
            self.client = Client(
                self.cluster.in_process_address,
                security=self.cluster.security,
                loop=self.cluster.loop,
                set_as_default=False,
            )
        except BaseException:
            self.cluster.close()
            raise
        self.client.scheduler_comm.recent_message_log = deque(maxlen=0)
        self.client.sync(self._forget_messages)
        _open.add(self)

    async def _forget_messages(self) -> None:
        scheduler, plugin = self.cluster.scheduler, _ForgetMessages()
        scheduler.add_plugin(plugin)
        for worker in scheduler.stream_comms:
            plugin.add_worker(scheduler, worker)

    @property
    def alive(self) -> bool:
        """Whether it can be used: neither closed nor inherited by a fork."""
        is_open = self.cluster.status is Status.running and not self._closed
        return is_open and self._pid == os.getpid()

    def slots(self) -> int:
        """Threads of the workers there are; or, if there are none, shall be."""
        # The copy that `dict` itself makes is made in one step, in whatever thread.
        workers = list(dict.values(self.cluster.scheduler.workers))
        threads = sum(ws.nthreads for ws in workers if ws.status is Status.running)
        return threads or max(1, self.wanted * self.cluster.options.cores)

    @property
    def wanted(self) -> int:
        """Nodes there shall be; the cluster replaces what is lost of them."""
        return self.cluster.wanted

    @property
    def queued(self) -> int:
        """Nodes that wait in the grid's queue; from a count that is kept."""
        return self.cluster.counts.get("queued", 0)

    def grow(self, jobs: int) -> None:
        """Have at least so many nodes, now or queued, and do not rest.

        Where no node could be had any more, this tries anew.

        Raises
        ------
        SubmitError
            If the grid refuses more.
        """
        with self._deciding:
            self._awake = True
            self._tail.clear()
            rested, self._rested = self._rested, False
        self.client.loop.add_callback(self._stop_timer)
        wanted = 0 if rested else self.wanted
        if wanted < jobs or self.stuck() is not None:
            self.cluster.scale(max(wanted, jobs))

    def tail(self, chunks: int, seconds: float) -> None:
        """Give back the nodes that the tail of a run has not needed for so long.

        A thousand items of a minute and one of two hours are no reason to hold a
        hundred nodes for two hours. To be called again and again.

        Parameters
        ----------
        chunks
            What is under way; there is nothing else, and nobody begins anything while
            this is called. Each may be on a node of its own.
        seconds
            How long a node is kept that has nothing to do. Shorter if another
            cluster of this process waits for nodes.
        """
        now = time.monotonic()
        if self._others_wait():
            seconds = min(seconds, OTHERS_SECONDS)
        with self._deciding:
            while self._tail and self._tail[-1][1] < chunks:
                self._tail.pop()
            if not self._tail or self._tail[-1][1] > chunks:
                self._tail.append((now, chunks))
            needed = self.wanted
            while self._tail and now - self._tail[0][0] >= seconds:
                needed = min(needed, self._tail.popleft()[1])
        # Not within the lock, which the loop takes as well: this waits for the loop.
        if needed < self.wanted:
            self.cluster.scale(needed)

    def stuck(self) -> NodesFailed | None:
        """Why no worker will come any more; None while one may."""
        return self.cluster.stuck()

    def rest_after(self, seconds: float | None) -> None:
        """Give all nodes back if there is no work for so long; None keeps them.

        Sooner if another cluster of this process waits for nodes.
        """
        if seconds is not None:
            self._awake = False
            self.client.loop.add_callback(self._start_timer, seconds)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        now = time.monotonic()
        self._look(until=now + seconds, others_from=now)

    def _look(self, until: float, others_from: float) -> None:
        now = time.monotonic()
        if not self._others_wait():
            others_from = now
        left = min(until - now, OTHERS_SECONDS - (now - others_from))
        if left <= 0:
            self._rest()
            return
        loop = asyncio.get_running_loop()
        again = functools.partial(self._look, until, others_from)
        self._timer = loop.call_later(min(LOOK_SECONDS, left), again)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _others_wait(self) -> bool:
        """Whether another cluster of this process waits for nodes of the same grid.

        Not one of ours that has nothing to do itself.
        """
        with contextlib.suppress(Exception):  # one of them has just opened or closed
            idle = {own.cluster for own in list(_open) if not own._awake}
            grid = self.cluster.launcher_description
            return any(
                isinstance(other, GridEngineCluster)
                and other not in (self.cluster, *idle)
                and other.status is Status.running
                and other.launcher_description == grid
                and other.counts.get("queued", 0) > 0
                for other in list(SpecCluster._instances)
            )
        return False

    def _rest(self) -> None:
        with self._deciding:
            if self._awake or not self.alive or not self.wanted:
                return
            self._rested = True
            # In this loop it only begins here; whoever wakes up asks after it.
            self.cluster.scale(0)

    def free(self, lanes: Lanes, flights: set[Flight]) -> None:
        """Take workers back from chunks that were called off; returns at once.

        Nothing can interrupt a function, and it may run for hours: what has not ended
        after `GRACE_SECONDS` is ended with its worker process.
        """
        self.client.loop.add_callback(self._free, lanes, flights)

    async def _free(self, lanes: Lanes, flights: set[Flight]) -> None:
        await asyncio.sleep(GRACE_SECONDS)
        try:
            if busy := await lanes.still_running(flights):
                await lanes.end_workers(busy)
        except Exception:
            if self.alive:  # otherwise they are ended anyway
                logger.warning("could not end what was called off", exc_info=True)

    def close(self) -> None:
        """End all of it; idempotent."""
        with self._closing:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
        _open.discard(self)
        with contextlib.suppress(Exception):  # the cluster is what matters
            self.client.close()
        self.cluster.close()

    def close_soon(self) -> None:
        """End all of it without waiting; for finalizers, which run in any thread."""
        if self._closed or self._pid != os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # at exit: `_close_all` does it
            threading.Thread(target=self.close, name="gridengine-close").start()


class _ForgetMessages(SchedulerPlugin):  # type: ignore[misc]
    """Dask keeps its last thousand messages on each way, for debugging.

    Ours have the arguments of chunks in them: gigabytes, after some time.
    """

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        scheduler.stream_comms[worker].recent_message_log = deque(maxlen=0)

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        scheduler.client_comms[client].recent_message_log = deque(maxlen=0)


#: All that are open; Python's end closes them, whoever still refers to them.
_open: set[OwnCluster] = set()


@atexit.register
def _close_all() -> None:
    for cluster in list(_open):
        cluster.close()
