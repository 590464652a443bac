"""Calls that block, with a timeout."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from dask_gridengine.daemon_threads import Threads, in_thread


def test_the_result_or_the_exception_of_the_function() -> None:
    """Both reach the caller, as if the function had been called directly."""
    assert asyncio.run(in_thread(int, "7")) == 7
    with pytest.raises(ValueError, match="seven"):
        asyncio.run(in_thread(int, "seven"))


def test_a_call_that_never_returns_does_not_keep_the_process(tmp_path: Path) -> None:
    """It ends with a timeout, and `asyncio.run` does not wait for its thread."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(in_thread(fifo.read_text, timeout=0.1))
    fifo.write_text("now")  # so that no thread is left behind
    named = [t for t in threading.enumerate() if t.name == "Dask-blocking"]
    assert all(thread.daemon for thread in named)


async def test_no_more_threads_than_are_allowed(tmp_path: Path) -> None:
    """Further calls wait for a thread, and time out while there is none."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threads = Threads(2)
    hung = [threads.call(fifo.read_text, timeout=0.2) for _ in range(2)]
    late = threads.call(int, "7", timeout=0.1)
    ended = await asyncio.gather(*hung, late, return_exceptions=True)
    assert [type(exc) for exc in ended] == [asyncio.TimeoutError] * 3
    waiting = asyncio.ensure_future(threads.call(int, "8", timeout=10))
    await in_thread(fifo.write_text, "now")
    assert await waiting == 8
    assert await threads.call(int, "9", timeout=10) == 9


async def test_calls_fail_when_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands may wait then; all of them fail, and later calls work."""
    threads, allowed = Threads(1), threading.Event()
    first = asyncio.ensure_future(threads.call(allowed.wait, 20))
    others = [asyncio.ensure_future(threads.call(int, "7")) for _ in range(2000)]
    await asyncio.sleep(0)  # the first has its thread
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        allowed.set()
        assert await first
        ended = await asyncio.gather(*others, return_exceptions=True)
    assert {type(exc) for exc in ended} == {RuntimeError}
    assert await threads.call(int, "8", timeout=10) == 8


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
