"""The end of a cluster, whatever is under way then, on local processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.core import Status

from dask_gridengine import GridEngineCluster
from tests.waiting import until

ENDS_WITHIN = 60.0  # seconds; a launcher that never answers is waited for, for a third
ADAPT = {"minimum": 1, "maximum": 2, "interval": "10 ms"}


@contextlib.contextmanager
def no_answer() -> Iterator[None]:
    """The launchers' processes are stopped: they take requests, and answer none."""
    with stopped(psutil.Process().children()):
        yield


@contextlib.contextmanager
def stopped(children: list[psutil.Process]) -> Iterator[None]:
    """These processes do not run meanwhile."""
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()


def is_over(cluster: GridEngineCluster) -> None:
    """It is closed, and so is its scheduler, whose port is free."""
    assert cluster.status is Status.closed
    assert cluster.scheduler.status is Status.closed
    host, _, port = cluster.scheduler.address.rpartition("/")[2].rpartition(":")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((host, int(port)))


async def closed(cluster: GridEngineCluster) -> None:
    await asyncio.wait_for(cluster.close(), ENDS_WITHIN)
    is_over(cluster)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged with a traceback, or as an error."""
    wrong = [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]
    return [record.getMessage() for record in wrong]


@pytest.mark.parametrize("pools", [{}, {"pools": {"a": {}, "b": {}}}])
def test_close_amid_adaptive_scaling(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture, pools: dict[str, Any]
) -> None:
    """Adaptive scaling that decides a hundred times a second disturbs no close."""

    async def main() -> None:
        for _ in range(4):
            cluster = await GridEngineCluster(asynchronous=True, **options, **pools)
            cluster.adapt(**ADAPT)
            await cluster.wait_for_workers(1, timeout=60)
            await closed(cluster)

    asyncio.run(main())
    assert errors(caplog) == []


@pytest.mark.parametrize("pools", [{}, {"pools": {"a": {}, "b": {}}}])
def test_close_while_submissions_get_no_answer(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture, pools: dict[str, Any]
) -> None:
    """The cluster closes in bounded time; calls of scale() that wait raise an error."""
    pool = {"pool": "a"} if pools else {}

    async def main() -> None:
        cluster = await GridEngineCluster(asynchronous=True, **options, **pools)
        with no_answer():
            first = cluster.scale(1, **pool)
            await asyncio.sleep(0)
            second = cluster.scale(2, **pool)
            await asyncio.sleep(0)
            await asyncio.gather(closed(cluster), closed(cluster))
        for waiting in (first, second):
            with pytest.raises(RuntimeError, match="closed"):
                await waiting

    asyncio.run(main())
    assert errors(caplog) == []


def test_close_by_two_threads_while_a_third_scales(options: dict[str, Any]) -> None:
    """Each close() returns when the cluster is closed; scale() says that it is."""
    cluster = GridEngineCluster(**options)
    raised: list[str] = []

    def do(what: Any, *args: Any) -> None:
        try:
            what(*args)
            raised.append("")
        except RuntimeError as exc:
            raised.append(type(exc).__name__)

    with no_answer():
        scaling = threading.Thread(target=do, args=(cluster.scale, 1))
        scaling.start()
        while not cluster.worker_spec:
            scaling.join(0.01)
        closing = [threading.Thread(target=do, args=(cluster.close,)) for _ in "12"]
        for thread in closing:
            thread.start()
        for thread in (scaling, *closing):
            thread.join(ENDS_WITHIN)
    is_over(cluster)
    assert sorted(raised) == ["", "", "ClusterNotRunning"]


@pytest.mark.parametrize("answers", [True, False])
async def test_close_while_it_starts(options: dict[str, Any], answers: bool) -> None:
    """The start ends in bounded time, too, and neither leaves anything behind."""
    cluster = GridEngineCluster(jobs=1, asynchronous=True, **options)
    before = len(psutil.Process().children())
    starting = asyncio.ensure_future(_started(cluster))
    await until(lambda: len(psutil.Process().children()) > before, "a launcher")
    with contextlib.nullcontext() if answers else no_answer():
        await asyncio.wait_for(cluster.close(), ENDS_WITHIN)
        await asyncio.wait({starting}, timeout=ENDS_WITHIN)
    assert starting.done()
    assert cluster.status is Status.closed
    if error := starting.exception():
        assert "closed" in str(error)


async def _started(cluster: GridEngineCluster) -> None:
    await cluster


async def test_who_gives_up_waiting_takes_nothing_from_others(
    options: dict[str, Any],
) -> None:
    """A call of scale() that is cancelled cancels no other call, nor a later one."""
    async with GridEngineCluster(asynchronous=True, **options) as cluster:
        with no_answer():
            under_way = cluster.scale(1)
            await asyncio.sleep(0)
            given_up, other = cluster.scale(2), cluster.scale(2)
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait({given_up})
        assert given_up.cancelled()
        await asyncio.gather(under_way, other)
        await cluster.scale(2)
        await cluster.wait_for_workers(2, timeout=60)


def test_a_close_hides_no_warning_of_another_cluster(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Only what the closing cluster's own workers lose is kept back."""

    async def main() -> None:
        before = set(psutil.Process().children())
        async with (
            GridEngineCluster(jobs=1, asynchronous=True, **options) as closing,
            Client(closing, asynchronous=True) as its_client,
        ):
            children = set(psutil.Process().children()) - before
            async with (
                GridEngineCluster(jobs=1, asynchronous=True, **options) as other,
                Client(other, asynchronous=True) as client,
            ):
                mine = await its_client.submit(abs, -1, key="mine")
                held = client.submit(abs, -2, key="others")
                await held
                pid = await client.submit(os.getpid)
                with stopped(list(children)):
                    ending = asyncio.ensure_future(closing.close())
                    await asyncio.sleep(0)
                    os.kill(pid, signal.SIGKILL)
                    await until(
                        lambda: "already computed" in caplog.text,
                        "the warning",
                        30,
                        lambda: caplog.text,
                    )
                    assert not ending.done()
                await ending
                del held, mine

    with caplog.at_level(logging.WARNING, logger="distributed"):
        asyncio.run(main())
    lost = [r.getMessage() for r in caplog.records if "already comp" in r.getMessage()]
    assert all("others" in text for text in lost)
