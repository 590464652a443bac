"""Statuses of workers, for the cluster object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin


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
        """Take over a change of a status, whose topic is the worker's address."""
        if not isinstance(msg, dict) or msg.get("action") != "worker-status-change":
            return
        if (known := self._info()["workers"].get(topic)) is not None:
            known["status"] = msg["status"]
