"""Accounting records, and how sparingly they are queried."""

from __future__ import annotations

import asyncio
import subprocess
import threading

import pytest

from dask_gridengine.grid_types import AccountingRecord, NodeId
from dask_gridengine.launchers.drmaa.accounting import (
    MAX_WAITING,
    PAUSE,
    SLOW,
    Accounting,
)
from tests.waiting import until

NODE = NodeId("18", 3)
RECORD = AccountingRecord("node1", "", 0, 7.0)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no qacct"),
        subprocess.CalledProcessError(1, "qacct"),
        subprocess.TimeoutExpired("qacct", 10),
    ],
)
def test_missing_accounting_is_not_an_error(error: Exception) -> None:
    """No command, no record, or no readable file."""

    def query(node: NodeId) -> AccountingRecord:
        raise error

    assert asyncio.run(Accounting(query).record(NODE)) is None


@pytest.mark.parametrize("timeout", [0.0, 60.0])
def test_a_late_record_is_waited_for(timeout: float) -> None:
    """The master writes records every 15 s."""
    tries = iter([None, None, RECORD])
    accounting = Accounting(lambda node: next(tries), retry_interval=0.01)
    found = asyncio.run(accounting.record(NODE, timeout))
    assert found == (RECORD if timeout else None)


class SlowQuery:
    """A query that takes too long by its own clock."""

    def __init__(self, found: AccountingRecord | None) -> None:
        self.now, self.calls, self.found = 1000.0, 0, found

    def __call__(self, node: NodeId) -> AccountingRecord | None:
        self.calls += 1
        self.now += SLOW + 1
        return self.found


async def test_after_a_slow_query_there_is_a_pause() -> None:
    """Its own record counts; the accounting of a large site is slow to search."""
    query = SlowQuery(RECORD)
    accounting = Accounting(query, clock=lambda: query.now)
    assert await accounting.record(NODE) is not None
    query.now += PAUSE - 1
    assert await accounting.record(NODE) is None
    assert query.calls == 1
    query.now += 1
    assert await accounting.record(NODE) is not None


class BlockedQuery:
    """A query that returns when it is allowed to; counts those that run at once."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.running = self.most = self.calls = 0

    def __call__(self, node: NodeId) -> AccountingRecord:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.allowed.wait(20)
        self.running -= 1
        return RECORD


def test_one_query_runs_at_a_time_and_a_few_wait() -> None:
    """A thousand nodes that die at once must not become a thousand searches."""
    query = BlockedQuery()

    async def main() -> list[AccountingRecord | None]:
        accounting = Accounting(query)
        tasks = [
            asyncio.create_task(accounting.record(NodeId("1", index)))
            for index in range(1000)
        ]
        await until(lambda: query.running, "a query")
        query.allowed.set()
        return await asyncio.gather(*tasks)

    found = asyncio.run(main())
    expected = [index < MAX_WAITING for index in range(1000)]
    assert [record is not None for record in found] == expected
    assert (query.most, query.calls) == (1, MAX_WAITING)
