"""The DRMAA launcher on a real Grid Engine: what its promises rest on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
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
from dask_gridengine.launchers.drmaa.jobs import UNSURE
from dask_gridengine.launchers.drmaa.library import (
    ABANDONED,
    APPLICATION_ERROR,
    DELETED,
    NO_RECORD,
    UNSTARTED,
)
from dask_gridengine.launchers.select import open_launcher
from dask_gridengine.launchers.session import SessionLauncher
from tests.grid.conftest import Cell
from tests.launchers.conftest import Ends
from tests.waiting import until, wait_until

pytestmark = [pytest.mark.grid, pytest.mark.usefixtures("grid")]

HELD = "-h"  # stays in the queue


@pytest.fixture
def ends() -> Ends:
    """What a launcher reports its ends to."""
    return Ends()


@asynccontextmanager
async def drmaa(ends: Ends, cleanup: Path | None = None) -> AsyncIterator[Any]:
    launcher = await open_launcher("drmaa", ends, cleanup=cleanup)
    try:
        yield launcher
    finally:
        await launcher.aclose()


def shell(script: str, **fields: Any) -> NodeRequest:
    return NodeRequest(name="node", command=("/bin/sh", "-c", script), **fields)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=100))


def session() -> psutil.Process:
    """The launcher's child."""
    (child,) = (c for c in psutil.Process().children() if c.name().startswith("python"))
    return child


def master() -> psutil.Process:
    spool = Path(os.environ["SGE_ROOT"]).parent / "spool"
    return psutil.Process(int((spool / "qmaster" / "qmaster.pid").read_text()))


def test_it_says_which_grid_engine_it_found(ends: Ends) -> None:
    """Also as the best there is, without being asked for."""

    async def main() -> None:
        launcher = await open_launcher(None, ends)
        assert launcher.kind == "drmaa"
        assert launcher.description == "Grid Engine through DRMAA (SGE 8.1.9)"
        await launcher.aclose()

    run(main)


def test_ends_are_told_as_they_were(ends: Ends) -> None:
    """Exit status, signal, or that the command could not be started; and how long."""
    wanted: dict[NodeId, dict[str, Any]] = {}
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
            for script, told in scripts.items():
                request = shell(script, native="-l s_rt=2" if "USR1" in script else "")
                (node,) = await launcher.submit(request, 1)
                wanted[node] = told
            missing = NodeRequest(name="node", command=("/no/such/command",))
            (never,) = await launcher.submit(missing, 1)
            wanted[never] = {"unstarted": True, "reason": UNSTARTED}
            limited = shell("sleep 1000", native="-l h_rt=2")
            (long,) = await launcher.submit(limited, 1)
            wanted[long] = {"signal": "SIGKILL"}
            told = await ends.of(wanted, timeout=30)
            assert [replace(end, ran=None, peak_memory=0) for end in told] == [
                EndNotice(node=n, **how) for n, how in wanted.items()
            ]
            by_node = {end.node: end for end in told}
            assert by_node[never].ran is None
            assert all(end.ran is not None for end in told if end.node != never)
            assert (by_node[long].ran or 0) >= 2
            assert by_node[long].peak_memory > 100_000

    run(main)


def test_the_accounting_knows_those_that_died_without_a_word(
    ends: Ends, grid: Cell
) -> None:
    """How, where, how long and how big; of a node that never ran there is nothing."""

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
            assert account.failed.endswith("enforced h_rt, h_cpu, or h_vmem limit")
            assert account.ran == end.ran >= 3
            assert abs(account.peak_memory - end.peak_memory) < 2000  # it rounds
            account = await launcher.account(never, timeout=30)
            assert account.failed == "27: searching requested shell"
            assert account.host in grid.hosts
            assert await launcher.account(held) is None

    run(main)


def test_the_hosts_of_options_are_found(ends: Ends) -> None:
    """By qselect, which knows of every host; nobody can tell of nonsense."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            assert await launcher.hosts("") == {"node1", "node2"}
            everything = "-q all.q -l h_rt=60 -R y -pe smp 4 -l h=!node1&!node9"
            assert await launcher.hosts(everything) == {"node2"}
            assert await launcher.hosts("-q *@node1") == {"node1"}
            for nonsense in ("-q nowhere.q", "-pe none 2", "-l gold=1"):
                assert await launcher.hosts(nonsense) is None

    run(main)


@pytest.mark.parametrize(
    "native", ["", "-q all.q -l h_rt=60", "-pe smp 2", "-soft -l h_rt=60"]
)
def test_excluded_hosts_run_nothing(
    ends: Ends, native: str, shared: Path, grid: Cell
) -> None:
    """With whatever else was asked for, and as many as Grid Engine takes."""
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


def test_a_silent_node_that_is_over_is_found(ends: Ends, grid: Cell) -> None:
    """Also one whose notice went astray; one that lives is no end."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            held = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            killed = session()
            killed.suspend()  # it takes no notices
            grid.run("qdel", held[0].job, "-t", "1")
            killed.kill()
            await until(lambda: session() != killed, "another session")
            await launcher.ask_about(held)
            await ends.of(held[:1], timeout=30)
            assert ends.nodes == held[:1]

    run(main)


def test_a_command_arrives_whole(ends: Ends, tmp_path: Path) -> None:
    """libdrmaa cuts arguments at newlines and values at "="; we put them together."""
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


def test_what_glibc_was_told_stays_with_the_session(ends: Ends, tmp_path: Path) -> None:
    """Not even ``-V`` hands it on."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            request = shell(f"env >{tmp_path}/env", native="-V")
            await ends.of(await launcher.submit(request, 1))

    run(main)
    assert "GLIBC_TUNABLES" not in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("native", "count", "told"),
    [
        ("-q nowhere.q", 1, "nowhere.q"),
        ("-l gold=1", 1, "gold"),
        ("-pe mpi 4", 1, "mpi"),
        ("-l h=nohost", 1, "nohost"),
        ("-no-such-option", 1, "-no-such-option"),
        ("", 75_001, "75000"),
    ],
)
def test_a_refusal_keeps_the_grids_words(
    ends: Ends, native: str, count: int, told: str
) -> None:
    """And nothing is queued; the launcher goes on."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            with pytest.raises(SubmitError) as caught:
                await launcher.submit(shell("exit 0", native=native), count)
            assert told in caught.value.reason
            (end,) = await ends.of(await launcher.submit(shell("exit 0"), 1))
            assert end.exit_status == 0

    run(main)


def test_part_of_an_array_can_be_cancelled(ends: Ends, grid: Cell) -> None:
    """Queued or running; the others stay."""

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


def test_many_of_an_array_are_cancelled_at_once(ends: Ends, grid: Cell) -> None:
    """All that was meant, and nothing beside it."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 300)
            gone = [*nodes[:2], *nodes[100:]]
            await launcher.cancel(gone)
            assert all(end.cancelled for end in await ends.of(gone))
            assert set(ends.nodes) == set(gone)
            assert "3-100:1" in grid.qstat()

    run(main)


def test_what_others_delete_is_told_as_that(ends: Ends, grid: Cell) -> None:
    """By a user or an administrator with qdel; we did not cancel it."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            (running,) = await launcher.submit(shell("sleep 1000"), 1)
            polite = shell("trap 'exit 0' USR2; sleep 1000 & wait", native="-notify")
            (warned,) = await launcher.submit(polite, 1)
            (held,) = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            await until(lambda: grid.qstat().count(" r ") == 2, "two running")
            grid.run("qdel", running.job, warned.job, held.job)
            told = await ends.of([running, warned, held])
            assert [replace(end, ran=None, peak_memory=0) for end in told] == [
                EndNotice(node=running, reason=DELETED, deleted=True),
                EndNotice(node=warned, reason=DELETED, deleted=True),
                EndNotice(node=held, reason=NO_RECORD, deleted=True),
            ]
            assert [end.ran is None for end in told] == [False, False, True]

    run(main)


def test_a_node_whose_shepherd_dies_was_not_deleted(ends: Ends, grid: Cell) -> None:
    """Nor could it not be started: the grid itself does not know what became of it."""

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


def test_a_thousand_nodes_come_and_go_quickly(ends: Ends) -> None:
    """As one array, in a few calls; every end is told."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            start = time.monotonic()
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 1000)
            await launcher.cancel(nodes[::2])
            await ends.of(nodes[::2])
            await launcher.cancel(nodes)
            await ends.of(nodes)
            assert time.monotonic() - start < 10

    run(main)


@pytest.mark.parametrize("ending", ["sleep", "fork", "exit"])
def test_nothing_outlives_the_parent(grid: Cell, shared: Path, ending: str) -> None:
    """Killed, killed while a fork holds our pipe, or at its end without closing.

    Its jobs are deleted, running or queued, and its directory is removed.
    """
    shared = shared / "dask-1"
    shared.mkdir()
    command = [sys.executable, "-m", "tests.launchers.user", "drmaa", str(shared)]
    with subprocess.Popen(
        [*command, ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        told = json.loads(parent.stdout.readline())
        wait_until(lambda: " r " in grid.qstat(), "a running node", 20)
        children = psutil.Process(parent.pid).children()
        if ending == "exit":
            parent.stdin.close()
        else:
            parent.kill()
        wait_until(lambda: not psutil.pid_exists(told["session"]), "its end", 30)
        for child in children:
            if child.pid != told["session"]:
                child.kill()
    wait_until(lambda: grid.qstat() == "", "an empty queue", 30, grid.qstat)
    assert not shared.exists()


def test_a_killed_session_costs_no_node(ends: Ends, tmp_path: Path) -> None:
    """Another takes over; ends come with their exit status, cancelling works."""
    gate = tmp_path / "gate"

    async def main() -> None:
        async with drmaa(ends) as launcher:
            script = f"while [ ! -e {gate} ]; do sleep 0.1; done; exit 7"
            running = await launcher.submit(shell(script), 2)
            held = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            killed = session()
            killed.kill()
            await launcher.cancel(held[:1])
            assert session().pid != killed.pid
            gate.touch()
            told = await ends.of(running, timeout=30)
            assert [end.exit_status for end in told] == [7, 7]
            assert (await ends.of(held[:1]))[0].cancelled
            assert len(ends.seen) == 3
            (end,) = await ends.of(await launcher.submit(shell("exit 5"), 1))
            assert end.exit_status == 5

    run(main)


def test_an_end_without_a_session_is_found_out(ends: Ends, grid: Cell) -> None:
    """A node that is over when the next session begins, and whose notice is gone."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            killed = session()
            killed.suspend()  # it takes no notices
            grid.run("qdel", nodes[0].job)
            killed.kill()
            (end,) = await ends.of(nodes, timeout=30)
            assert end.exit_status is None
            assert not end.cancelled

    run(main)


def test_a_master_that_hangs_loses_no_end(ends: Ends, tmp_path: Path) -> None:
    """Ends that come meanwhile are told when it goes on, with their exit status."""

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


def test_a_submission_without_answer_is_found_by_its_mark(
    ends: Ends, grid: Cell
) -> None:
    """A master that hangs may queue it later; nobody ever hears the job's id.

    That takes two minutes, so here qsub queues what the master would have.
    """
    qsub = ("qsub", "-terse", "-h", "-N", "node", "-b", "y", "-o", "/dev/null")

    async def main() -> None:
        async with drmaa(ends) as launcher:
            (ours,) = await launcher.submit(shell("sleep 1000", native=HELD), 1)
            submission_id = (*qsub, "-v", f"{SUBMISSION}=abc123")
            lost = grid.run(*submission_id, "-t", "1-3", "sleep", "9").partition(".")[0]
            other = grid.run(*qsub, "sleep", "9").strip()
            assert lost in grid.qstat()
            channel = await launcher._session()
            await channel.ask(
                "delete_unacknowledged", name="node", submission_id="abc123"
            )
            await until(lambda: lost not in grid.qstat(), "it is gone", 10, grid.qstat)
            left = {line.split()[0] for line in grid.qstat().splitlines()[2:]}
            assert left == {ours.job, other}
            grid.run("qdel", other)

    run(main)


def test_a_master_that_is_restarted_loses_no_wish(
    ends: Ends, grid: Cell, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away submissions fail, and cancelling is made up for.

    Nodes that run are left out: after a restart Grid Engine itself does not know for
    ten minutes that they are over.
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
            told = await ends.of(nodes[:2], timeout=60)
            assert all(end.cancelled for end in told)
            assert await launcher.submit(shell("sleep 1000", native=HELD), 1)
            assert len(ends.seen) == 2
            grid.run("qdel", nodes[2].job)
            (end,) = await ends.of(nodes[2:], timeout=30)
            assert (end.deleted, end.reason) == (False, UNSURE)

    run(main)
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1


def test_a_cancelled_submission_leaves_no_job(ends: Ends, grid: Cell) -> None:
    """Ctrl-C at the wrong moment: what it still queues is deleted, and not reported."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            request = shell("sleep 1000", native=HELD)
            submitting = asyncio.create_task(launcher.submit(request, 500))
            await asyncio.sleep(0)
            session().suspend()
            await asyncio.sleep(0)
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            session().resume()
            (node,) = await launcher.submit(shell("exit 0"), 1)
            await ends.of([node])
            await until(lambda: grid.qstat() == "", "an empty queue", 20, grid.qstat)
            assert ends.nodes == [node]

    run(main)


def test_sigterm_to_the_session_is_no_loss_of_control(ends: Ends) -> None:
    """It deletes its jobs; the next session finds that out and takes new ones."""

    async def main() -> None:
        async with drmaa(ends) as launcher:
            nodes = await launcher.submit(shell("sleep 1000", native=HELD), 2)
            session().send_signal(signal.SIGTERM)
            told = await ends.of(nodes, timeout=40)
            assert not any(end.cancelled for end in told)
            (end,) = await ends.of(await launcher.submit(shell("exit 5"), 1))
            assert end.exit_status == 5

    run(main)


def test_closing_leaves_an_empty_queue(ends: Ends, grid: Cell) -> None:
    """When it returns the nodes are gone, not only on their way."""

    async def main() -> None:
        launcher: SessionLauncher
        async with drmaa(ends) as launcher:
            await launcher.submit(shell("sleep 1000"), 4)
            await launcher.submit(shell("sleep 1000", native=HELD), 4)
            await until(lambda: grid.qstat().count(" r ") == 4, "four running")
        assert grid.qstat() == ""
        assert len(ends.seen) == 8

    run(main)
