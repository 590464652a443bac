"""Notes on exceptions: who gets them, and what they say."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, Scheduler
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from dask_gridengine import GridEngineCluster
from dask_gridengine.scheduler.notes import PREFIX, _Noting, annotate
from tests.waiting import until, wait_until


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    return {
        "launcher": "process",
        "slots": 2,
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "security": False,
        "quiet": True,
    }


@contextmanager
def no_second_chance() -> Iterator[None]:
    """A task that has killed one worker is given up."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        yield


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def notes(exception: BaseException) -> list[str]:
    return list(getattr(exception, "__notes__", []))


def noted(client: Client) -> bool:
    """Whether the cluster has got hold of a client; it takes some milliseconds."""
    return isinstance(client.sync, _Noting)


def test_a_note_takes_the_place_of_ours_and_of_no_other() -> None:
    """What is learnt later replaces what was said first."""
    error = ValueError("x")
    error.__notes__ = ["the user's own"]  # type: ignore[attr-defined]
    annotate(error, "first")
    annotate(error, "second")
    assert notes(error) == ["the user's own", f"{PREFIX}second"]


def test_nothing_to_say_is_no_note() -> None:
    """And it does not take away what was said."""
    error = ValueError("x")
    annotate(error, "")
    assert notes(error) == []
    annotate(error, "first")
    annotate(error, "")
    assert notes(error) == [f"{PREFIX}first"]


def test_notes_survive_pickling() -> None:
    """They cross processes with their exception."""
    error = KilledWorker("key", None, 3)  # type: ignore[arg-type]
    annotate(error, "because")
    assert notes(pickle.loads(pickle.dumps(error))) == [f"{PREFIX}because"]


ELSEWHERE = """
import os, sys
from distributed import Client
from distributed.scheduler import KilledWorker

def die():
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        try:
            client.submit(die).result(timeout=60)
        except KilledWorker as exc:
            print(*exc.__notes__)
"""


def test_a_killed_worker_is_explained_to_clients_in_any_process(
    options: dict[str, Any],
) -> None:
    """Here with the cause of the death; elsewhere with who it was, at least."""
    with (
        no_second_chance(),
        GridEngineCluster(jobs=1, **options) as cluster,
        Client(cluster) as client,
    ):
        wait_until(lambda: noted(client), "the cluster knows the client")
        with pytest.raises(KilledWorker) as caught:
            client.submit(die).result(timeout=60)
        (note,) = notes(caught.value)
        assert note.startswith(PREFIX)
        assert "ge-0 (node 1.1 on " in note
        assert "SIGKILL" in note
        said = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, cluster.scheduler_address],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert said.stdout.startswith(f"{PREFIX}the workers that ran it:"), said
        assert "ge-0 (node 1.1 on " in said.stdout


def test_a_timeout_says_what_the_nodes_are_at(options: dict[str, Any]) -> None:
    """With a synchronous client; the exception itself stays what Dask's is."""
    with GridEngineCluster(**options) as cluster, Client(cluster) as client:
        wait_until(lambda: noted(client), "the cluster knows the client")
        future = client.submit(os.getpid)
        with pytest.raises(asyncio.TimeoutError) as caught:
            future.result(timeout=0.1)
        (note,) = notes(caught.value)
        assert note.startswith(f"{PREFIX}no nodes requested")
        future.cancel()
        with pytest.raises(FutureCancelledError) as cancelled:
            future.result(timeout=10)
        assert f"{PREFIX}no nodes requested" in notes(cancelled.value)[-1]


def test_an_asynchronous_client_is_told_the_same(options: dict[str, Any]) -> None:
    """Its coroutines raise with the note on."""

    async def main() -> None:
        async with (
            GridEngineCluster(asynchronous=True, **options) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await until(lambda: noted(client), "the cluster knows the client")
            future = client.submit(os.getpid)
            with pytest.raises(asyncio.TimeoutError) as caught:
                await future.result(timeout=0.1)
            assert notes(caught.value)[0].startswith(f"{PREFIX}no nodes requested")
            await future.cancel()
            with pytest.raises(FutureCancelledError) as cancelled:
                await future
            assert notes(cancelled.value)[0].startswith(PREFIX)
            with pytest.raises(FutureCancelledError) as gathered:
                await client.gather([future])
            assert notes(gathered.value)[0].startswith(PREFIX)

    asyncio.run(main())


def test_clients_of_other_clusters_are_left_alone(options: dict[str, Any]) -> None:
    """Whatever else this process is connected to has nothing to do with our nodes."""

    async def main() -> None:
        async with (
            GridEngineCluster(asynchronous=True, **options),
            Scheduler(
                host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0"
            ) as other,
            Client(other.address, asynchronous=True) as client,
        ):
            future = client.submit(os.getpid)
            with pytest.raises(asyncio.TimeoutError) as caught:
                await future.result(timeout=0.1)
            assert notes(caught.value) == []
            await future.cancel()

    asyncio.run(main())


def test_other_errors_and_results_pass_untouched(options: dict[str, Any]) -> None:
    """A task's own error is the user's business."""

    async def main() -> None:
        async with (
            GridEngineCluster(jobs=1, asynchronous=True, **options) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            assert await client.submit(abs, -1) == 1
            with pytest.raises(ZeroDivisionError) as caught:
                await client.submit(divmod, 1, 0)
            assert notes(caught.value) == []

    asyncio.run(main())
