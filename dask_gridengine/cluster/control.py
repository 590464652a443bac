"""What a cluster tells its user in other processes: the command line, or `connect`.

Whoever asks holds the key of the connection file, and so is the user. See
`dask_gridengine.cli.client` for the other side.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from dask_gridengine.bootstrap.certificates import client_identity
from dask_gridengine.bootstrap.messages import ControlReply, ControlRequest
from dask_gridengine.cluster.drain_all import drain
from dask_gridengine.errors import GridEngineError
from dask_gridengine.nodes.endpoints import contact
from dask_gridengine.views.snapshot import snapshot

logger = logging.getLogger(__name__)

LOG_LETTERS = 200_000  # of one log, its end: a message has its limit


class ControlHandler:
    """Answers the questions of a cluster's user.

    ===========  ==================================================================
    ``status``   what `snapshot` makes
    ``explain``  ``text``, as `GridEngineCluster.explain` says it
    ``logs``     ``logs``: text by whose log it is
    ``client``   what a client needs: ``address``, and ``tls``, an identity or None
    ``drain``    nothing; the cluster lets running tasks end, and closes
    ``close``    nothing; the cluster closes at once
    ===========  ==================================================================

    Parameters
    ----------
    cluster
        A `GridEngineCluster`, in whose event loop this runs.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._ending: asyncio.Task[None] | None = None
        self._answers: dict[
            str, Callable[[ControlRequest], Awaitable[dict[str, Any]]]
        ] = {
            "status": self._status,
            "explain": self._explain,
            "logs": self._logs,
            "client": self._client,
            "drain": self._end,
            "close": self._end,
        }

    async def answer(self, ask: ControlRequest) -> ControlReply:
        """Answer one question; what cannot be answered is told in words."""
        body: dict[str, Any] = {}
        error = ""
        if (answer := self._answers.get(ask.what)) is None:
            error = f"there is no question {ask.what!r} here: another version asks"
        else:
            try:
                body = await answer(ask)
            except GridEngineError as exc:
                error = str(exc)
        return ControlReply(process_token=ask.process_token, body=body, error=error)

    async def _status(self, ask: ControlRequest) -> dict[str, Any]:
        return snapshot(self._cluster)

    async def _explain(self, ask: ControlRequest) -> dict[str, Any]:
        return {"text": self._cluster.explain(ask.about or None)}

    async def _logs(self, ask: ControlRequest) -> dict[str, Any]:
        if not ask.about:
            found = await self._cluster.get_logs()
        else:
            self._cluster.explain(ask.about)  # refuses who never was
            asked = [ask.about, *self._bearers(ask.about)]
            found = await self._cluster.get_logs(False, False, asked)
        names = {a: ws.name for a, ws in self._cluster.scheduler.workers.items()}
        return {
            "logs": {
                names.get(who, who): (
                    oldest_first(log) if who in names or who == "Scheduler" else log
                )[-LOG_LETTERS:]
                for who, log in found.items()
            }
        }

    def _bearers(self, job: str) -> list[str]:
        """The worker that a job has become, by name."""
        rows = self._cluster.jobs()
        return [row.worker for row in rows if str(row.id) == job and row.worker]

    async def _client(self, ask: ControlRequest) -> dict[str, Any]:
        cluster = self._cluster
        cluster._require_running()
        identity = client_identity(cluster.security)
        return {
            "address": contact(cluster.options, cluster.scheduler, ask.via),
            "tls": None if identity is None else dict(vars(identity)),
        }

    async def _end(self, ask: ControlRequest) -> dict[str, Any]:
        """Begun, and told at once: the way of the answer closes with the cluster."""
        if self._ending is None or ask.what == "close":
            logger.warning("%s is ended by its user (%s)", self._cluster.name, ask.what)
            self._ending = asyncio.create_task(self._over(drained=ask.what == "drain"))
        return {}

    async def _over(self, *, drained: bool) -> None:
        try:
            if drained:
                await drain(self._cluster)
        finally:
            # Also if it could not be drained: it has been told to go.
            await self._cluster.close()


def oldest_first(log: str) -> str:
    """What Dask's servers tell of their log, whose newest entry they tell first.

    Examples
    --------
    >>> print(oldest_first("2026-01-02 b\\n  more\\n2026-01-01 a"))
    2026-01-01 a
    2026-01-02 b
      more
    """
    entries = re.split(r"\n(?=\d{4}-\d\d-\d\d[ T])", log)
    return "\n".join(reversed(entries))
