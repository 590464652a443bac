"""Current statuses of workers, for the cluster object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin


class WorkerStatuses(SchedulerPlugin):  # type: ignore[misc]
    """Keep the statuses in a cluster's ``scheduler_info`` up to date.

    Dask sends a cluster the status of a worker that registers ("init"), and no change.
    """

    name = "gridengine-worker-statuses"

    def __init__(self, info: Callable[[], dict[str, Any]]) -> None:
        self._info = info

    def log_event(self, topic: str, msg: Any) -> None:
        """Copy a change of status; its topic is the worker's address."""
        if not isinstance(msg, dict) or msg.get("action") != "worker-status-change":
            return
        if (known := self._info()["workers"].get(topic)) is not None:
            known["status"] = msg["status"]
