"""One worker as `SpecCluster` sees it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

logger = logging.getLogger(__name__)


class NodeHandle(ProcessInterface):  # type: ignore[misc]
    """The name of a worker that some node bears, or will bear when it arrives.

    It is made when its array has been queued, so it is *running* from the start:
    waiting for a node to run would block the cluster for as long as the queue is.

    Parameters
    ----------
    name
        The worker's name, and its key in ``worker_spec``.
    stop
        What ends it.
    """

    def __init__(self, name: str, stop: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(name=name)
        self.name = name
        self.status = Status.running
        self._stop = stop

    async def close(self) -> None:
        """Retire the worker and give back its node.

        Never raises: SpecCluster would stay in ``closing``, and every later ``close``
        of the cluster would hang.
        """
        if self.status is Status.running:
            self.status = Status.closing
            try:
                await self._stop(self.name)
            except Exception:
                logger.exception("could not stop worker %s", self.name)
        self.ended()

    def ended(self) -> None:
        """Its node is gone."""
        self.status = Status.closed
        self._event_finished.set()
