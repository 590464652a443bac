"""Adaptive scaling that knows a queue: what waits in it is not thrown away."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from distributed.deploy import Adaptive

#: Workers at most, where `adapt` is given no maximum: a mistake must stay affordable.
ADAPTIVE_MAXIMUM = 100


class GridAdaptive(Adaptive):  # type: ignore[misc]
    """Dask's Adaptive, with what it gets wrong on a grid mended.

    Names of workers that are not there yet are given up in a lull, but not their
    places in the queue: the next rise uses them, and who is not needed when it arrives
    is told so at the door.
    """

    def __init__(self, cluster: Any, **options: Any) -> None:
        for bound in ("minimum", "maximum"):
            if (value := options.get(bound)) is not None and math.isfinite(value):
                options[bound] = int(value)
        super().__init__(cluster, **options)

    async def target(self) -> int:
        """Workers that the work is worth; without any worker Dask counts threads."""
        wanted = int(await super().target())
        cluster = self.cluster
        assert cluster is not None
        if wanted and not cluster.scheduler.workers:
            wanted = math.ceil(wanted / cluster.options.cores)
        return int(max(self.minimum, min(self.maximum, wanted)))

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up these; the cluster lets their tasks end and moves their data.

        Dask would have the scheduler retire them first, as if somebody else wanted it.
        """
        assert self.cluster is not None
        await self.cluster.scale_down(workers)

    async def scale_up(self, n: int) -> None:
        """Ask for so many in all; as a machine's word, which forgives no failure."""
        assert self.cluster is not None
        await self.cluster.scale_adaptively(n)
