"""Blocking calls that may never return, without waiting for them for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a thread of its own, which nobody waits for at the end.

    `asyncio.to_thread` would: `asyncio.run` joins its threads, and one that asks a dead
    file server would keep the doctor from ending after it has said so.

    Parameters
    ----------
    function, arguments
        What to call.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return  # given up meanwhile
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def call() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except Exception as exc:  # noqa: BLE001 - it is raised where it is awaited
            error = exc
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody is there to be told

    threading.Thread(target=call, name="Dask-doctor", daemon=True).start()
    return await future
