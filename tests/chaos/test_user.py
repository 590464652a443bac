"""A user's process that is suspended, interrupted or forked, and many requests."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster, NodesFailed
from tests.chaos.conftest import healed, none_in_vain, states
from tests.chaos.tasks import counted, slow_identity
from tests.waiting import until, wait_until

on_processes = pytest.mark.parametrize("launcher", ["process"], indirect=True)
on_the_cell = pytest.mark.parametrize(
    "launcher", [pytest.param("drmaa", marks=pytest.mark.grid)], indirect=True
)

SECONDS = 15.0  # within which whatever is given up has ended


# What the user runs: ``python -m tests.chaos.test_user DEED OPTIONS``


def compute(options: dict[str, Any], book: str, ttl: str | None) -> None:
    """A computation of some 5 s on three nodes."""
    settings = {"distributed.scheduler.worker-ttl": ttl} if ttl else {}
    with (
        dask.config.set(settings),
        GridEngineCluster(jobs=3, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(3, timeout=60)
        numbers = client.map(counted, range(150), path=book, seconds=0.1)
        tell("computes")
        right = client.gather(numbers) == list(range(150))
        healed(cluster, 3)
        tell(json.dumps({"right": right, "states": states(cluster)}))


def start(options: dict[str, Any]) -> None:
    """Request more nodes than there are slots."""
    tell("starts")
    with GridEngineCluster(jobs=20, **options) as cluster:
        with contextlib.suppress(NodesFailed):  # local slots are too few, at once
            cluster.wait_for_workers(20)
        threading.Event().wait()


def shrink(options: dict[str, Any]) -> None:
    """Scale to 0 while each worker runs a long task."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        long = client.map(slow_identity, range(4), seconds=600)
        wait_until(lambda: len(client.processing()) == 2, "it computes", 20)
        cluster.scale(0)
        tell("shrinks")
        client.gather(long)


def fork(options: dict[str, Any]) -> None:
    """Fork a child that closes the cluster, and ends as Python does."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        if (child := os.fork()) == 0:
            cluster.close()
            atexit._run_exitfuncs()
            os._exit(0)
        os.waitpid(child, 0)
        tell("forked")
        right = client.gather(client.map(slow_identity, range(50))) == list(range(50))
        tell(json.dumps({"right": right, "states": states(cluster)}))


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


DEEDS: dict[str, Callable[..., None]] = {
    deed.__name__: deed for deed in (compute, start, shrink, fork)
}


class User:
    """The process of a user, in its own session as on a terminal."""

    def __init__(self, deed: str, options: dict[str, Any], *arguments: Any) -> None:
        message = json.dumps([{**options, "shared_directory": None}, *arguments])
        shared = str(options["shared_directory"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, deed, shared, message],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._shared = shared

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def interrupt(self) -> None:
        """Send Ctrl-C, which all processes of the terminal receive."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, timeout: float = SECONDS) -> int:
        """Return its exit status; nothing of it may be left on any host."""
        try:
            self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over in {timeout} s") from None
        wait_until(lambda: not self.left(), "nothing left", SECONDS, self.left)
        return self.process.returncode

    def left(self) -> list[str]:
        lines = (p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"]))
        return [line for line in map(" ".join, lines) if self._shared in line]


@pytest.fixture
def users(options: dict[str, Any]) -> Iterator[Callable[..., User]]:
    """Return a function that starts users; all of them have ended afterwards."""
    with contextlib.ExitStack() as stack:

        def begin(deed: str, *arguments: Any) -> User:
            user = User(deed, options, *arguments)
            stack.enter_context(user.process)
            stack.callback(user.process.kill)
            return user

        yield begin


@pytest.mark.parametrize(
    ("launcher", "seconds", "ttl"),
    [
        ("process", 15, "10s"),
        pytest.param("drmaa", 60, None, marks=pytest.mark.grid),
    ],
    indirect=["launcher"],
)
def test_a_suspended_process_loses_no_worker(
    users: Callable[..., User], book: Path, seconds: float, ttl: str | None
) -> None:
    """It is stopped in a computation for longer than the timeout of silent workers. It
    continues, and no task runs again."""
    user = users("compute", str(book), ttl)
    assert user.read() == "computes"
    wait_until(book.exists, "it computes")
    time.sleep(1)
    user.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    user.process.send_signal(signal.SIGCONT)
    message = json.loads(user.read())
    assert message["right"]
    assert [line.split()[1:] for line in message["states"]] == [["working"]] * 3
    assert user.ended() == 0
    none_in_vain(book, 150, victims=())


@pytest.mark.parametrize("after", [0.0, 0.3, 1.0, 2.0])
@on_processes
def test_ctrl_c_while_it_starts(users: Callable[..., User], after: float) -> None:
    """At each moment, from before the submission until workers are registered, the
    process ends in seconds and leaves nothing."""
    user = users("start")
    assert user.read() == "starts"
    time.sleep(after)
    user.interrupt()
    assert user.ended() != 0


@on_processes
def test_ctrl_c_while_it_shrinks(users: Callable[..., User]) -> None:
    """It does not wait for the tasks of draining workers."""
    user = users("shrink")
    assert user.read() == "shrinks"
    user.interrupt()
    assert user.ended() != 0


@on_the_cell
def test_ctrl_c_on_the_grid(users: Callable[..., User]) -> None:
    """During the start, with nodes running and queued."""
    user = users("start")
    assert user.read() == "starts"
    time.sleep(1.5)
    user.interrupt()
    assert user.ended(30) != 0


@pytest.mark.parametrize("moment", ["submission", "start", "scale-down"])
def test_close_at_any_moment(options: dict[str, Any], moment: str) -> None:
    """close() takes seconds during each operation, and leaves nothing."""

    async def main() -> None:
        cluster = GridEngineCluster(jobs=0, asynchronous=True, **options)
        async with cluster, Client(cluster, asynchronous=True) as client:
            asking = cluster.scale(8 if moment == "submission" else 3)
            if moment == "start":
                await asking
            elif moment == "scale-down":
                await client.wait_for_workers(3, timeout=60)
                long = client.map(slow_identity, range(9), seconds=600)
                busy = cluster.scheduler.workers.values
                await until(lambda: all(w.processing for w in busy()), "all busy")
                assert not any(future.done() for future in long)
                asking = cluster.scale(0)
            began = time.monotonic()
            await cluster.close()
            assert time.monotonic() - began < SECONDS
            await asyncio.wait([asking], timeout=1)
            assert asking.done()
        assert set(cluster.jobs().counts()) <= {"gone"}

    asyncio.run(main())


def test_fifty_calls_of_scale_in_a_second(options: dict[str, Any]) -> None:
    """The last number counts; there are never more nodes than the largest number, and
    far fewer arrays than calls."""
    rng = random.Random(11)
    wishes = [*(rng.randrange(8) for _ in range(49)), 3]

    async def main() -> None:
        async with GridEngineCluster(jobs=0, asynchronous=True, **options) as cluster:
            asking, most = [], 0

            def there() -> int:
                registry = cluster.pool().registry
                return sum(not (r.ending or r.cancelled) for r in registry)

            for resource_request in wishes:
                asking.append(cluster.scale(resource_request))
                await asyncio.sleep(0.02)
                most = max(most, there())
            await asyncio.gather(*asking)
            await until(
                lambda: cluster.jobs().counts().get("working") == there() == 3,
                "three workers",
                30,
                lambda: states(cluster),
            )
            assert most <= max(wishes)
            assert len({row.id.job for row in cluster.jobs()}) <= 25

    asyncio.run(main())


@on_processes
def test_two_clusters_in_one_process(options: dict[str, Any]) -> None:
    """Each has its own workers; when one closes the other continues."""
    options["scheduler_options"]["dashboard_address"] = ":0"
    with (
        GridEngineCluster(jobs=2, **options) as stays,
        Client(stays) as client,
    ):
        with GridEngineCluster(jobs=2, **options) as other, Client(other) as second:
            healed(stays, 2)
            healed(other, 2)
            ours = client.map(slow_identity, range(30))
            theirs = second.map(slow_identity, range(30, 60))
            assert second.gather(theirs) == list(range(30, 60))
            assert {*stays.scheduler.workers}.isdisjoint(other.scheduler.workers)
        assert client.gather(ours) == list(range(30))
        assert stays.jobs().counts() == {"working": 2}
        assert client.gather(client.map(abs, range(9))) == list(range(9))


@on_processes
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_pool_disturbs_nothing(options: dict[str, Any]) -> None:
    """A multiprocessing Pool works before, during and after computations."""
    with GridEngineCluster(jobs=2, **options) as cluster, Client(cluster) as client:
        healed(cluster, 2)
        numbers = client.map(slow_identity, range(40))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(slow_identity, range(10)) == list(range(10))
            pool.close()
            pool.join()
        assert client.gather(numbers) == list(range(40))
        assert cluster.jobs().counts() == {"working": 2}


@on_processes
def test_a_fork_that_exits_closes_nothing(users: Callable[..., User]) -> None:
    """Neither explicitly nor by the exit handlers of Python; and it does not hang."""
    began = time.monotonic()
    user = users("fork")
    assert user.read() == "forked"
    assert time.monotonic() - began < SECONDS
    message = json.loads(user.read())
    assert message["right"]
    assert [line.split()[1:] for line in message["states"]] == [["working"]] * 2
    assert user.ended() == 0


if __name__ == "__main__":
    given, *more = json.loads(sys.argv[3])
    DEEDS[sys.argv[1]]({**given, "shared_directory": Path(sys.argv[2])}, *more)
