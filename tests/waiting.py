"""Waiting for a state; a wait that fails says what the state was."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def asked_in_another_thread(*grid_info: Callable[[], Any]) -> Iterator[None]:
    """Ask all of these again and again meanwhile; raise the first error there was.

    Python changes threads as often as it can, so what is not safe is seen to fail.
    """
    stop, errors, rounds = threading.Event(), list[BaseException](), [0]

    def ask() -> None:
        try:
            while not stop.is_set():
                for question in grid_info:
                    question()
                rounds[0] += 1
        except BaseException as exc:  # noqa: BLE001 - raised in the test's thread
            errors.append(exc)

    thread = threading.Thread(target=ask, name="asks meanwhile")
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        yield
        wait_until(lambda: rounds[0] or errors, "asked once", 30)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(usual)
    if errors:
        raise errors[0]
