"""Notes on exceptions: what users see says what became of the nodes.

The scheduler can put a note on what it raises itself. A timeout, however, is raised in
the client, and a worker's death is often explained a moment after it: so clients in the
cluster's own process are given the note in the moment the exception reaches the user.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from distributed import Client, Scheduler
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import KilledWorker

PREFIX = "dask-gridengine: "
#: What is worth a note.
NOTED = (
    KilledWorker,
    FutureCancelledError,
    FuturesCancelledError,
    asyncio.TimeoutError,
    TimeoutError,
)
#: Seconds to wait for the first word on why a worker died; the node is still ending. Of
#: one that it has killed for its memory, Grid Engine tells 1.2 s later (measured).
PATIENCE = 3.0
LOOK_AGAIN = 0.05
#: Seconds after it has connected; one that is not there by then was slow indeed.
LOOK_FOR_CLIENT = (0.0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0)


def annotate(exception: BaseException, text: str) -> None:
    """Put our note on an exception, in place of an earlier one of ours."""
    if not text:
        return
    notes = [
        note for note in getattr(exception, "__notes__", []) if PREFIX not in note[:20]
    ]
    # Not add_note(), which Python 3.10 has not; from 3.11 on this is what it does.
    exception.__notes__ = [*notes, PREFIX + text]  # type: ignore[attr-defined]


class Annotator(SchedulerPlugin):  # type: ignore[misc]
    """Has clients in this process annotate what they raise.

    Parameters
    ----------
    explain
        ``exception -> text``; the text is "" if there is nothing to say, and None if
        it is too early to say it.
    """

    name = "gridengine-annotator"

    def __init__(self, explain: Callable[[BaseException], str | None]) -> None:
        self._explain = explain

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        """A client has connected; one of another process is left as it is."""
        # Dask enters a client into its list a moment after that client has connected.
        loop = asyncio.get_running_loop()
        for delay in LOOK_FOR_CLIENT:
            loop.call_later(delay, self._wrap, client)

    def _wrap(self, client: str) -> None:
        for candidate in list(Client._instances):
            if candidate.id == client and not isinstance(candidate.sync, _Noting):
                candidate.sync = _Noting(candidate.sync, self._explain)


class WorkerStatuses(SchedulerPlugin):  # type: ignore[misc]
    """Keeps the statuses in a cluster's ``scheduler_info`` up to date.

    Dask tells a cluster of a worker when it registers, as "init", and of no change.

    Parameters
    ----------
    info
        The ``scheduler_info`` of now.
    """

    name = "gridengine-worker-statuses"

    def __init__(self, info: Callable[[], dict[str, Any]]) -> None:
        self._info = info

    def log_event(self, topic: str, msg: Any) -> None:
        """Dask's scheduler logs each change of a status, under the worker's address."""
        if not isinstance(msg, dict) or msg.get("action") != "worker-status-change":
            return
        if (known := self._info()["workers"].get(topic)) is not None:
            known["status"] = msg["status"]


class _Noting:
    """A client's ``sync``, through which all that waits for results goes."""

    def __init__(
        self, sync: Callable[..., Any], explain: Callable[[BaseException], str | None]
    ) -> None:
        self._sync, self._explain = sync, explain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = self._sync(*args, **kwargs)
        except NOTED as exc:
            self._note(exc)
            raise
        return self._noting(result) if inspect.iscoroutine(result) else result

    def _note(self, exc: BaseException) -> None:
        for _ in range(round(PATIENCE / LOOK_AGAIN)):
            if self._noted(exc):
                break
            time.sleep(LOOK_AGAIN)

    async def _noting(self, result: Any) -> Any:
        try:
            return await result
        except NOTED as exc:
            for _ in range(round(PATIENCE / LOOK_AGAIN)):
                if self._noted(exc):
                    break
                await asyncio.sleep(LOOK_AGAIN)
            raise

    def _noted(self, exc: BaseException) -> bool:
        """Put on the note; False if it is too early for one."""
        text = self._explain(exc)
        annotate(exc, text or "")
        return text is not None
