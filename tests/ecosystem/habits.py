"""What people do with any Dask cluster, as one function each.

Local processes and a real grid run the same ones. Each leaves the cluster as it found
it: as in a notebook, the next one uses the same workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from dask_gridengine import GridEngineCluster

#: Workers of the cluster, of one thread each.
WORKERS = 2


@dataclass(frozen=True)
class Site:
    """A cluster of `WORKERS` workers, each with the resource TOKEN, and a client."""

    cluster: GridEngineCluster
    client: Client
    directory: Path  # the nodes see it

    def settled(self) -> None:
        """Wait until all workers are there."""
        self.client.wait_for_workers(WORKERS, timeout=60)

    def names(self) -> list[str]:
        """Names of the workers, as the scheduler knows them."""
        infos = self.cluster.scheduler_info["workers"].values()
        return sorted(info["name"] for info in infos)


Habit = Callable[[Site], None]

#: What a cluster is started with for them.
OPTIONS = {"jobs": WORKERS, "worker_options": {"resources": {"TOKEN": 1}}}
