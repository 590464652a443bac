"""Chunks on their way: one coroutine each, in the client's event loop.

The thread that runs a map prepares chunks and takes results apart; everything of Dask's
happens here. So neither waits for the other, and a result is fetched as soon as it is
there, from the worker that has it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.utils_comm import gather_from_workers

from gridengine.chunk import Done, run_chunk
from gridengine.sealed import Sealed
from gridengine.source import Batch

#: Up to so many bytes the function goes along with every chunk.
FUNCTION_BYTES = 64 * 2**10

#: Seconds after which a result that does not come is looked for again.
LOOK_SECONDS = 0.25
TAKE_SECONDS = 0.25  # for the loop to take a chunk; one that is closed never does
ANSWER_SECONDS = 2.0  # for a worker without a nanny to obey
PAUSE_SECONDS = 0.05  # for the scheduler to notice a death

#: What says that a worker went, or was lost sight of, while it had a chunk.
DEATHS = (KilledWorker, concurrent.futures.CancelledError)


@dataclass(slots=True, eq=False)
class Flight:
    """A chunk that was sent off."""

    batch: Batch
    seconds: float | None  # as in `run_chunk`
    stop: bool  # as in `run_chunk`
    alone: bool = False  # whether nothing else was under way
    future: Future | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """How a flight ended."""

    flight: Flight
    done: Done | None
    error: BaseException | None
    at: float = field(default_factory=time.monotonic)


class Lanes:
    """Sends chunks off and reports how they ended.

    Parameters
    ----------
    client
        Whose workers run them.
    function
        What they apply.
    name
        What Dask's dashboard shows them as.
    direct
        Whether results are fetched from the workers, past the scheduler.
    inline
        Up to so many bytes a chunk's arguments go along with its task, through the
        scheduler. Above, they go to a worker, at the price of three round trips.
    """

    def __init__(
        self, client: Client, function: Sealed, name: str, *, direct: bool, inline: int
    ) -> None:
        self._client, self._function, self._name = client, function, name
        self._direct, self._inline = direct, inline
        self._shared: Future | None = None  # the function, if it is a big one
        self._landed: queue.SimpleQueue[Landing | None] = queue.SimpleQueue()
        self._flying: set[Flight] = set()  # touched in the loop only

    def send(self, flight: Flight, items: Sealed) -> None:
        """Send a chunk off.

        Waits until the loop has taken it. Otherwise this thread would go on to pickle
        the next ones and keep the interpreter's lock, while workers wait for the first.
        """
        taken = threading.Event()

        def take() -> None:
            self._take_off(flight, items)
            asyncio.get_running_loop().call_soon(taken.set)

        self._client.loop.add_callback(take)
        taken.wait(TAKE_SECONDS)

    def land(self, timeout: float) -> Landing | None:
        """The next to have landed, in whatever order; None after `timeout` seconds."""
        try:
            return self._landed.get(timeout=timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Have `land` return, with None if nothing has landed."""
        self._landed.put(None)

    def cancel(self, flights: set[Flight]) -> None:
        """Call chunks back. They will not land; a worker may still be at their item."""
        self._client.loop.add_callback(self._call_back, set(flights))

    async def still_running(self, flights: set[Flight]) -> list[str]:
        """Addresses of workers that work on these though they were called back."""
        keys = {flight.future.key for flight in flights if flight.future is not None}

        def busy(dask_worker: Any) -> bool:
            return any(task.key in keys for task in dask_worker.state.executing)

        found = await self._client.run(busy, on_error="ignore", asynchronous=True)
        return [address for address, is_busy in found.items() if is_busy]

    async def end_workers(self, addresses: list[str]) -> None:
        """End worker processes; their nannies, or the cluster, start others.

        Not by `Client.restart_workers`, which gives them 4 s to end by themselves: they
        will not, as long as a task runs. Nor are they asked if there is a nanny:
        compiled code may never let go of its interpreter.
        """

        def end_child(dask_worker: Any) -> None:
            os.kill(dask_worker.process.pid, signal.SIGKILL)

        def end_self(dask_worker: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        obeyed = await self._client.run(
            end_child,
            workers=addresses,
            nanny=True,
            on_error="ignore",
            asynchronous=True,
        )
        if left := [address for address in addresses if address not in obeyed]:
            with contextlib.suppress(asyncio.TimeoutError):
                ending = self._client.run(
                    end_self, workers=left, on_error="ignore", asynchronous=True
                )
                await asyncio.wait_for(ending, ANSWER_SECONDS)

    # In the loop

    def _take_off(self, flight: Flight, items: Sealed) -> None:
        self._flying.add(flight)
        flight.task = asyncio.ensure_future(self._fly(flight, items))

    async def _fly(self, flight: Flight, items: Sealed) -> None:
        done, error = None, None
        try:
            done = await self._round_trip(flight, items)
        except asyncio.CancelledError:
            return  # called back
        except Exception as exc:  # noqa: BLE001 - judged where the batch is known
            error = exc
        self._flying.discard(flight)
        if flight.future is not None:
            flight.future.release()
        self._landed.put(Landing(flight, done, error))

    async def _round_trip(self, flight: Flight, items: Sealed) -> Done:
        payload: Sealed | Future = items
        if items.nbytes > self._inline:
            payload = await self._scatter(items)
        flight.future = self._client.submit(
            run_chunk,
            self._share_function(),
            payload,
            flight.seconds,
            flight.stop,
            key=f"{self._name}-{uuid.uuid4().hex}",
            pure=False,
        )
        return await self._fetch(flight.future)

    async def _fetch(self, future: Future) -> Done:
        """Wait for a result and get it, from wherever it is by then.

        Not by `Client.gather`: that asks for many results at once, and all of them wait
        30 s if one of their workers has just died. Past the scheduler, too, nobody
        notices such a death but us.
        """
        while True:
            if (error := await future.exception()) is not None:
                raise error
            if not self._direct:
                done: Done = await self._client.gather(future, asynchronous=True)
                return done
            found = await self._fetch_directly(future.key)
            if found is not None:
                return found
            # The scheduler is about to say that it is lost, and will have it run again.
            await asyncio.sleep(PAUSE_SECONDS)

    async def _fetch_directly(self, key: str) -> Done | None:
        """The result, if the workers that have it live long enough."""
        scheduler = self._client.scheduler
        who_has = await scheduler.who_has(keys=[key])
        asked = set(who_has.get(key, ()))
        fetching = asyncio.ensure_future(
            gather_from_workers(who_has, rpc=self._client.rpc)
        )
        try:
            while not (await asyncio.wait({fetching}, timeout=LOOK_SECONDS))[0]:
                # By then it may have been run again, and be somewhere else.
                now = await scheduler.who_has(keys=[key])
                if not asked.intersection(now.get(key, ())):
                    return None
            done: Done | None = fetching.result()[0].get(key)
            return done
        finally:
            fetching.cancel()

    async def _scatter(self, items: Sealed) -> Future:
        while True:
            # It gives up where there are no workers, which may still be queued, and
            # where one goes in this moment.
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                return await self._client.scatter(
                    items, direct=self._direct, hash=False, asynchronous=True
                )

    def _share_function(self) -> Sealed | Future:
        if self._function.nbytes <= FUNCTION_BYTES:
            return self._function
        if self._shared is None or self._shared.status in ("cancelled", "error"):
            # By a task rather than by scatter: a task is run again if its result is
            # lost with a worker.
            self._shared = self._client.submit(
                _hold, self._function, key=f"function-{uuid.uuid4().hex}", pure=False
            )
        return self._shared

    async def _call_back(self, flights: set[Flight]) -> None:
        futures = [flight.future for flight in flights if flight.future is not None]
        for flight in flights:
            self._flying.discard(flight)
            if flight.task is not None:
                flight.task.cancel()
        if futures:
            await self._client.cancel(futures, asynchronous=True, force=True)


def _hold(function: Sealed) -> Sealed:
    return function


def run_in_loop(client: Client, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in the client's loop from another thread, and wait for it."""
    return asyncio.run_coroutine_threadsafe(work, client.loop.asyncio_loop).result()
