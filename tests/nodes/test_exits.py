"""How nodes end, and how that is explained."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.batch.slurm import Slurm, listed
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import AccountingRecord, EndNotice, NodeId
from dask_gridengine.nodes.host_blocklist import FAILURE_LIMIT, FAST_SECONDS
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from tests.pools import FakeLauncher, make_pool
from tests.samples import exit_report, hello
from tests.waiting import until

SILENT = Diagnosis(cause=Cause.HOST_LOST, source="scheduler")


class Grid(FakeLauncher):
    """A grid whose accounting answers later, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.accounted: list[NodeId] = []
        self.account_record: asyncio.Future[AccountingRecord] | None = None

    async def account(  # type: ignore[override]
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        self.accounted.append(node)
        return await self.account_record if self.account_record else None


class World:
    """A pool whose nodes end. It has a name for each node of `node`."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.grid = Grid()
        self.pool = make_pool(launcher=self.grid, directory=directory, **options)
        self.exits, self.registry = self.pool.exits, self.pool.registry
        self.failures, self.blocklist = self.pool.failures, self.pool.blocklist
        self.blocklist.possible = frozenset({"node1", "node2"})
        self.logs = self.pool.log_directory
        self.logs.mkdir(exist_ok=True)

    def node(self, *, arrived: bool = True) -> NodeRecord:
        """The next node; at work on node1, or still in the queue."""
        index = len(self.registry.records) + 1
        self.registry.submitted([NodeId("12", index)])
        record = self.registry.records[NodeId("12", index)]
        if arrived:
            self.pool.add_names(1)
            self.registry.arrive(record, hello(index=index))
            self.registry.registered(self.registry.bind(record))
        return record

    @property
    def over(self) -> list[NodeRecord]:
        return [record for record in self.registry if record.over]

    @property
    def blocked(self) -> list[str]:
        return self.blocklist.blocked(self.registry.clock())

    async def end(self, record: NodeRecord, **fields: Any) -> None:
        """Pass an end notice, and wait until it is followed up."""
        self.exits.on_end_notice(EndNotice(node=record.id, **fields))
        await until(lambda: record.state is NodeState.GONE, "the end", 5)


def cause(record: NodeRecord) -> Cause | None:
    return record.diagnosis.cause if record.diagnosis else None


async def test_an_exit_report_frees_the_name_before_the_end_notice(
    tmp_path: Path,
) -> None:
    """The notice may take ten minutes after a restart of the master."""
    world = World(tmp_path)
    record = world.node()
    record.peak_memory = 9  # of a worker before the last
    report = exit_report(index=1, cause="drained", stderr="last", peak_memory=7)
    assert world.exits.on_exit_report(report)
    assert (record.over, record.state) == (True, NodeState.DRAINING)
    await world.end(record, exit_status=0)
    assert (cause(record), record.log_tail) == (Cause.DRAINED, "last")
    assert record.peak_memory == 9


@pytest.mark.parametrize(
    ("reported", "detail", "memory", "expected"),
    [
        (Cause.NO_START, "RuntimeError: can't start new thread", 2**29, Cause.MEMORY),
        (Cause.NO_IMPORT, "MemoryError: ", 2**29, Cause.MEMORY),
        (Cause.NO_START, "RuntimeError: can't start new thread", 0, Cause.NO_START),
        (Cause.NO_START, "OSError: none", 2**29, Cause.NO_START),
    ],
)
async def test_too_little_address_space_to_start(
    tmp_path: Path, reported: Cause, detail: str, memory: int, expected: Cause
) -> None:
    """The grid's limit kills nothing then; the advice is what an idle node needs."""
    world = World(tmp_path)
    record = world.node()
    record.granted_memory = memory
    report = exit_report(index=1, cause=reported.value, detail=detail)
    world.exits.on_exit_report(report)
    assert cause(record) is expected
    advised = record.diagnosis is not None and "h_vmem=768M" in record.diagnosis.advice
    assert advised is (expected is Cause.MEMORY)


@pytest.mark.parametrize(
    ("state", "replaced", "cause_of_end", "wanted"),
    [
        ("CANCELLED", False, Cause.DELETED, []),
        ("CANCELLED", True, Cause.DELETED, []),
        ("PREEMPTED", False, Cause.DRAINED, ["ge-1"]),
        ("PREEMPTED", True, Cause.DRAINED, ["ge-1"]),
        ("TIMEOUT", False, Cause.DRAINED, ["ge-1"]),
    ],
)
async def test_a_drained_node_may_have_been_deleted(
    tmp_path: Path, state: str, replaced: bool, cause_of_end: Cause, wanted: list[str]
) -> None:
    """Slurm sends SIGTERM for both; its list tells, and the node is replaced or not."""
    world = World(tmp_path)
    world.grid.batch_system = Slurm()
    record = world.node()
    if replaced:
        world.pool.replace(record)
    before = world.pool.names
    report = exit_report(index=1, cause="drained", detail="SIGTERM")
    assert world.exits.on_exit_report(report)
    assert world.pool.names == before
    end = listed(record.id, state)
    assert isinstance(end, EndNotice)
    world.exits.on_end_notice(end)
    await until(lambda: record.state is NodeState.GONE, "the end", 5)
    await world.exits.drain(timeout=5)
    assert record.diagnosis is not None
    assert (cause(record), world.pool.names) == (cause_of_end, wanted)
    assert cause_of_end is Cause.DELETED or state in record.diagnosis.detail


async def test_each_node_has_one_successor(tmp_path: Path) -> None:
    """Whatever is reported of its end, in whatever order, and again."""
    world = World(tmp_path)
    reported, silent, lost = world.node(), world.node(), world.node()
    world.exits.on_exit_report(exit_report(index=1))
    world.exits.declare_lost(lost, SILENT)
    assert world.over == [reported, lost]
    for record in (reported, silent, lost):
        await world.end(record, exit_status=0)
        world.exits.on_end_notice(EndNotice(node=record.id))
    world.exits.on_end_notice(EndNotice(node=NodeId("77", 1)))
    await world.exits.drain(timeout=5)
    assert world.pool.names == ["ge-3", "ge-4", "ge-5"]


async def test_an_exit_report_outweighs_the_end_notice(tmp_path: Path) -> None:
    """The node knows best why it ended, also if its log is being read already."""
    world = World(tmp_path)
    first, second = world.node(), world.node()
    world.exits.on_exit_report(exit_report(index=1, cause=Cause.NO_START.value))
    await world.end(first, signal="SIGKILL")
    world.exits.on_end_notice(EndNotice(node=second.id, exit_status=3))
    await asyncio.sleep(0)  # it is being followed now
    world.exits.on_exit_report(exit_report(index=2, cause=Cause.NO_START.value))
    await world.exits.drain(timeout=5)
    assert cause(first) is cause(second) is Cause.NO_START
    assert second.state is NodeState.GONE
    assert len(world.failures) == 2


async def test_an_exit_report_after_the_end_is_ignored(tmp_path: Path) -> None:
    """The notice may be faster; its diagnosis stays."""
    world = World(tmp_path)
    record = world.node()
    await world.end(record, signal="SIGKILL", peak_memory=9)
    assert not world.exits.on_exit_report(exit_report(index=1))
    assert cause(record) is Cause.KILLED
    assert (record.exit_report, record.peak_memory) == (None, 9)


@pytest.mark.parametrize("changes", [{"process_token": "f" * 16}, {"job": "77"}])
def test_an_invalid_exit_report_changes_nothing(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    """Nor does a second one."""
    world = World(tmp_path)
    record = world.node()
    assert not world.exits.on_exit_report(exit_report(index=1, **changes))
    assert (record.state, record.over) == (NodeState.WORKING, False)
    assert world.exits.on_exit_report(exit_report(index=1))
    assert not world.exits.on_exit_report(exit_report(index=1, cause="drained"))
    assert (cause(record), record.over) == (Cause.FINISHED, True)


@pytest.mark.parametrize(
    ("state", "reported", "expected"),
    [
        ({"cancelled": True}, Cause.NO_START, Cause.CANCELLED),
        ({"cancelled": True}, Cause.FINISHED, Cause.CANCELLED),
        ({"retired": True}, Cause.FINISHED, Cause.RETIRED),
        ({"retired": True}, Cause.NO_START, Cause.NO_START),
        ({}, Cause.FINISHED, Cause.FINISHED),
        ({"turned": Cause.EXPIRED}, Cause.FINISHED, Cause.EXPIRED),
        ({"turned": Cause.EXPIRED, "cancelled": True}, Cause.FINISHED, Cause.EXPIRED),
        ({"turned": Cause.EXPIRED}, Cause.DRAINED, Cause.DRAINED),
        ({"turned": Cause.EXPIRED}, Cause.KILLED, Cause.KILLED),
    ],
)
def test_the_requester_of_an_end_decides_its_cause(
    tmp_path: Path, state: dict[str, Any], reported: Cause, expected: Cause
) -> None:
    """The cluster, the scheduler or the walltime; the worker reports the same."""
    record = (world := World(tmp_path)).node()
    for key, value in state.items():
        if key == "turned":
            value = Diagnosis(cause=value, source="cluster")
        setattr(record, key, value)
    world.exits.on_exit_report(exit_report(index=1, cause=reported.value))
    assert cause(record) is expected


async def test_a_node_without_a_report_is_explained_by_its_log(tmp_path: Path) -> None:
    """Its host, its last line; and its log is removed, as it says no more."""
    world = World(tmp_path)
    record = world.node(arrived=False)
    log = world.logs / "12.1.log"
    log.write_text("on node7:\nsh: nopy: not found\n")
    await world.end(record, exit_status=127)
    assert (cause(record), record.host) == (Cause.NO_PYTHON, "node7")
    assert record.diagnosis
    assert record.diagnosis.detail == "sh: nopy: not found"
    assert record.log_tail.endswith("not found\n")
    await until(lambda: not log.exists(), "its log is removed")


@pytest.mark.parametrize("keep", [True, False])
async def test_requested_and_helpful_logs_are_kept(tmp_path: Path, keep: bool) -> None:
    """Others are removed."""
    options = {"log_directory": tmp_path / "mine"} if keep else {}
    world = World(tmp_path, **options)
    good, killed = world.node(), world.node()
    logs = [world.logs / "12.1.log", world.logs / "12.2.log"]
    for log in logs:
        log.write_text("fine")
    await world.end(good, exit_status=0)
    await world.end(killed, signal="SIGKILL")
    await world.exits.drain(timeout=5)
    assert [log.exists() for log in logs] == [keep, True]
    assert world.exits.logs_to_keep() == {"12.2"}


@pytest.mark.parametrize("by", ["the cluster", "the launcher"])
async def test_a_cancelled_node_is_no_failure(tmp_path: Path, by: str) -> None:
    """However it ended: no host is blamed, and no log is left."""
    world = World(tmp_path)
    record = world.node(arrived=False)
    log = world.logs / "12.1.log"
    log.write_text("on node7:\nKilled\n")
    record.cancelled = by == "the cluster"
    await world.end(record, signal="SIGKILL", cancelled=by != "the cluster")
    assert (cause(record), record.over) == (Cause.CANCELLED, True)
    assert not world.failures
    assert not world.blocklist.suspects()
    await until(lambda: not log.exists(), "its log is removed")


async def test_the_report_of_a_node_declared_lost_counts(tmp_path: Path) -> None:
    """It was cancelled too, which was not why it ended."""
    world = World(tmp_path)
    record = world.node()
    world.exits.declare_lost(record, SILENT)
    record.cancelled = True  # as the caller does
    report = exit_report(index=1, cause=Cause.LOST_CONTACT.value)
    assert world.exits.on_exit_report(report)
    await world.end(record, cancelled=True)
    world.exits.declare_lost(record, SILENT)
    assert cause(record) is Cause.LOST_CONTACT


@pytest.mark.parametrize("by", ["its end", "its deletion", "its report"])
async def test_a_host_whose_lost_node_responds_is_not_excluded(
    tmp_path: Path, by: str
) -> None:
    """Also if we have deleted the node: of a lost host the grid hears nothing."""
    world = World(tmp_path)
    record = world.node()
    world.exits.declare_lost(record, SILENT)
    assert world.blocked == ["node1"]
    record.cancelled = by != "its end"
    if by == "its report":
        assert world.exits.on_exit_report(exit_report(index=1))
    else:
        await world.end(record, cancelled=record.cancelled, signal="SIGKILL")
    assert world.blocked == []
    if by == "its deletion":
        assert record.diagnosis == SILENT, "its deletion explains nothing"
    elif by == "its end":
        assert cause(record) is Cause.KILLED
        (reason,) = world.failures.reasons()
        assert "was killed" in reason


async def test_the_accounting_explains_unknown_ends(tmp_path: Path) -> None:
    """In the background, because its record may come late."""
    world = World(tmp_path)
    answer: asyncio.Future[AccountingRecord] = asyncio.Future()
    world.grid.account_record = answer
    known, unknown = world.node(), world.node(arrived=False)
    await world.end(known, signal="SIGKILL")
    await world.end(unknown, unstarted=True, reason="prolog failed")
    assert world.grid.accounted == [unknown.id]
    assert world.over == [known, unknown]
    answer.set_result(AccountingRecord(host="node9", failed="8: in prolog"))
    await until(lambda: unknown.host == "node9", "the accounting's record", 5)
    assert unknown.diagnosis
    assert unknown.diagnosis.detail == "8: in prolog"
    assert any("8: in prolog" in reason for reason in world.failures.reasons())


async def test_closing_does_not_wait_for_the_accounting(tmp_path: Path) -> None:
    """Also if an end is followed up only while the cluster closes."""
    world = World(tmp_path)
    world.grid.account_record = asyncio.Future()
    record = world.node(arrived=False)
    world.exits.on_end_notice(EndNotice(node=record.id, exit_status=3))
    await world.exits.drain(timeout=5)
    assert record.state is NodeState.GONE
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_log_that_hangs_does_not_delay_closing(tmp_path: Path) -> None:
    """As with a dead file server; the end is not followed up then."""
    world = World(tmp_path)
    record = world.node()
    log = world.logs / "12.1.log"
    os.mkfifo(log)
    world.exits.on_end_notice(EndNotice(node=record.id, signal="SIGKILL"))
    await asyncio.wait_for(world.exits.drain(timeout=0.1), 5)
    assert record.state is NodeState.WORKING
    log.open("wb").close()  # ends its reader


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({"walltime": 60.0}, {"ran": 60.0}, Cause.WALLTIME),
        ({}, {"address_space": 2**30}, Cause.MEMORY),
    ],
)
async def test_a_limit_explains_a_kill(
    tmp_path: Path, options: dict[str, Any], fields: dict[str, Any], expected: Cause
) -> None:
    """The registry has the limit, the notice what was used."""
    world = World(tmp_path, **options)
    record = world.node()
    record.granted_memory = 2**30
    await world.end(record, signal="SIGKILL", **fields)
    assert cause(record) is expected


async def test_nodes_that_never_worked_and_fail_fast_block_their_host(
    tmp_path: Path,
) -> None:
    """A node that had become a worker shows that the host is in order."""
    world = World(tmp_path)
    for _ in range(FAILURE_LIMIT):
        await world.end(world.node(), signal="SIGKILL")
    assert world.blocked == []
    for index in range(FAILURE_LIMIT):
        record = world.node(arrived=False)
        (world.logs / f"{record.id}.log").write_text("on node2:\n")
        await world.end(record, exit_status=127)
        assert world.blocked == (["node2"] if index == FAILURE_LIMIT - 1 else [])


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
