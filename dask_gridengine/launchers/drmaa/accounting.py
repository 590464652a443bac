"""What the accounting says of a node that has ended, asked sparingly.

Grid Engine's qacct reads the whole accounting file of the cell, which at a big site
takes minutes and keeps a file server busy.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable

from dask_gridengine.blocking import in_thread
from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import AccountingRecord, NodeId

TOO_LONG = 5.0  # seconds a query may take, or there is none for a while
GIVEN_UP = 20.0  # seconds after which it is not waited for: a command on a dead disk
PAUSE = 600.0  # seconds
WAITING = 16  # queries that may wait for their turn; who comes then gets no answer


class Accounting:
    """The accounting of a cell.

    Parameters
    ----------
    look
        The record of a node, if there is one; called in a thread.
    clock
        Seconds since whenever.
    interval
        Seconds between tries to find a record that is not there yet.
    """

    def __init__(
        self,
        look: Callable[[NodeId], AccountingRecord | None],
        *,
        clock: Callable[[], float] = steady_time,
        interval: float = 5.0,
    ) -> None:
        self._look, self._clock, self._interval = look, clock, interval
        self._turn = asyncio.Lock()
        self._running = threading.Lock()
        self._waiting = 0
        self._paused_until = 0.0

    async def account(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        """The record of a node; None if there is none, or none is to be had now.

        Records come late: the master writes them all together, every 15 s unless its
        ``accounting_flush_time`` says otherwise (``man 5 sge_conf``, and measured). So
        this tries again for `timeout` seconds.
        """
        deadline = self._clock() + timeout
        while True:
            account = await self._ask(node)
            late = self._clock() + self._interval > deadline
            if account is not None or late or self._pausing:
                return account
            await asyncio.sleep(self._interval)

    @property
    def _pausing(self) -> bool:
        return self._clock() < self._paused_until

    async def _ask(self, node: NodeId) -> AccountingRecord | None:
        if self._waiting >= WAITING:
            return None
        self._waiting += 1
        try:
            # Not only by the lock in the thread: threads are few, and not ours alone.
            async with self._turn:
                return await in_thread(self._query, node, timeout=GIVEN_UP)
        except asyncio.TimeoutError:
            self._paused_until = self._clock() + PAUSE
            return None
        finally:
            self._waiting -= 1

    def _query(self, node: NodeId) -> AccountingRecord | None:
        # The query of a caller who was cancelled is still running.
        if not self._running.acquire(blocking=False):
            return None
        began = self._clock()
        try:
            if self._pausing:
                return None
            return self._look(node)
        except (OSError, subprocess.SubprocessError):
            return None
        finally:
            now = self._clock()
            if now - began > TOO_LONG:
                self._paused_until = now + PAUSE
            self._running.release()
