"""How nodes end, and what is learnt from it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import AccountingRecord, EndNotice, NodeId
from dask_gridengine.nodes.exits import ExitTracker
from dask_gridengine.nodes.failures import Failures
from dask_gridengine.nodes.host_blocklist import (
    FAILURE_LIMIT,
    FAST_SECONDS,
    HostBlocklist,
)
from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState
from tests.samples import exit_report, hello
from tests.waiting import until

SILENT = Diagnosis(cause=Cause.HOST_LOST, source="scheduler")


class JobList:
    """Endings, and all that they write into."""

    def __init__(self, logs: Path, **options: Any) -> None:
        self.registry, self.failures, self.blocklist = (
            NodeRegistry(),
            Failures(),
            HostBlocklist(),
        )
        self.over: list[NodeRecord] = []
        self.gone: list[NodeRecord] = []
        self.exits = ExitTracker(
            self.registry,
            self.failures,
            self.blocklist,
            on_over=self.over.append,
            on_gone=self.gone.append,
            **{"walltime": None, "keep_logs": False, **options},
        )
        self.exits.logs = logs

    def node(self, *, arrived: bool = True) -> NodeRecord:
        """The next node; at work on node1, or still in the queue."""
        index = len(self.registry.records) + 1
        self.registry.submitted([NodeId("12", index)])
        record = self.registry.records[NodeId("12", index)]
        if arrived:
            self.registry.unbound.append(f"ge-{index}")
            self.registry.arrive(record, hello(index=index))
            self.registry.bind(record)
            self.registry.registered(f"ge-{index}")
        return record

    async def end(self, record: NodeRecord, **fields: Any) -> None:
        """The launcher's notice, followed to its end."""
        self.exits.end(EndNotice(node=record.id, **fields))
        await until(lambda: record.state is NodeState.GONE, "the end", 5)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def cause(record: NodeRecord) -> Cause | None:
    return record.diagnosis.cause if record.diagnosis else None


def test_a_farewell_frees_the_name_before_the_grid_has_noticed(tmp_path: Path) -> None:
    """The notice may take ten minutes after a restart of the master."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        record.peak_memory = 9  # of a worker before the last
        said = exit_report(index=1, cause="drained", stderr="last", peak_memory=7)
        assert books.exits.exit_report(said)
        assert books.over == [record]
        assert record.state is NodeState.DRAINING
        await books.end(record, exit_status=0)
        assert books.over == [record], "once"
        assert (cause(record), record.log_tail) == (Cause.DRAINED, "last")
        assert record.peak_memory == 9

    play(story)


def test_an_end_is_told_when_the_name_is_free_and_when_the_node_is_gone(
    tmp_path: Path,
) -> None:
    """Once each: who waits for places to be empty must hear of the second too."""

    async def story() -> None:
        books = JobList(tmp_path)
        spoke, silent, lost = books.node(), books.node(), books.node()
        books.exits.exit_report(exit_report(index=1))
        books.exits.give_up(lost, SILENT)
        assert (books.over, books.gone) == ([spoke, lost], [])
        for record in (spoke, silent, lost):
            await books.end(record, exit_status=0)
            books.exits.end(EndNotice(node=record.id))
        assert books.over == [spoke, lost, silent]
        assert books.gone == [spoke, silent, lost]

    play(story)


def test_the_node_knows_best_why_it_ended(tmp_path: Path) -> None:
    """What it has said itself is not replaced by what the grid sees from outside."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        books.exits.exit_report(exit_report(index=1, cause=Cause.NO_START.value))
        await books.end(record, signal="SIGKILL")
        assert cause(record) is Cause.NO_START
        assert len(books.failures) == 1

    play(story)


def test_a_farewell_after_the_end_is_old_news(tmp_path: Path) -> None:
    """The notice may be the faster one; what was learnt from it stands."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        await books.end(record, signal="SIGKILL", peak_memory=9)
        assert not books.exits.exit_report(exit_report(index=1))
        assert (cause(record), books.over) == (Cause.KILLED, [record])
        assert (record.exit_report, record.peak_memory) == (None, 9)

    play(story)


def test_a_farewell_that_comes_while_the_log_is_read_still_counts(
    tmp_path: Path,
) -> None:
    """The notice came first, but the node knows best."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        books.exits.end(EndNotice(node=record.id, exit_status=3))
        await asyncio.sleep(0)  # it is being followed now
        said = exit_report(index=1, cause=Cause.NO_START.value)
        assert books.exits.exit_report(said)
        await books.exits.settle(timeout=5)
        assert (cause(record), books.over) == (Cause.NO_START, [record])
        assert record.state is NodeState.GONE

    play(story)


@pytest.mark.parametrize("changes", [{"process_token": "f" * 16}, {"job": "77"}])
def test_a_strangers_farewell_changes_nothing(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    """Nor does a second one, or one of a node that is gone."""
    books = JobList(tmp_path)
    record = books.node()
    assert not books.exits.exit_report(exit_report(index=1, **changes))
    assert (record.state, books.over) == (NodeState.WORKING, [])
    assert books.exits.exit_report(exit_report(index=1))
    assert not books.exits.exit_report(exit_report(index=1, cause="drained"))
    assert (cause(record), books.over) == (Cause.FINISHED, [record])


@pytest.mark.parametrize(
    ("state", "said", "told"),
    [
        ({"cancelled": True}, Cause.NO_START, Cause.CANCELLED),
        ({"cancelled": True}, Cause.FINISHED, Cause.CANCELLED),
        ({"retired": True}, Cause.FINISHED, Cause.RETIRED),
        ({"retired": True}, Cause.NO_START, Cause.NO_START),
        ({}, Cause.FINISHED, Cause.FINISHED),
    ],
)
def test_who_wanted_it_is_told_apart(
    tmp_path: Path, state: dict[str, bool], said: Cause, told: Cause
) -> None:
    """We, whoever uses the scheduler, or nobody: the worker says the same to all."""
    books = JobList(tmp_path)
    record = books.node()
    for key, value in state.items():
        setattr(record, key, value)
    books.exits.exit_report(exit_report(index=1, cause=said.value))
    assert cause(record) is told


@pytest.mark.parametrize(
    ("state", "said", "told"),
    [
        ({}, Cause.FINISHED, Cause.EXPIRED),
        ({"cancelled": True}, Cause.FINISHED, Cause.EXPIRED),
        ({}, Cause.DRAINED, Cause.DRAINED),
        ({}, Cause.KILLED, Cause.KILLED),
    ],
)
def test_who_goes_although_it_is_wanted_is_told_why(
    tmp_path: Path, state: dict[str, bool], said: Cause, told: Cause
) -> None:
    """The worker knows no more than that it was let go; other words of it stand."""
    books = JobList(tmp_path)
    record = books.node()
    record.turned = Diagnosis(cause=Cause.EXPIRED, source="cluster")
    for key, value in state.items():
        setattr(record, key, value)
    books.exits.exit_report(exit_report(index=1, cause=said.value))
    assert cause(record) is told
    assert not told.on_purpose


def test_a_node_without_a_word_is_told_by_its_log(tmp_path: Path) -> None:
    """Its host, its last line; and its log is removed, as it says no more."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node(arrived=False)
        log = tmp_path / "12.1.log"
        log.write_text("on node7:\nsh: nopy: not found\n")
        await books.end(record, exit_status=127)
        assert cause(record) is Cause.NO_PYTHON
        assert record.host == "node7"
        assert record.diagnosis
        assert record.diagnosis.detail == "sh: nopy: not found"
        assert record.log_tail.endswith("not found\n")
        assert not log.exists()

    play(story)


@pytest.mark.parametrize("keep", [True, False])
def test_logs_that_are_asked_for_or_say_more_are_kept(
    tmp_path: Path, keep: bool
) -> None:
    """Others leave nothing behind."""

    async def story() -> None:
        books = JobList(tmp_path, keep_logs=keep)
        good, killed = books.node(), books.node()
        logs = [tmp_path / "12.1.log", tmp_path / "12.2.log"]
        for log in logs:
            log.write_text("fine")
        await books.end(good, exit_status=0)
        await books.end(killed, signal="SIGKILL")
        assert [log.exists() for log in logs] == [keep, True]
        assert books.exits.telling() == {"12.2"}

    play(story)


@pytest.mark.parametrize("who", ["we", "the launcher"])
def test_what_we_gave_back_is_no_failure(tmp_path: Path, who: str) -> None:
    """However it took its end; nobody is failed_hosts, and no log is left."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node(arrived=False)
        log = tmp_path / "12.1.log"
        log.write_text("on node7:\nKilled\n")
        record.cancelled = who == "we"
        await books.end(record, signal="SIGKILL", cancelled=who != "we")
        assert (cause(record), books.over) == (Cause.CANCELLED, [record])
        assert not books.failures
        assert not books.blocklist.suspects()
        assert not log.exists()

    play(story)


def test_what_a_given_up_node_says_is_heard(tmp_path: Path) -> None:
    """As it was given up it was cancelled too, which is not why it had gone."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        books.exits.give_up(record, SILENT)
        record.cancelled = True  # as whoever gives it up does
        said = exit_report(index=1, cause=Cause.LOST_CONTACT.value)
        assert books.exits.exit_report(said)
        await books.end(record, cancelled=True)
        assert (cause(record), books.over) == (Cause.LOST_CONTACT, [record])
        books.exits.give_up(record, SILENT)
        assert cause(record) is Cause.LOST_CONTACT

    play(story)


@pytest.mark.parametrize("by", ["its end", "its farewell"])
def test_a_host_whose_lost_node_is_heard_of_is_not_avoided(
    tmp_path: Path, by: str
) -> None:
    """Also if we have deleted the node: of a lost host the grid hears nothing."""

    async def story() -> None:
        books = JobList(tmp_path)
        books.blocklist.possible = frozenset({"node1", "node2"})
        record = books.node()
        lost = Diagnosis(cause=Cause.HOST_LOST, detail="silent", source="scheduler")
        books.exits.give_up(record, lost)
        record.cancelled = True
        now = books.registry.clock()
        assert books.blocklist.shut(now) == ["node1"]
        if by == "its end":
            await books.end(record, cancelled=True)
        else:
            assert books.exits.exit_report(exit_report(index=1))
        assert books.blocklist.shut(now) == []
        assert record.diagnosis is not None

    play(story)


def test_a_given_up_node_that_never_speaks_keeps_its_diagnosis(tmp_path: Path) -> None:
    """That we cancelled it then says nothing about it."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        books.exits.give_up(record, SILENT)
        record.cancelled = True
        await books.end(record, cancelled=True, signal="SIGKILL")
        assert (record.diagnosis, books.over) == (SILENT, [record])
        assert record.state is NodeState.GONE

    play(story)


def test_a_node_is_given_up_once_and_may_be_explained_later(tmp_path: Path) -> None:
    """Its host was failed_hosts on a guess; the grid's word takes that back."""

    async def story() -> None:
        books = JobList(tmp_path)
        books.blocklist.possible = frozenset({"node1", "node2"})
        record = books.node()
        books.exits.give_up(record, SILENT)
        books.exits.give_up(record, SILENT)
        assert books.over == [record]
        assert books.blocklist.shut(books.registry.clock()) == ["node1"]
        await books.end(record, signal="SIGKILL")
        assert cause(record) is Cause.KILLED
        assert books.over == [record]
        assert books.blocklist.shut(books.registry.clock()) == []
        (reason,) = books.failures.reasons()
        assert "was killed" in reason

    play(story)


def test_the_accounting_is_asked_where_nothing_else_is_known(tmp_path: Path) -> None:
    """In the background: its record may come late, and nobody waits for it."""

    async def story() -> None:
        books = JobList(tmp_path)
        asked: list[NodeId] = []
        answer: asyncio.Future[AccountingRecord] = (
            asyncio.get_running_loop().create_future()
        )

        async def account(node: NodeId, timeout: float) -> AccountingRecord:
            asked.append(node)
            return await answer

        books.exits.account = account
        known, unknown = books.node(), books.node(arrived=False)
        await books.end(known, signal="SIGKILL")
        await books.end(unknown, unstarted=True, reason="prolog failed")
        assert asked == [unknown.id]
        assert books.over == [known, unknown]
        answer.set_result(AccountingRecord(host="node9", failed="8: in prolog"))
        await until(lambda: unknown.host == "node9", "the accounting's word", 5)
        assert unknown.diagnosis
        assert unknown.diagnosis.detail == "8: in prolog"
        assert any("8: in prolog" in reason for reason in books.failures.reasons())

    play(story)


def test_closing_does_not_wait_for_the_accounting(tmp_path: Path) -> None:
    """What is asked there is called off."""

    async def story() -> None:
        books = JobList(tmp_path)

        async def account(node: NodeId, timeout: float) -> None:
            await asyncio.Event().wait()

        books.exits.account = account
        await books.end(books.node(arrived=False), exit_status=3)
        await asyncio.wait_for(books.exits.settle(timeout=5), 2)

    play(story)


def test_an_end_that_comes_last_asks_nobody(tmp_path: Path) -> None:
    """Also where it is followed up only while the cluster closes."""

    async def story() -> None:
        books = JobList(tmp_path)

        async def account(node: NodeId, timeout: float) -> None:
            await asyncio.Event().wait()

        books.exits.account = account
        record = books.node(arrived=False)
        books.exits.end(EndNotice(node=record.id, exit_status=3))
        await books.exits.settle(timeout=5)
        assert record.state is NodeState.GONE
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story)


def test_a_log_that_hangs_does_not_keep_anybody(tmp_path: Path) -> None:
    """As with its file server; the end is not followed up then."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        log = tmp_path / "12.1.log"
        os.mkfifo(log)
        books.exits.end(EndNotice(node=record.id, signal="SIGKILL"))
        await asyncio.wait_for(books.exits.settle(timeout=0.1), 5)
        assert record.state is NodeState.WORKING
        log.open("wb").close()  # lets its reader go

    play(story)


def test_an_accounting_that_knows_nothing_changes_nothing(tmp_path: Path) -> None:
    """What the notice said stands."""

    async def story() -> None:
        books = JobList(tmp_path)
        asked: list[NodeId] = []

        async def account(node: NodeId, timeout: float) -> None:
            asked.append(node)

        books.exits.account = account
        record = books.node(arrived=False)
        await books.end(record, exit_status=3)
        await until(lambda: asked, "asked", 5)
        assert cause(record) is Cause.NEVER_ARRIVED
        (reason,) = books.failures.reasons()
        assert "exit status 3" in reason

    play(story)


@pytest.mark.parametrize(
    ("options", "fields", "told"),
    [
        ({"walltime": 60.0}, {"ran": 60.0}, Cause.WALLTIME),
        ({"walltime": 60.0}, {"ran": 9.0}, Cause.KILLED),
        ({}, {"peak_memory": 2**30}, Cause.MEMORY),
        ({}, {"peak_memory": 2**20}, Cause.KILLED),
    ],
)
def test_a_kill_is_told_by_the_limit_it_ran_into(
    tmp_path: Path, options: dict[str, Any], fields: dict[str, Any], told: Cause
) -> None:
    """What the node was granted is known here, what it used the grid knows."""

    async def story() -> None:
        books = JobList(tmp_path, **options)
        record = books.node()
        record.granted_memory = 2**30
        await books.end(record, signal="SIGKILL", **fields)
        assert cause(record) is told

    play(story)


def test_nodes_that_fail_fast_are_their_hosts_fault_if_they_never_worked(
    tmp_path: Path,
) -> None:
    """One that had become a worker shows that the host is all right."""

    async def story() -> None:
        books = JobList(tmp_path)
        books.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            await books.end(books.node(), signal="SIGKILL")
        assert books.blocklist.shut(books.registry.clock()) == []
        for index in range(FAILURE_LIMIT):
            record = books.node(arrived=False)
            (tmp_path / f"{record.id}.log").write_text("on node2:\n")
            await books.end(record, exit_status=127)
            shut = books.blocklist.shut(books.registry.clock())
            assert shut == (["node2"] if index == FAILURE_LIMIT - 1 else [])

    play(story)


@pytest.mark.parametrize(
    ("seconds", "why", "failed_hosts"),
    [
        (FAST_SECONDS - 5, Cause.NO_START, True),
        (FAST_SECONDS + 5, Cause.NO_START, False),
        (FAST_SECONDS - 5, Cause.MEMORY, False),
        (FAST_SECONDS - 5, Cause.DRAINED, False),
    ],
)
def test_what_takes_long_or_would_happen_anywhere_is_no_hosts_fault(
    tmp_path: Path, seconds: float, why: Cause, failed_hosts: bool
) -> None:
    """A host that swallows nodes does so fast."""
    books = JobList(tmp_path)
    record = books.node()
    record.working, arrived = None, record.arrived
    assert arrived is not None
    books.registry.clock = lambda: arrived + seconds
    books.exits.exit_report(exit_report(index=1, cause=why.value))
    assert books.blocklist.suspects() == (["node1"] if failed_hosts else [])


def test_ends_of_strangers_and_second_ends_are_passed_over(tmp_path: Path) -> None:
    """A launcher's late or foreign notice moves nothing."""

    async def story() -> None:
        books = JobList(tmp_path)
        record = books.node()
        await books.end(record, exit_status=0)
        books.exits.end(EndNotice(node=record.id, signal="SIGKILL"))
        books.exits.end(EndNotice(node=NodeId("77", 1)))
        await books.exits.settle(timeout=5)
        assert (cause(record), len(books.over)) == (Cause.FINISHED, 1)

    play(story)
