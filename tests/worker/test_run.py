"""A node's workers, in real nodes at a real scheduler."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.bootstrap.certificates import new_security
from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.diagnosis import diagnose_exit_report
from tests.dask_versions import NANNY_LOSES_ERRORS
from tests.stage import Stage, client_of, stage
from tests.waiting import until

HOW = [
    pytest.param({"nanny": False}, id="no nanny"),
    pytest.param({"nanny": True, "start_method": "fork"}, id="fork"),
    pytest.param({"nanny": True, "start_method": "spawn"}, id="spawn"),
]


async def examine(on: Stage, security: Any) -> dict[str, Any]:
    """What the worker has become."""

    def look(dask_worker: Any) -> dict[str, Any]:
        import dask

        return {
            "name": dask_worker.name,
            "nthreads": dask_worker.state.nthreads,
            "memory_limit": dask_worker.memory_manager.memory_limit,
            "resources": dask_worker.state.total_resources,
            "scratch": dask_worker.local_directory,
            "variable": os.environ.get("OF_THE_USER"),
            "setting": dask.config.get("distributed.worker.memory.target"),
            "cwd": os.getcwd(),
            "path": sys.path,
            "pid": os.getpid(),
            "parent": os.getppid(),
        }

    async with client_of(on, security) as client:
        (found,) = (await client.run(look)).values()
    return dict(found)


@pytest.mark.parametrize("how", HOW)
async def test_a_node_becomes_the_worker_it_was_allocated(
    how: dict[str, Any], tmp_path: Path
) -> None:
    """Name, threads, memory, variables, settings, directories and options; over TLS."""
    security = new_security("dask-x")

    async with stage(
        tmp_path,
        security=security,
        nthreads=3,
        memory_limit=2**30,
        environment={"OF_THE_USER": "a b", "OMP_NUM_THREADS": "1"},
        config={"distributed": {"worker": {"memory": {"target": 0.123}}}},
        options={"resources": {"GPU": 2}},
        local_directory="$TMPDIR/scratch",
        **how,
    ) as on:
        node = on.start_node()
        address = await on.worker()
        assert address.startswith("tls://")
        found = await examine(on, security)
        await on.scheduler.retire_workers(names=["ge-1"], close_workers=True)
        assert await node.ended() == 0
        report = await on.exit_report()
    allocated = {
        "name": "ge-1",
        "nthreads": 3,
        "memory_limit": 2**30,
        "resources": {"GPU": 2.0},
        "variable": "a b",
        "setting": 0.123,
        "cwd": str(tmp_path),
    }
    assert {key: found[key] for key in allocated} == allocated
    assert str(tmp_path) in found["path"]
    assert Path(found["scratch"]).is_relative_to(on.tmp / "scratch")
    # Without a Nanny the node is the worker; forked, its parent is the fork server.
    assert (found["pid"] == node.process.pid) is not how["nanny"]
    if how["nanny"]:
        forked = how["start_method"] == "fork"
        assert (found["parent"] != node.process.pid) is forked
    assert report.cause == "finished"
    assert report.memory_limit == 2**30


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """Its Nanny forks another, with the same name, at another address."""
    async with stage(tmp_path) as on:
        node = on.start_node()
        first = await on.worker()
        async with client_of(on) as client:
            (pid,) = (await client.run(os.getpid)).values()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: first not in on.scheduler.workers, "its loss")
            await on.worker()
            (other,) = (await client.run(os.getpid)).values()
        assert other != pid
        # The fork server is its parent, as it was the first one's.
        assert psutil.Process(other).ppid() != node.process.pid


@pytest.mark.parametrize("how", ["SIGKILL", "exit", "memory"])
async def test_a_nanny_reports_how_its_worker_process_ended(
    how: str, tmp_path: Path
) -> None:
    """Also whether it was ended for its memory: the scheduler sees only silence."""
    limit = 400_000_000

    def end(how: str) -> None:
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "exit":
            os._exit(3)
        held = b"x" * limit
        time.sleep(60)  # until it is ended for that
        del held

    async with stage(tmp_path, memory_limit=limit) as on:
        on.start_node()
        await on.worker()
        async with client_of(on) as client:
            future = client.submit(end, how)
            events = lambda: on.scheduler.get_events(WORKER_EXIT)  # noqa: E731
            ((_, event),) = await until(events, "the report", 20)
            await future.cancel(force=True)
    assert (event["name"], event["memory_limit"]) == ("ge-1", limit)
    assert (event["signal"], event["exit_status"]) == {
        "SIGKILL": ("SIGKILL", None),
        "exit": (None, 3),
        "memory": ("SIGKILL", None),
    }[how]
    assert (event["too_much_memory"] > 0.9 * limit) is (how == "memory")
    assert event["peak_memory"] >= event["too_much_memory"]


async def test_client_restart_works(tmp_path: Path) -> None:
    """New processes of the same fork server, and no data of the old ones."""
    async with stage(tmp_path) as on:
        on.start_node()
        await on.worker()
        async with client_of(on) as client:
            pids = set()
            for _ in range(3):
                held = await client.scatter(1)
                pids |= set((await client.run(os.getpid)).values())
                await client.restart(timeout=20)
                assert held.status == "cancelled"
            assert len(pids) == 3
            assert await client.submit(sum, [1, 2]) == 3


async def test_a_worker_that_was_killed_is_reported(tmp_path: Path) -> None:
    """A worker that hangs when its node is drained: killed, and the signal reported."""
    async with stage(tmp_path, drain_timeout=0.5) as on:
        node = on.start_node()
        await on.worker()
        async with client_of(on) as client:
            (pid,) = (await client.run(os.getpid)).values()
        os.kill(pid, signal.SIGSTOP)
        node.process.terminate()
        assert await node.ended() == 0
        report = await on.exit_report()
    assert (report.signal, report.exit_status) == ("SIGKILL", None)
    assert report.cause == "drained"
    assert report.peak_memory > 30 * 2**20


async def test_peak_memory_is_that_of_the_worker(tmp_path: Path) -> None:
    """Also of a moment in the middle of a task."""
    async with stage(tmp_path, memory_limit=0) as on:
        node = on.start_node()
        await on.worker()
        async with client_of(on) as client:
            await client.submit(lambda: len(b"x" * 200_000_000))
        node.process.terminate()
        assert await node.ended() == 0
        report = await on.exit_report()
    assert report.peak_memory > 200_000_000
    assert (report.exit_status, report.signal) == (0, None)


@pytest.mark.parametrize("nanny", [True, False])
async def test_a_worker_that_cannot_start_is_a_cause_of_its_own(
    nanny: bool, tmp_path: Path
) -> None:
    """Its innermost error is in the exit report and in the log's last line."""
    async with stage(tmp_path, nanny=nanny, options={"no_such_option": 1}) as on:
        node = on.start_node()
        assert await node.ended() == 71
        report = await on.exit_report()
    assert report.cause == "could not start its worker"
    if not (nanny and NANNY_LOSES_ERRORS):
        assert "no_such_option" in report.detail
        assert "no_such_option" in node.last_line
    assert "Traceback" in report.stderr
    assert "no_such_option" in report.stderr


async def test_the_worker_may_be_of_the_users_class(tmp_path: Path) -> None:
    """By its full name, found in the working directory of the user's Python."""
    (tmp_path / "ours.py").write_text(
        "from distributed import Worker\n\n\nclass Special(Worker):\n    special = 7\n"
    )

    async with stage(tmp_path, options={"worker_class": "ours.Special"}) as on:
        on.start_node()
        await on.worker()
        async with client_of(on) as client:
            seen = await client.run(lambda dask_worker: dask_worker.special)
    assert list(seen.values()) == [7]


async def test_closing_the_scheduler_ends_the_node(tmp_path: Path) -> None:
    """Without a signal."""
    async with stage(tmp_path) as on:
        node = on.start_node()
        await on.worker()
        await on.scheduler.close()
        assert await node.ended() == 0
        report = await on.exit_report()
    assert report.cause == "finished"
    assert report.stderr, "a good end may have something to explain, too"


async def test_a_worker_whose_scheduler_vanished_has_lost_contact(
    tmp_path: Path,
) -> None:
    """Its report has Dask's reason for that."""
    async with stage(tmp_path) as on:
        node = on.start_node()
        address = await on.worker()
        on.scheduler.stream_comms[address].abort()
        assert await node.ended() == 0
        report = await on.exit_report()
    assert report.detail.startswith("worker-")
    assert diagnose_exit_report(report).cause is Cause.LOST_CONTACT
