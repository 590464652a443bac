"""Calls that block: awaited, and given up without being waited for."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from dask_gridengine.doctor.patience import in_thread
from tests.doctor.conftest import run


def test_what_it_returns_and_raises() -> None:
    """As if it had been called here."""
    assert run(in_thread(int, "7")) == 7
    with pytest.raises(ValueError, match="seven"):
        run(in_thread(int, "seven"))


def test_one_that_never_returns_keeps_nobody(tmp_path: Path) -> None:
    """`asyncio.run` ends though its thread still waits for a file."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def give_up() -> None:
        await asyncio.wait_for(in_thread(fifo.read_text), 0.1)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())
    fifo.write_text("now")  # so that no thread is left behind
    named = [t for t in threading.enumerate() if t.name == "Dask-doctor"]
    assert all(thread.daemon for thread in named)
