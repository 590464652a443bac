"""The grid's accounting records of ended nodes, queried sparingly.

Grid Engine's qacct reads the whole accounting file of the cell. At a large site that
takes minutes and keeps a file server busy.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

from dask_gridengine.clock import steady_time
from dask_gridengine.daemon_threads import Threads
from dask_gridengine.grid_types import AccountingRecord, NodeId

SLOW = 5.0  # seconds; after a slower query there are none for a while
TIMEOUT = 20.0  # seconds; a command on a dead disk never ends
PAUSE = 600.0  # seconds without queries after a slow one
MAX_WAITING = 16  # queries that may wait; further ones get no answer


class Accounting:
    """Queries accounting records one at a time; `query` runs in a thread."""

    def __init__(
        self,
        query: Callable[[NodeId], AccountingRecord | None],
        *,
        clock: Callable[[], float] = steady_time,
        retry_interval: float = 5.0,  # seconds
    ) -> None:
        self._query, self._clock = query, clock
        self._retry_interval = retry_interval
        self._one_at_a_time = asyncio.Lock()
        # The query of a cancelled caller goes on; no second one runs beside it.
        self._thread = Threads(limit=1)
        self._waiting = 0
        self._paused_until = float("-inf")

    async def record(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        """Return a node's record; None if there is none or queries are paused.

        Records come late: the master writes them every 15 s, unless its
        ``accounting_flush_time`` differs (``man 5 sge_conf``, and measured). So this
        retries for `timeout` seconds.
        """
        deadline = self._clock() + timeout
        while True:
            record = await self._wait_for_turn(node)
            late = self._clock() + self._retry_interval > deadline
            if record is not None or late or self._paused:
                return record
            await asyncio.sleep(self._retry_interval)

    @property
    def _paused(self) -> bool:
        return self._clock() < self._paused_until

    async def _wait_for_turn(self, node: NodeId) -> AccountingRecord | None:
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                return None if self._paused else await self._timed_query(node)
        finally:
            self._waiting -= 1

    async def _timed_query(self, node: NodeId) -> AccountingRecord | None:
        started = self._clock()
        try:
            return await self._thread.call(self._query, node, timeout=TIMEOUT)
        except (OSError, subprocess.SubprocessError, asyncio.TimeoutError):
            return None
        finally:
            if self._clock() - started > SLOW:
                self._paused_until = self._clock() + PAUSE
