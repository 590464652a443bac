"""A node's life as a worker, in real nodes at a real scheduler."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import distributed
import psutil
import pytest

from dask_gridengine.bootstrap.certificates import new_security, worker_identity
from dask_gridengine.bootstrap.messages import WORKER_EXIT
from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.diagnosis import diagnose_exit_report
from tests.stage import Stage, client_of, stage
from tests.waiting import until

#: Whether Dask may lose what a worker says that cannot start; its log has it.
NANNY_FORGETS = tuple(map(int, distributed.__version__.split(".")[:2])) < (2026, 8)

HOW = [
    pytest.param({"nanny": False}, id="no nanny"),
    pytest.param({"nanny": True, "start_method": "fork"}, id="fork"),
    pytest.param({"nanny": True, "start_method": "spawn"}, id="spawn"),
]


async def looked_at(on: Stage, security: Any) -> dict[str, Any]:
    """What the worker finds itself to be."""

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
def test_a_node_becomes_the_worker_it_was_allocated(
    how: dict[str, Any], tmp_path: Path
) -> None:
    """Name, threads, memory, variables, settings, directories and options; over TLS."""
    security = new_security("dask-x")

    async def main() -> None:
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
            on.tls = worker_identity(security)
            on.connect()
            node = on.start_node()
            address = await on.worker()
            assert address.startswith("tls://")
            found = await looked_at(on, security)
            await on.scheduler.retire_workers(names=["ge-1"], close_workers=True)
            assert await node.ended() == 0
            said = await on.exit_report()
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
        # Without a Nanny the node is the worker; forked, its parent is the template.
        assert (found["pid"] == node.process.pid) is not how["nanny"]
        if how["nanny"]:
            forked = how["start_method"] == "fork"
            assert (found["parent"] != node.process.pid) is forked
        assert said.cause == "finished"
        assert said.memory_limit == 2**30

    asyncio.run(main())


def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """Its Nanny forks another, with the same name, at another address."""

    async def main() -> None:
        async with stage(tmp_path) as on:
            on.connect()
            node = on.start_node()
            first = await on.worker()
            async with client_of(on) as client:
                (pid,) = (await client.run(os.getpid)).values()
                os.kill(pid, signal.SIGKILL)
                await until(lambda: first not in on.scheduler.workers, "its loss")
                await on.worker()
                (other,) = (await client.run(os.getpid)).values()
            assert other != pid
            # The template is its parent, as it was the first one's.
            assert psutil.Process(other).ppid() != node.process.pid

    asyncio.run(main())


@pytest.mark.parametrize("how", ["SIGKILL", "exit", "memory"])
def test_a_nanny_tells_how_its_worker_process_ended(how: str, tmp_path: Path) -> None:
    """The scheduler sees only silence; what Dask's memory limit ended is told apart."""
    limit = 400_000_000

    def end(how: str) -> None:
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "exit":
            os._exit(3)
        held = b"x" * limit
        time.sleep(60)  # until it is ended for that
        del held

    async def main() -> None:
        async with stage(tmp_path, memory_limit=limit) as on:
            on.connect()
            on.start_node()
            await on.worker()
            async with client_of(on) as client:
                future = client.submit(end, how)
                told = lambda: on.scheduler.get_events(WORKER_EXIT)  # noqa: E731
                ((_, said),) = await until(told, "word of the end", 20)
                await future.cancel(force=True)
        assert (said["name"], said["memory_limit"]) == ("ge-1", limit)
        assert (said["signal"], said["exit_status"]) == {
            "SIGKILL": ("SIGKILL", None),
            "exit": (None, 3),
            "memory": ("SIGTERM", None),
        }[how]
        assert (said["too_much_memory"] > 0.9 * limit) is (how == "memory")
        assert said["peak_memory"] >= said["too_much_memory"]

    asyncio.run(main())


def test_client_restart_works(tmp_path: Path) -> None:
    """Fresh processes from the same template, and no data of the old ones."""

    async def main() -> None:
        async with stage(tmp_path) as on:
            on.connect()
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

    asyncio.run(main())


def test_the_farewell_tells_of_a_worker_that_was_killed(tmp_path: Path) -> None:
    """A worker that hangs when its node has to go: killed, and the signal reported."""

    async def main() -> None:
        async with stage(tmp_path, drain_timeout=0.5) as on:
            on.connect()
            node = on.start_node()
            await on.worker()
            async with client_of(on) as client:
                (pid,) = (await client.run(os.getpid)).values()
            os.kill(pid, signal.SIGSTOP)
            node.process.terminate()
            assert await node.ended() == 0
            said = await on.exit_report()
        assert (said.signal, said.exit_status) == ("SIGKILL", None)
        assert said.cause == "drained"
        assert said.peak_memory > 30 * 2**20

    asyncio.run(main())


def test_peak_memory_is_that_of_the_worker(tmp_path: Path) -> None:
    """What a task used for a moment counts, though it is free again at the end."""

    async def main() -> None:
        async with stage(tmp_path, memory_limit=0) as on:
            on.connect()
            node = on.start_node()
            await on.worker()
            async with client_of(on) as client:
                await client.submit(lambda: len(b"x" * 200_000_000))
            node.process.terminate()
            assert await node.ended() == 0
            said = await on.exit_report()
        assert said.peak_memory > 200_000_000
        assert (said.exit_status, said.signal) == (0, None)

    asyncio.run(main())


@pytest.mark.parametrize("nanny", [True, False])
def test_a_worker_that_cannot_start_is_a_cause_of_its_own(
    nanny: bool, tmp_path: Path
) -> None:
    """Its innermost error is what the farewell and the last line say."""

    async def main() -> None:
        async with stage(tmp_path, nanny=nanny, options={"no_such_option": 1}) as on:
            on.connect()
            node = on.start_node()
            assert await node.ended() == 71
            said = await on.exit_report()
        assert said.cause == "could not start its worker"
        if not (nanny and NANNY_FORGETS):
            assert "no_such_option" in said.detail
            assert "no_such_option" in node.last_line
        assert "Traceback" in said.stderr
        assert "no_such_option" in said.stderr

    asyncio.run(main())


def test_a_scheduler_that_is_not_there_ends_a_node_in_time(tmp_path: Path) -> None:
    """death_timeout bounds the search, and the message says that it was one."""

    async def main() -> None:
        async with stage(
            tmp_path, scheduler="tcp://127.0.0.1:9", death_timeout=1.0, nanny=False
        ) as on:
            on.connect()
            node = on.start_node()
            assert await node.ended() == 77
            said = await on.exit_report()
        assert said.cause == "reached the bootstrap port, but not the scheduler"
        assert "127.0.0.1:9: connection refused" in said.detail

    asyncio.run(main())


def test_a_class_of_the_users_may_be_the_worker(tmp_path: Path) -> None:
    """By its full name, found in the working directory of the user's Python."""
    (tmp_path / "ours.py").write_text(
        "from distributed import Worker\n\n\nclass Special(Worker):\n    special = 7\n"
    )

    async def main() -> None:
        async with stage(tmp_path, options={"worker_class": "ours.Special"}) as on:
            on.connect()
            on.start_node()
            await on.worker()
            async with client_of(on) as client:
                seen = await client.run(lambda dask_worker: dask_worker.special)
        assert list(seen.values()) == [7]

    asyncio.run(main())


def test_the_scheduler_going_ends_the_node(tmp_path: Path) -> None:
    """A cluster that closes takes its nodes with it, without a signal."""

    async def main() -> None:
        async with stage(tmp_path) as on:
            on.connect()
            node = on.start_node()
            await on.worker()
            await on.scheduler.close()
            assert await node.ended() == 0
            said = await on.exit_report()
        assert said.cause == "finished"
        assert said.stderr, "also a good end may have something to explain"

    asyncio.run(main())


def test_a_worker_whose_scheduler_vanished_has_lost_contact(tmp_path: Path) -> None:
    """Nobody told it to go: the farewell's detail says so, in Dask's word for it."""

    async def main() -> None:
        async with stage(tmp_path) as on:
            on.connect()
            node = on.start_node()
            address = await on.worker()
            on.scheduler.stream_comms[address].abort()
            assert await node.ended() == 0
            said = await on.exit_report()
        assert said.detail.startswith("worker-")
        assert diagnose_exit_report(said).cause is Cause.LOST_CONTACT

    asyncio.run(main())
