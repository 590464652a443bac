"""Run calls that may block for ever, such as reading from a dead file server.

They run in daemon threads, not in those of `asyncio.to_thread`: its pool is small, so a
few blocked calls stop all later ones, and Python's exit waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(
    function: Callable[..., T], *arguments: Any, timeout: float | None = None
) -> T:
    """Call a function in a new thread.

    Raises asyncio.TimeoutError if it does not return within `timeout` seconds; then its
    thread stays, but nothing waits for it.
    """
    return await Threads(1).call(function, *arguments, timeout=timeout)


class Threads:
    """At most `limit` daemon threads, including those whose call has timed out.

    Further calls wait until a thread ends.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    async def call(
        self,
        function: Callable[..., T],
        *arguments: Any,
        timeout: float | None = None,
    ) -> T:
        """Call a function in one of these threads, see `in_thread`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, lambda: function(*arguments)))
        self._start_next()
        try:
            # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
            await asyncio.wait([future], timeout=timeout)
            if not future.done():
                raise asyncio.TimeoutError
            return future.result()
        finally:
            future.cancel()

    def _start_next(self) -> None:
        while self._waiting and self._free:
            future, call = self._waiting.popleft()
            if future.done():
                continue  # it has timed out, or its caller was cancelled
            self._free -= 1
            thread = threading.Thread(
                target=self._run, args=(future, call), name="Dask-blocking", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as exc:  # no more threads are possible
                # Not `_settle`: it would start the next one, once for each that waits.
                self._free += 1
                future.set_exception(exc)

    def _run(self, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as exc:  # noqa: BLE001 - raised by `call`
            error = exc
        try:
            future.get_loop().call_soon_threadsafe(self._settle, future, result, error)
        except RuntimeError:
            return  # the loop is closed

    def _settle(
        self, future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        self._free += 1
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._start_next()
