"""Where chunks can run besides a cluster of our own: with somebody's Dask client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client, get_client, get_worker, rejoin, secede

from dask_gridengine import GridEngineCluster
from gridengine.lanes import Flight, Lanes, run_in_loop
from gridengine.tally import Tally

#: Seconds for which a count of somebody's workers is believed.
COUNT_SECONDS = 0.5
#: Seconds in which a worker must answer to be asked for its results directly.
REACH_SECONDS = 2.0


class ClientPlace:
    """Somebody's client: its workers are used as they are, and left alone.

    Parameters
    ----------
    client
        A synchronous client.

    Raises
    ------
    TypeError
        If it is an asynchronous one.
    """

    def __init__(self, client: Client) -> None:
        if client.asynchronous:
            raise TypeError(
                "client= is an asynchronous client, and this would block its loop;"
                " await client.map(...) there, or give a client made outside of it"
            )
        self._client = client
        self._counted, self._workers, self._slots = 0.0, 0, 1
        self._direct: bool | None = client.direct_to_workers

    @contextlib.contextmanager
    def session(self, items: int | None) -> Iterator[Client]:
        """The client, for one run."""
        yield self._client

    def slots(self) -> int:
        """Threads of its workers, at least 1."""
        self._count()
        return self._slots

    @property
    def warm(self) -> bool:
        """Yes, as far as we are concerned."""
        return True

    @property
    def first_items(self) -> int | None:
        """All: nothing is started for them."""
        return None

    def need(self, items: int | None, seconds: float) -> None:
        """Nothing: how many workers there are is not ours to decide."""

    @property
    def direct(self) -> bool:
        """Whether its workers can be reached from here."""
        if self._direct is None:
            self._direct = bool(run_in_loop(self._client, self._reach()))
        return self._direct

    @property
    def inline(self) -> int:
        """Little: Dask keeps the last thousand messages to each worker."""
        return 64 * 2**10

    @property
    def cluster(self) -> Any:
        """What the client was given in place of an address; None if nothing."""
        return self._client.cluster

    def check(self) -> None:
        """Raise if the client was closed, or its cluster says that no worker will come.

        Raises
        ------
        NodesFailed
            With what is known of each node's end.
        """
        if self._client.status not in ("running", "connecting"):
            raise RuntimeError(
                f"the Dask client was closed (it is {self._client.status}) while"
                " gridengine was using it"
            )
        if isinstance(self.cluster, GridEngineCluster) and (
            error := self.cluster.stuck()
        ):
            raise error

    def tail(self, chunks: int) -> None:
        """Nothing: somebody else may need the other workers."""

    def abandon(self, lanes: Lanes, flights: set[Flight]) -> None:
        """Nothing: a worker may be busy with somebody else's task too."""

    def tally(self) -> Tally:
        """How many workers there are."""
        self._count()
        return Tally(self._workers, self._workers, 0)

    def _count(self) -> None:
        if (now := time.monotonic()) - self._counted > COUNT_SECONDS:
            threads = self._client.nthreads()
            self._counted, self._workers = now, len(threads)
            self._slots = max(1, sum(threads.values()))

    async def _reach(self) -> bool:
        """Through a gateway, say, only the scheduler can."""
        workers = await self._client.scheduler.ncores_running(workers=None)
        for address in workers:
            try:
                worker = self._client.rpc(address)
                await asyncio.wait_for(worker.identity(), REACH_SECONDS)
            except (OSError, asyncio.TimeoutError):
                return False
            return True
        return False


class TaskPlace(ClientPlace):
    """Inside a task: the workers of the cluster that runs it.

    While it waits for its own items the task gives its thread back, so that maps inside
    of maps do not use up all threads with waiting.
    """

    def __init__(self) -> None:
        super().__init__(get_client())
        self._direct = True

    @contextlib.contextmanager
    def session(self, items: int | None) -> Iterator[Client]:
        """The worker's client, for one run."""
        secede()
        try:
            yield self._client
        finally:
            rejoin()


def in_task() -> bool:
    """Whether this thread is running a Dask task."""
    try:
        get_worker()
    except ValueError:
        return False
    return True
