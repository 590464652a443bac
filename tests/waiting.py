"""Waiting for a state; a wait that fails says what the state was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


def wait_until(
    reached: Callable[[], Any],
    what: str,
    timeout: float = 10,
    last_seen: Callable[[], object] | None = None,
) -> Any:
    """Ask until the answer is true, and return it; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if answer := reached():
            return answer
        if time.monotonic() > deadline:
            seen = last_seen() if last_seen else answer
            raise AssertionError(f"not in {timeout} s: {what}; last seen: {seen!r}")
        time.sleep(0.02)


async def until(
    reached: Callable[[], Any],
    what: str,
    timeout: float = 10,
    last_seen: Callable[[], object] | None = None,
) -> Any:
    """`wait_until` for coroutines: the event loop goes on meanwhile."""
    deadline = time.monotonic() + timeout
    while not (answer := reached()):
        if time.monotonic() > deadline:
            seen = last_seen() if last_seen else answer
            raise AssertionError(f"not in {timeout} s: {what}; last seen: {seen!r}")
        await asyncio.sleep(0.02)
    return answer
