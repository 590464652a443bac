"""What qacct says, and how sparingly it is asked."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Sequence

import pytest

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import AccountingRecord, NodeId
from dask_gridengine.launchers.drmaa.accounting import (
    PAUSE,
    TOO_LONG,
    WAITING,
    Accounting,
)
from tests.waiting import until

NODE = NodeId("18", 3)
RECORD = """\
==============================================================
qname        all.q
hostname     node1
jobname      hostname     x
start_time   Mon Nov 23 06:29:51 2026
failed       {failed}
exit_status  {exit_status}
ru_wallclock {ran}
ru_maxrss    4.562KB
maxvmem      {peak}
"""


def record(
    failed: str = "0", exit_status: str = "0", ran: str = "0s", peak: str = "0.000B"
) -> str:
    """A record as qacct prints it, but for many lines that do not matter."""
    return RECORD.format(failed=failed, exit_status=exit_status, ran=ran, peak=peak)


def by(run: Runner) -> Callable[[NodeId], AccountingRecord | None]:
    """As Grid Engine's dialect asks."""
    return lambda node: GridEngine().account(node, run)


def ask(accounting: Accounting, node: NodeId = NODE) -> AccountingRecord | None:
    return asyncio.run(accounting.account(node))


def test_a_node_is_asked_for_by_job_and_index() -> None:
    """One record, not those of the whole array."""
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(command)
        return record()

    assert ask(Accounting(by(run))) == AccountingRecord("node1", "", 0, 0.0, 0)
    assert commands == [["qacct", "-j", "18", "-t", "3"]]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no qacct"),
        subprocess.CalledProcessError(1, "qacct"),
        subprocess.TimeoutExpired("qacct", 10),
    ],
)
def test_no_accounting_is_no_trouble(error: Exception) -> None:
    """No command, no record, no readable file: there is nothing to tell."""

    def run(command: Sequence[str]) -> str:
        raise error

    assert ask(Accounting(by(run))) is None


@pytest.mark.parametrize("timeout", [0.0, 60.0])
def test_a_record_that_comes_late_is_waited_for(timeout: float) -> None:
    """For as long as one likes: the master writes records every 15 s."""
    tries = iter([None, None, record(ran="7s")])

    def run(command: Sequence[str]) -> str:
        if (found := next(tries)) is None:
            raise subprocess.CalledProcessError(1, "qacct")
        return found

    accounting = Accounting(by(run), interval=0.01)
    found = asyncio.run(accounting.account(NODE, timeout))
    assert found == (AccountingRecord("node1", "", 0, 7.0) if timeout else None)


def test_a_slow_search_is_not_tried_again() -> None:
    """Whatever the patience."""
    clock, asked = [1000.0], list[Sequence[str]]()
    run = slow(clock, asked, found="")
    accounting = Accounting(by(run), clock=lambda: clock[0], interval=0.01)
    assert asyncio.run(accounting.account(NODE, timeout=1000)) is None
    assert len(asked) == 1


def slow(
    clock: list[float], asked: list[Sequence[str]], found: str
) -> Callable[..., str]:
    """A qacct that is slower than is good for the site."""

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        clock[0] += TOO_LONG + 1
        return found

    return run


def test_after_a_slow_answer_there_are_no_questions_for_a_while() -> None:
    """It still counts itself; the accounting of a big site is slow to search."""
    clock, asked = [1000.0], list[Sequence[str]]()
    run = slow(clock, asked, found=record())
    accounting = Accounting(by(run), clock=lambda: clock[0])
    assert ask(accounting) is not None
    clock[0] += PAUSE - 1
    assert ask(accounting) is None
    assert len(asked) == 1
    clock[0] += 1
    assert ask(accounting) is not None


class Gate:
    """A qacct that answers when it is let, and says how many run at a time."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running = self.most = self.asked = 0

    def __call__(self, command: Sequence[str]) -> str:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.open.wait(20)
        self.running -= 1
        return record()


def test_one_question_at_a_time_and_a_few_that_wait() -> None:
    """A thousand nodes that die at once must not become a thousand searches."""
    gate = Gate()

    async def main() -> list[AccountingRecord | None]:
        accounting = Accounting(by(gate))
        asking = [
            asyncio.create_task(accounting.account(NodeId("1", index)))
            for index in range(1000)
        ]
        await until(lambda: gate.running, "a question")
        gate.open.set()
        return await asyncio.gather(*asking)

    answers = asyncio.run(main())
    assert [answer is not None for answer in answers] == [
        index < WAITING for index in range(1000)
    ]
    assert (gate.most, gate.asked) == (1, WAITING)


def test_one_question_at_a_time_also_after_a_cancelled_one() -> None:
    """Who waits may go at once; the command that he started is still running."""
    gate = Gate()

    async def main() -> None:
        accounting = Accounting(by(gate))
        first = asyncio.create_task(accounting.account(NODE))
        await until(lambda: gate.running, "a question")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await accounting.account(NODE) is None
        gate.open.set()
        await until(lambda: not gate.running, "its end")

    asyncio.run(main())
    assert gate.asked == 1
