"""What ``qacct`` says of a node that has ended, asked sparingly.

qacct reads the whole accounting file of the cell, which at a big site takes minutes and
keeps a file server busy.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Callable

from dask_gridengine.launchers.base import Account, NodeId
from dask_gridengine.launchers.drmaa_hosts import Runner

TOO_LONG = 5.0  # seconds a query may take, or there is none for a while
PAUSE = 600.0  # seconds
WAITING = 16  # queries that may wait for their turn; who comes then gets no answer

_FIELD = re.compile(r"^(\w+)[ \t]+(.*?)[ \t]*$", re.MULTILINE)
_FAILED = re.compile(r"(\d+)(?:\s*:\s*(.*))?")
_SIZE = re.compile(r"([\d.]+)\s*([KMGTP]?)B?", re.IGNORECASE)


class Accounting:
    """The accounting of a cell.

    Parameters
    ----------
    run
        Runs qacct, in a thread.
    clock
        Seconds since whenever.
    interval
        Seconds between tries to find a record that is not there yet.
    """

    def __init__(
        self,
        run: Runner,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 5.0,
    ) -> None:
        self._run, self._clock, self._interval = run, clock, interval
        self._turn = asyncio.Lock()
        self._running = threading.Lock()
        self._waiting = 0
        self._paused_until = 0.0

    async def account(self, node: NodeId, patience: float = 0.0) -> Account | None:
        """The record of a node; None if there is none, or none is to be had now.

        Records come late: the master writes them all together, every 15 s unless its
        ``accounting_flush_time`` says otherwise (``man 5 sge_conf``, and measured). So
        this tries again for `patience` seconds.
        """
        deadline = self._clock() + patience
        while True:
            account = await self._ask(node)
            late = self._clock() + self._interval > deadline
            if account is not None or late or self._pausing:
                return account
            await asyncio.sleep(self._interval)

    @property
    def _pausing(self) -> bool:
        return self._clock() < self._paused_until

    async def _ask(self, node: NodeId) -> Account | None:
        if self._waiting >= WAITING:
            return None
        self._waiting += 1
        try:
            # Not only by the lock in the thread: threads are few, and not ours alone.
            async with self._turn:
                return await asyncio.to_thread(self._query, node)
        finally:
            self._waiting -= 1

    def _query(self, node: NodeId) -> Account | None:
        # The query of a caller who was cancelled is still running.
        if not self._running.acquire(blocking=False):
            return None
        began = self._clock()
        try:
            if self._pausing:
                return None
            listed = self._run(["qacct", "-j", node.job, "-t", str(node.index)])
            return parse_account(listed)
        except (OSError, subprocess.SubprocessError):
            return None
        finally:
            now = self._clock()
            if now - began > TOO_LONG:
                self._paused_until = now + PAUSE
            self._running.release()


def parse_account(listed: str) -> Account | None:
    """The last record in what ``qacct -j`` prints: a job run again has several.

    Examples
    --------
    >>> parse_account("hostname node1\\nfailed 28 : changing into working directory")
    Account(host='node1', failed='28: changing into working directory', \
exit_status=None, ran=None, peak_memory=0)
    """
    record = re.split(r"^=+$", listed, flags=re.MULTILINE)[-1]
    fields = dict(_FIELD.findall(record))
    if "hostname" not in fields:
        return None
    status = re.match(r"\d+", fields.get("exit_status", ""))
    ran = re.fullmatch(r"([\d.]+)s?", fields.get("ru_wallclock", ""))
    return Account(
        host=fields["hostname"],
        failed=_failed(fields.get("failed", "")),
        exit_status=int(status[0]) if status else None,
        ran=_float(ran[1]) if ran else None,
        peak_memory=_bytes(fields.get("maxvmem", "")),
    )


def _failed(text: str) -> str:
    found = _FAILED.match(text)
    if not found or int(found[1]) == 0:
        return ""
    return f"{found[1]}: {found[2]}" if found[2] else found[1]


def _bytes(text: str) -> int:
    """A size as qacct writes it, "1.414MB" or "1.414M", in powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        return 0
    unit: int = 1 << 10 * " KMGTP".index(found[2].upper() or " ")
    return round((_float(found[1]) or 0) * unit)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
