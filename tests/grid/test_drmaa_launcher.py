"""The DRMAA launcher on a real Grid Engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.batch.sge.submit_options import exclude_hosts
from dask_gridengine.errors import DrmCommunicationError, SubmitError
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.drmaa.jobs import UNCONFIRMED
from dask_gridengine.launchers.drmaa.launcher import DrmaaLauncher, drmaa_program
from dask_gridengine.launchers.drmaa.library import (
    ABANDONED,
    APPLICATION_ERROR,
    DELETED,
    NO_RECORD,
    UNSTARTED,
)
from dask_gridengine.launchers.select import open_launcher
from dask_gridengine.launchers.supervisor import ChildSupervisor
from tests.grid.conftest import Cell
from tests.launchers.conftest import Ends
from tests.waiting import until, wait_until

pytestmark = [pytest.mark.grid, pytest.mark.usefixtures("grid")]

HELD = "-h"  # stays in the queue


@pytest.fixture
def ends() -> Ends:
    """An end callback for a launcher."""
    return Ends()


@asynccontextmanager
async def drmaa(ends: Ends) -> AsyncIterator[Any]:
    launcher = await open_launcher("drmaa", ends)
    try:
        yield launcher
    finally:
        await launcher.aclose()


def shell(script: str, **fields: Any) -> NodeRequest:
    return NodeRequest(name="node", command=("/bin/sh", "-c", script), **fields)


def bare(end: EndNotice) -> EndNotice:
    """An end notice without what differs from run to run."""
    return replace(end, ran=None, peak_memory=0, address_space=0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=100))


def child() -> psutil.Process:
    """Return the launcher's child."""
    children = psutil.Process().children()
    (process,) = (each for each in children if each.name().startswith("python"))
    return process


def master() -> psutil.Process:
    spool = Path(os.environ["SGE_ROOT"]).parent / "spool"
    return psutil.Process(int((spool / "qmaster" / "qmaster.pid").read_text()))


def test_the_description_has_the_grid_engine(ends: Ends) -> None:
    """A configured grid is the default."""

    async def main() -> None:
        launcher = await open_launcher(None, ends)
        assert launcher.kind == "drmaa"
        assert launcher.description.startswith("Grid Engine through DRMAA (")
        await launcher.aclose()

    run(main)


def test_ends_have_their_cause(ends: Ends) -> None:
    """Exit status, signal, or that the command could not be started; and the time."""
    expected: dict[NodeId, dict[str, Any]] = {}
    scripts: dict[str, dict[str, Any]] = {
        "exit 0": {"exit_status": 0},
        "exit 3": {"exit_status": 3},
        "exit 200": {"exit_status": 200},
        "exec no-such-command": {"exit_status": 127},
        "kill -9 $$": {"signal": "SIGKILL"},
        "trap 'exit 5' USR1; sleep 1000 & wait": {"exit_status": 5},  # by s_rt
        # Asks for Eqw, which DRMAA jobs never are.
        "exit 100": {"unstarted": True, "reason": APPLICATION_ERROR},
    }

    async def main() -> None:
        async with drmaa(ends) as launcher:
            for script, end in scripts.items():
                request = shell(script, native="-l s_rt=2" if "USR1" in script else "")
                (node,) = await launcher.submit(request, 1)
                expected[node] = end
            missing = NodeRequest(name="node", command=("/no/such/command",))
            (never,) = await launcher.submit(missing, 1)
            expected[never] = {"unstarted": True, "reason": UNSTARTED}
            limited = shell("sleep 1000", native="-l h_rt=2")
            (long,) = await launcher.submit(limited, 1)
            expected[long] = {"signal": "SIGKILL"}
            ended = await ends.of(list(expected), timeout=30)
            assert [bare(end) for end in ended] == [
                EndNotice(node=n, **how) for n, how in expected.items()
            ]
            by_node = {end.node: end for end in ended}
            assert by_node[never].ran is None
            assert all(end.ran is not None for end in ended if end.node != never)
            assert (by_node[long].ran or 0) >= 2
            assert by_node[long].address_space > 100_000

    run(main)


def test_ended_nodes_have_accounting_records(ends: Ends, grid: Cell) -> None:
    """Nodes that never ran have none."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            request = shell("sleep 1000", native="-l h_rt=3,h=node2")
            (node,) = await launcher.submit(request, 1)
            missing = NodeRequest(name="node", command=("/no/such/command",))
            (never,) = await launcher.submit(missing, 1)
            (held,) = await launcher.submit(shell("exit 0", native=HELD), 1)
            await launcher.cancel([held])
            end, _, _ = await ends.of([node, never, held])
            account = await launcher.account(node, timeout=30)
            assert (account.host, account.exit_status) == ("node2", 137)
            assert account.failed.startswith(("37: ", "100: "))  # by version
            assert account.ran == end.ran >= 3
            assert abs(account.address_space - end.address_space) < 2000  # it rounds
            account = await launcher.account(never, timeout=30)
            assert account.failed == "27: searching requested shell"
            assert account.host in grid.hosts
            assert await launcher.account(held) is None

    run(main)


def test_the_hosts_of_options_are_found(ends: Ends) -> None:
    """From qselect, which lists every host; None for invalid options."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            assert await launcher.hosts("") == {"node1", "node2"}
            everything = "-q all.q -l h_rt=60 -R y -pe smp 4 -l h=!node1&!node9"
            assert await launcher.hosts(everything) == {"node2"}
            assert await launcher.hosts("-q *@node1") == {"node1"}
            for invalid in ("-q nowhere.q", "-pe none 2", "-l gold=1"):
                assert await launcher.hosts(invalid) is None

    run(main)


@pytest.mark.parametrize(
    "native", ["", "-q all.q -l h_rt=60", "-pe smp 2", "-soft -l h_rt=60"]
)
def test_excluded_hosts_run_nothing(
    ends: Ends, native: str, shared: Path, grid: Cell
) -> None:
    """This works with any other options, and as many hosts as Grid Engine accepts."""
    script = f"hostname >{shared}/host-$JOB_ID-$SGE_TASK_ID"
    many = [f"node{index}-with-a-long-name.example.org" for index in range(100, 400)]

    async def main() -> None:
        async with drmaa(ends) as launcher:
            for hosts in (["node1"], ["node1", "node0"], ["node1", *many]):
                request = shell(script, native=exclude_hosts(native, hosts))
                for end in await ends.of(await launcher.submit(request, 6)):
                    assert end.exit_status == 0
            nowhere = shell(script, native=exclude_hosts(native, grid.hosts))
            with pytest.raises(SubmitError, match="no suitable queues"):
                await launcher.submit(nowhere, 1)

    run(main)
    where = [path.read_text().strip() for path in shared.glob("host-*")]
    assert where == ["node2"] * 18
    for path in shared.glob("host-*"):
        path.unlink()


def test_a_recheck_finds_an_ended_node(ends: Ends, grid: Cell) -> None:
    """Also a node whose notice was lost; a live node stays."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            held = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            killed = child()
            killed.suspend()  # it receives no notices
            grid.run("qdel", held[0].job, "-t", "1")
            killed.kill()
            await until(lambda: child() != killed, "another child")
            await launcher.recheck(held)
            await ends.of(held[:1], timeout=30)
            assert ends.nodes == held[:1]

    run(main)


def test_a_command_arrives_whole(ends: Ends, tmp_path: Path) -> None:
    """Although libdrmaa cuts arguments at newlines and values at "="."""
    seen = tmp_path / "seen.json"
    program = (
        "import json, os, sys\n"
        f"with open({str(seen)!r}, 'w') as file:\n"
        "    json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], file)\n"
    )
    arguments = ["a\nb", "it's", '"$HOME"', "", "é☃", "-x"]
    environment = {"A": "x=y", "B": "one\ntwo", "C": "a, b", "GLIBC_TUNABLES": ""}
    request = NodeRequest(
        name="node",
        command=(sys.executable, "-c", program, *arguments),
        environment=environment,
        native="-V",
    )

    async def main() -> None:
        async with drmaa(ends) as launcher:
            (end,) = await ends.of(await launcher.submit(request, 1))
            assert end.exit_status == 0

    run(main)
    argv, variables, directory = json.loads(seen.read_text())
    assert argv == arguments
    assert {name: variables[name] for name in environment} == environment
    assert directory == "/"


@pytest.mark.parametrize(
    ("native", "count", "text"),
    [
        ("-q nowhere.q", 1, "nowhere.q"),
        ("-l gold=1", 1, "gold"),
        ("-pe mpi 4", 1, "mpi"),
        ("-l h=nohost", 1, "nohost"),
        ("-no-such-option", 1, "-no-such-option"),
        ("", 75_001, "75000"),
    ],
)
def test_a_rejection_has_the_grids_text(
    ends: Ends, native: str, count: int, text: str
) -> None:
    """Nothing is queued, and the next submission works."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            with pytest.raises(SubmitError) as caught:
                await launcher.submit(shell("exit 0", native=native), count)
            assert text in caught.value.reason
            (end,) = await ends.of(await launcher.submit(shell("exit 0"), 1))
            assert end.exit_status == 0

    run(main)


def test_part_of_an_array_can_be_cancelled(ends: Ends, grid: Cell) -> None:
    """Queued or running nodes are cancelled; the others stay."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            running = await launcher.submit(shell("sleep 1000"), 3)
            held = await launcher.submit(shell("sleep 1000", native=HELD), 3)
            await until(lambda: grid.qstat().count(" r ") == 3, "three running")
            gone = [running[1], held[0], held[2]]
            await launcher.cancel(gone)
            assert all(end.cancelled for end in await ends.of(gone))
            assert set(ends.nodes) == set(gone)
            assert len(grid.qstat().splitlines()) == 2 + 3

    run(main)


def test_many_nodes_of_an_array_can_be_cancelled(ends: Ends, grid: Cell) -> None:
    """One command cancels them; the others stay."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 300)
            gone = [*nodes[:2], *nodes[100:]]
            await launcher.cancel(gone)
            assert all(end.cancelled for end in await ends.of(gone))
            assert set(ends.nodes) == set(gone)
            assert "3-100:1" in grid.qstat()

    run(main)


def test_jobs_deleted_by_others_are_reported_as_deleted(ends: Ends, grid: Cell) -> None:
    """A user or an administrator uses qdel."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            (running,) = await launcher.submit(shell("sleep 1000"), 1)
            polite = shell("trap 'exit 0' USR2; sleep 1000 & wait", native="-notify")
            (warned,) = await launcher.submit(polite, 1)
            (held,) = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            await until(lambda: grid.qstat().count(" r ") == 2, "two running")
            grid.run("qdel", running.job, warned.job, held.job)
            ended = await ends.of([running, warned, held])
            assert [bare(end) for end in ended] == [
                EndNotice(node=running, reason=DELETED, deleted=True),
                EndNotice(node=warned, reason=DELETED, deleted=True),
                EndNotice(node=held, reason=NO_RECORD, deleted=True),
            ]
            assert [end.ran is None for end in ended] == [False, False, True]

    run(main)


def test_a_node_whose_shepherd_dies_was_not_deleted(ends: Ends, grid: Cell) -> None:
    """The grid itself does not know how it ended."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            (node,) = await launcher.submit(shell("sleep 1000"), 1)
            await until(lambda: " r " in grid.qstat(), "one running")
            name = f"sge_shepherd-{node.job}"
            (shepherd,) = (
                process
                for process in psutil.process_iter(["cmdline"])
                if (process.info["cmdline"] or [""])[0] == name
                and process.parent().environ().get("SGE_ROOT") == os.environ["SGE_ROOT"]
            )
            children = shepherd.children(recursive=True)
            shepherd.kill()
            (end,) = await ends.of([node], timeout=30)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            assert end.reason == ABANDONED
            assert not end.deleted
            assert not end.unstarted

    run(main)


@pytest.mark.parametrize("ending", ["sleep", "fork", "exit"])
def test_nothing_outlives_the_parent(grid: Cell, shared: Path, ending: str) -> None:
    """Its jobs are deleted, running or queued, and its directory is removed.

    Also when it ends without closing, or a fork of it holds the pipe.
    """
    shared = shared / "dask-1"
    shared.mkdir()
    command = [sys.executable, "-m", "tests.launchers.user", "drmaa", str(shared)]
    with subprocess.Popen(
        [*command, ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        child_pid = json.loads(parent.stdout.readline())["child"]
        wait_until(lambda: " r " in grid.qstat(), "a running node", 20)
        children = psutil.Process(parent.pid).children()
        if ending == "exit":
            parent.stdin.close()
        else:
            parent.kill()
        wait_until(lambda: not psutil.pid_exists(child_pid), "its end", 30)
        for process in children:
            if process.pid != child_pid:
                process.kill()
    wait_until(lambda: grid.qstat() == "", "an empty queue", 30, grid.qstat)
    assert not shared.exists()


def test_nodes_survive_a_killed_child(ends: Ends, tmp_path: Path) -> None:
    """A new child takes over; ends have their exit status, and cancelling works."""
    gate = tmp_path / "gate"

    async def main() -> None:
        async with drmaa(ends) as launcher:
            script = f"while [ ! -e {gate} ]; do sleep 0.1; done; exit 7"
            running = await launcher.submit(shell(script), 2)
            held = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            killed = child()
            killed.kill()
            await launcher.cancel(held[:1])
            assert child().pid != killed.pid
            gate.touch()
            ended = await ends.of(running, timeout=30)
            assert [end.exit_status for end in ended] == [7, 7]
            assert (await ends.of(held[:1]))[0].cancelled
            assert len(ends.seen) == 3
            (end,) = await ends.of(await launcher.submit(shell("exit 5"), 1))
            assert end.exit_status == 5

    run(main)


def test_an_end_between_two_children_is_found(ends: Ends, grid: Cell) -> None:
    """A node that has ended when the new child starts, and whose notice is lost."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            killed = child()
            killed.suspend()  # it receives no notices
            grid.run("qdel", nodes[0].job)
            killed.kill()
            (end,) = await ends.of(nodes, timeout=30)
            assert end.exit_status is None
            assert not end.cancelled

    run(main)


def test_a_master_that_hangs_loses_no_end(ends: Ends, tmp_path: Path) -> None:
    """Ends during that time are reported later, with their exit status."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            script = f"touch {tmp_path}/on; sleep 2; touch {tmp_path}/off; exit 4"
            nodes = await launcher.submit(shell(script), 1)
            await until((tmp_path / "on").exists, "a running node")
            master().suspend()
            try:
                await until((tmp_path / "off").exists, "its end")
                assert ends.seen == []
            finally:
                master().resume()
            (end,) = await ends.of(nodes, timeout=30)
            assert end.exit_status == 4

    run(main)


def test_an_unacknowledged_submission_is_found_by_its_id(
    ends: Ends, grid: Cell
) -> None:
    """A master that hangs may queue it later, and the job's id is never received.

    That takes two minutes, so here qsub queues what the master would have queued.
    """
    qsub = ("qsub", "-terse", "-h", "-N", "node", "-b", "y", "-o", "/dev/null")

    def jobs() -> set[str]:
        return {line.split()[0] for line in grid.qstat().splitlines()[2:]}

    async def main() -> None:
        supervisor = await ChildSupervisor.open(await drmaa_program(), ends)
        async with contextlib.aclosing(DrmaaLauncher(supervisor)) as launcher:
            (ours,) = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            marked = (*qsub, "-v", f"{SUBMISSION}=abc123")
            lost = grid.run(*marked, "-t", "1-3", "sleep", "9").partition(".")[0]
            other = grid.run(*qsub, "sleep", "9").strip()
            assert jobs() == {ours.job, lost, other}
            channel = await supervisor.channel(0)
            await channel.request(
                "delete_unacknowledged", name="node", submission_id="abc123"
            )
            await until(lambda: lost not in jobs(), "it is gone", 10, jobs)
            assert jobs() == {ours.job, other}
            grid.run("qdel", other)

    run(main)


def test_a_restarted_master_loses_no_cancellation(
    ends: Ends, grid: Cell, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away submissions fail, and cancellations are retried later.

    Not tested with running nodes: after a restart Grid Engine itself does not know for
    ten minutes that they have ended.
    """

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 3)
            grid.control("stop-master")
            try:
                with pytest.raises(DrmCommunicationError, match="unable to"):
                    await launcher.submit(shell("exit 0"), 1)
                await launcher.cancel(nodes[:2])
                await until(lambda: "does not answer" in caplog.text, "a note")
                assert ends.seen == []
            finally:
                await asyncio.to_thread(grid.control, "start-master")
            ended = await ends.of(nodes[:2], timeout=60)
            assert all(end.cancelled for end in ended)
            assert await launcher.submit(shell("sleep 1000", native=HELD), 1)
            assert len(ends.seen) == 2
            grid.run("qdel", nodes[2].job)
            (end,) = await ends.of(nodes[2:], timeout=30)
            assert (end.deleted, end.reason) == (False, UNCONFIRMED)

    run(main)
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1


def test_a_cancelled_submission_leaves_no_job(ends: Ends, grid: Cell) -> None:
    """A job that is still queued is deleted, and its end is not reported."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            request = shell("sleep 1000", native=HELD)
            submitting = asyncio.create_task(launcher.submit(request, 500))
            await asyncio.sleep(0)
            child().suspend()
            await asyncio.sleep(0)
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            child().resume()
            (node,) = await launcher.submit(shell("exit 0"), 1)
            await ends.of([node])
            await until(lambda: grid.qstat() == "", "an empty queue", 20, grid.qstat)
            assert ends.nodes == [node]

    run(main)


def test_after_sigterm_to_the_child_a_new_one_starts(ends: Ends) -> None:
    """The old one deletes its jobs; the new one finds their ends."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            child().send_signal(signal.SIGTERM)
            ended = await ends.of(nodes, timeout=40)
            assert not any(end.cancelled for end in ended)
            (end,) = await ends.of(await launcher.submit(shell("exit 5"), 1))
            assert end.exit_status == 5

    run(main)


def test_closing_leaves_an_empty_queue(ends: Ends, grid: Cell) -> None:
    """The nodes are gone when it returns."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            await launcher.submit(shell("sleep 1000"), 4)
            await launcher.submit(shell("sleep 1000", native=HELD), 4)
            await until(lambda: grid.qstat().count(" r ") == 4, "four running")
        assert grid.qstat() == ""
        assert len(ends.seen) == 8

    run(main)
