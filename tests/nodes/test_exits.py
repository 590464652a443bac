"""How nodes end, and how that is explained."""

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


class World:
    """An exit tracker with all that it changes."""

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
        """Pass an end notice, and wait until it is followed up."""
        self.exits.on_end_notice(EndNotice(node=record.id, **fields))
        await until(lambda: record.state is NodeState.GONE, "the end", 5)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def cause(record: NodeRecord) -> Cause | None:
    return record.diagnosis.cause if record.diagnosis else None


def test_an_exit_report_frees_the_name_before_the_end_notice(tmp_path: Path) -> None:
    """The notice may take ten minutes after a restart of the master."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        record.peak_memory = 9  # of a worker before the last
        report = exit_report(index=1, cause="drained", stderr="last", peak_memory=7)
        assert world.exits.on_exit_report(report)
        assert world.over == [record]
        assert record.state is NodeState.DRAINING
        await world.end(record, exit_status=0)
        assert world.over == [record], "once"
        assert (cause(record), record.log_tail) == (Cause.DRAINED, "last")
        assert record.peak_memory == 9

    play(story)


def test_both_callbacks_are_called_once_for_each_node(
    tmp_path: Path,
) -> None:
    """When the name is free, and when the grid has reported the end."""

    async def story() -> None:
        world = World(tmp_path)
        spoke, silent, lost = world.node(), world.node(), world.node()
        world.exits.on_exit_report(exit_report(index=1))
        world.exits.declare_lost(lost, SILENT)
        assert (world.over, world.gone) == ([spoke, lost], [])
        for record in (spoke, silent, lost):
            await world.end(record, exit_status=0)
            world.exits.on_end_notice(EndNotice(node=record.id))
        assert world.over == [spoke, lost, silent]
        assert world.gone == [spoke, silent, lost]

    play(story)


def test_an_exit_report_outweighs_the_end_notice(tmp_path: Path) -> None:
    """The node knows best why it ended."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        world.exits.on_exit_report(exit_report(index=1, cause=Cause.NO_START.value))
        await world.end(record, signal="SIGKILL")
        assert cause(record) is Cause.NO_START
        assert len(world.failures) == 1

    play(story)


def test_an_exit_report_after_the_end_is_ignored(tmp_path: Path) -> None:
    """The notice may be faster; its diagnosis stays."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        await world.end(record, signal="SIGKILL", peak_memory=9)
        assert not world.exits.on_exit_report(exit_report(index=1))
        assert (cause(record), world.over) == (Cause.KILLED, [record])
        assert (record.exit_report, record.peak_memory) == (None, 9)

    play(story)


def test_an_exit_report_while_the_log_is_read_counts(
    tmp_path: Path,
) -> None:
    """The notice came first, but the node knows best."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        world.exits.on_end_notice(EndNotice(node=record.id, exit_status=3))
        await asyncio.sleep(0)  # it is being followed now
        report = exit_report(index=1, cause=Cause.NO_START.value)
        assert world.exits.on_exit_report(report)
        await world.exits.drain(timeout=5)
        assert (cause(record), world.over) == (Cause.NO_START, [record])
        assert record.state is NodeState.GONE

    play(story)


@pytest.mark.parametrize("changes", [{"process_token": "f" * 16}, {"job": "77"}])
def test_an_invalid_exit_report_changes_nothing(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    """Nor does a second one, or one of a node that has ended."""
    world = World(tmp_path)
    record = world.node()
    assert not world.exits.on_exit_report(exit_report(index=1, **changes))
    assert (record.state, world.over) == (NodeState.WORKING, [])
    assert world.exits.on_exit_report(exit_report(index=1))
    assert not world.exits.on_exit_report(exit_report(index=1, cause="drained"))
    assert (cause(record), world.over) == (Cause.FINISHED, [record])


@pytest.mark.parametrize(
    ("state", "reported", "expected"),
    [
        ({"cancelled": True}, Cause.NO_START, Cause.CANCELLED),
        ({"cancelled": True}, Cause.FINISHED, Cause.CANCELLED),
        ({"retired": True}, Cause.FINISHED, Cause.RETIRED),
        ({"retired": True}, Cause.NO_START, Cause.NO_START),
        ({}, Cause.FINISHED, Cause.FINISHED),
    ],
)
def test_the_requester_of_an_end_decides_its_cause(
    tmp_path: Path, state: dict[str, bool], reported: Cause, expected: Cause
) -> None:
    """The cluster, the scheduler or neither; the worker reports the same for all."""
    world = World(tmp_path)
    record = world.node()
    for key, value in state.items():
        setattr(record, key, value)
    world.exits.on_exit_report(exit_report(index=1, cause=reported.value))
    assert cause(record) is expected


@pytest.mark.parametrize(
    ("state", "reported", "expected"),
    [
        ({}, Cause.FINISHED, Cause.EXPIRED),
        ({"cancelled": True}, Cause.FINISHED, Cause.EXPIRED),
        ({}, Cause.DRAINED, Cause.DRAINED),
        ({}, Cause.KILLED, Cause.KILLED),
    ],
)
def test_a_node_that_is_replaced_keeps_that_cause(
    tmp_path: Path, state: dict[str, bool], reported: Cause, expected: Cause
) -> None:
    """The worker only knows that it was closed; other reports of it count."""
    world = World(tmp_path)
    record = world.node()
    record.turned = Diagnosis(cause=Cause.EXPIRED, source="cluster")
    for key, value in state.items():
        setattr(record, key, value)
    world.exits.on_exit_report(exit_report(index=1, cause=reported.value))
    assert cause(record) is expected
    assert not expected.on_purpose


def test_a_node_without_a_report_is_explained_by_its_log(tmp_path: Path) -> None:
    """Its host, its last line; and its log is removed, as it says no more."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node(arrived=False)
        log = tmp_path / "12.1.log"
        log.write_text("on node7:\nsh: nopy: not found\n")
        await world.end(record, exit_status=127)
        assert cause(record) is Cause.NO_PYTHON
        assert record.host == "node7"
        assert record.diagnosis
        assert record.diagnosis.detail == "sh: nopy: not found"
        assert record.log_tail.endswith("not found\n")
        assert not log.exists()

    play(story)


@pytest.mark.parametrize("keep", [True, False])
def test_requested_and_helpful_logs_are_kept(tmp_path: Path, keep: bool) -> None:
    """Others are removed."""

    async def story() -> None:
        world = World(tmp_path, keep_logs=keep)
        good, killed = world.node(), world.node()
        logs = [tmp_path / "12.1.log", tmp_path / "12.2.log"]
        for log in logs:
            log.write_text("fine")
        await world.end(good, exit_status=0)
        await world.end(killed, signal="SIGKILL")
        assert [log.exists() for log in logs] == [keep, True]
        assert world.exits.logs_to_keep() == {"12.2"}

    play(story)


@pytest.mark.parametrize("who", ["we", "the launcher"])
def test_a_cancelled_node_is_no_failure(tmp_path: Path, who: str) -> None:
    """However it ended: no host is blamed, and no log is left."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node(arrived=False)
        log = tmp_path / "12.1.log"
        log.write_text("on node7:\nKilled\n")
        record.cancelled = who == "we"
        await world.end(record, signal="SIGKILL", cancelled=who != "we")
        assert (cause(record), world.over) == (Cause.CANCELLED, [record])
        assert not world.failures
        assert not world.blocklist.suspects()
        assert not log.exists()

    play(story)


def test_the_report_of_a_node_declared_lost_counts(tmp_path: Path) -> None:
    """It was cancelled too, which was not why it ended."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        world.exits.declare_lost(record, SILENT)
        record.cancelled = True  # as the caller does
        report = exit_report(index=1, cause=Cause.LOST_CONTACT.value)
        assert world.exits.on_exit_report(report)
        await world.end(record, cancelled=True)
        assert (cause(record), world.over) == (Cause.LOST_CONTACT, [record])
        world.exits.declare_lost(record, SILENT)
        assert cause(record) is Cause.LOST_CONTACT

    play(story)


@pytest.mark.parametrize("by", ["its end", "its report"])
def test_a_host_whose_lost_node_responds_is_not_excluded(
    tmp_path: Path, by: str
) -> None:
    """Also if we have deleted the node: of a lost host the grid hears nothing."""

    async def story() -> None:
        world = World(tmp_path)
        world.blocklist.possible = frozenset({"node1", "node2"})
        record = world.node()
        lost = Diagnosis(cause=Cause.HOST_LOST, detail="silent", source="scheduler")
        world.exits.declare_lost(record, lost)
        record.cancelled = True
        now = world.registry.clock()
        assert world.blocklist.blocked(now) == ["node1"]
        if by == "its end":
            await world.end(record, cancelled=True)
        else:
            assert world.exits.on_exit_report(exit_report(index=1))
        assert world.blocklist.blocked(now) == []
        assert record.diagnosis is not None

    play(story)


def test_a_lost_node_without_a_report_keeps_its_diagnosis(tmp_path: Path) -> None:
    """That it was cancelled then explains nothing."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        world.exits.declare_lost(record, SILENT)
        record.cancelled = True
        await world.end(record, cancelled=True, signal="SIGKILL")
        assert (record.diagnosis, world.over) == (SILENT, [record])
        assert record.state is NodeState.GONE

    play(story)


def test_a_lost_node_may_be_explained_later(tmp_path: Path) -> None:
    """Its host was blocked on a guess, which the end notice corrects."""

    async def story() -> None:
        world = World(tmp_path)
        world.blocklist.possible = frozenset({"node1", "node2"})
        record = world.node()
        world.exits.declare_lost(record, SILENT)
        world.exits.declare_lost(record, SILENT)
        assert world.over == [record]
        assert world.blocklist.blocked(world.registry.clock()) == ["node1"]
        await world.end(record, signal="SIGKILL")
        assert cause(record) is Cause.KILLED
        assert world.over == [record]
        assert world.blocklist.blocked(world.registry.clock()) == []
        (reason,) = world.failures.reasons()
        assert "was killed" in reason

    play(story)


def test_the_accounting_explains_unknown_ends(tmp_path: Path) -> None:
    """In the background, because its record may come late."""

    async def story() -> None:
        world = World(tmp_path)
        asked: list[NodeId] = []
        answer: asyncio.Future[AccountingRecord] = (
            asyncio.get_running_loop().create_future()
        )

        async def account(node: NodeId, timeout: float) -> AccountingRecord:
            asked.append(node)
            return await answer

        world.exits.account = account
        known, unknown = world.node(), world.node(arrived=False)
        await world.end(known, signal="SIGKILL")
        await world.end(unknown, unstarted=True, reason="prolog failed")
        assert asked == [unknown.id]
        assert world.over == [known, unknown]
        answer.set_result(AccountingRecord(host="node9", failed="8: in prolog"))
        await until(lambda: unknown.host == "node9", "the accounting's record", 5)
        assert unknown.diagnosis
        assert unknown.diagnosis.detail == "8: in prolog"
        assert any("8: in prolog" in reason for reason in world.failures.reasons())

    play(story)


def test_closing_does_not_wait_for_the_accounting(tmp_path: Path) -> None:
    """Also if an end is followed up only while the cluster closes."""

    async def story() -> None:
        world = World(tmp_path)

        async def account(node: NodeId, timeout: float) -> None:
            await asyncio.Event().wait()

        world.exits.account = account
        record = world.node(arrived=False)
        world.exits.on_end_notice(EndNotice(node=record.id, exit_status=3))
        await world.exits.drain(timeout=5)
        assert record.state is NodeState.GONE
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story)


def test_a_log_that_hangs_does_not_delay_closing(tmp_path: Path) -> None:
    """As with a dead file server; the end is not followed up then."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        log = tmp_path / "12.1.log"
        os.mkfifo(log)
        world.exits.on_end_notice(EndNotice(node=record.id, signal="SIGKILL"))
        await asyncio.wait_for(world.exits.drain(timeout=0.1), 5)
        assert record.state is NodeState.WORKING
        log.open("wb").close()  # ends its reader

    play(story)


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({"walltime": 60.0}, {"ran": 60.0}, Cause.WALLTIME),
        ({}, {"peak_memory": 2**30}, Cause.MEMORY),
    ],
)
def test_a_limit_explains_a_kill(
    tmp_path: Path, options: dict[str, Any], fields: dict[str, Any], expected: Cause
) -> None:
    """The registry has the limit, the notice what was used."""

    async def story() -> None:
        world = World(tmp_path, **options)
        record = world.node()
        record.granted_memory = 2**30
        await world.end(record, signal="SIGKILL", **fields)
        assert cause(record) is expected

    play(story)


def test_nodes_that_never_worked_and_fail_fast_block_their_host(
    tmp_path: Path,
) -> None:
    """A node that had become a worker shows that the host is in order."""

    async def story() -> None:
        world = World(tmp_path)
        world.blocklist.possible = frozenset({"node1", "node2"})
        for _ in range(FAILURE_LIMIT):
            await world.end(world.node(), signal="SIGKILL")
        assert world.blocklist.blocked(world.registry.clock()) == []
        for index in range(FAILURE_LIMIT):
            record = world.node(arrived=False)
            (tmp_path / f"{record.id}.log").write_text("on node2:\n")
            await world.end(record, exit_status=127)
            blocked = world.blocklist.blocked(world.registry.clock())
            assert blocked == (["node2"] if index == FAILURE_LIMIT - 1 else [])

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
def test_late_failures_and_those_of_any_host_do_not_block(
    tmp_path: Path, seconds: float, why: Cause, failed_hosts: bool
) -> None:
    """On a bad host nodes fail fast."""
    world = World(tmp_path)
    record = world.node()
    record.working, arrived = None, record.arrived
    assert arrived is not None
    world.registry.clock = lambda: arrived + seconds
    world.exits.on_exit_report(exit_report(index=1, cause=why.value))
    assert world.blocklist.suspects() == (["node1"] if failed_hosts else [])


def test_unknown_and_second_end_notices_are_ignored(tmp_path: Path) -> None:
    """A late or foreign notice changes nothing."""

    async def story() -> None:
        world = World(tmp_path)
        record = world.node()
        await world.end(record, exit_status=0)
        world.exits.on_end_notice(EndNotice(node=record.id, signal="SIGKILL"))
        world.exits.on_end_notice(EndNotice(node=NodeId("77", 1)))
        await world.exits.drain(timeout=5)
        assert (cause(record), len(world.over)) == (Cause.FINISHED, 1)

    play(story)
