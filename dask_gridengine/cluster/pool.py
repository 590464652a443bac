"""One kind of nodes of a cluster: its names, its fleet, and what keeps its number.

A cluster has one, or several with names of their own, which know nothing of each other:
each has its own request, its own queue places and its own door.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status

from dask_gridengine.cluster.node_handle import NodeHandle
from dask_gridengine.errors import ClusterNotRunning, OptionError
from dask_gridengine.exit_causes import number_of_nodes
from dask_gridengine.naming import PREFIX, node_name, suffixes
from dask_gridengine.nodes.fleet import Callbacks, Fleet
from dask_gridengine.options import Options
from dask_gridengine.reconcile.reconciler import Hands, Reconciler
from dask_gridengine.reconcile.rotation import WalltimeRotation
from dask_gridengine.worker import job_resources as granted

logger = logging.getLogger(__name__)


class Pool:
    """The nodes of one kind, and the names that their workers bear.

    Parameters
    ----------
    name
        What people call it; "" where there is only one kind.
    options
        Its own.
    names
        All names of the cluster's ``worker_spec``, oldest first.
    """

    def __init__(
        self, name: str, options: Options, names: Callable[[], Collection[str]]
    ) -> None:
        self.name, self.options = name, options
        self.prefix = name or PREFIX
        self._names = names
        self._counter = itertools.count()
        self._clipped = 0  # the last number that was more than may be

    def make(self, callbacks: Callbacks, hands: Hands, **shared: Any) -> None:
        """Have a fleet and its keepers; nothing is opened yet.

        Parameters
        ----------
        callbacks, hands
            The cluster's side.
        **shared
            What fleets of one cluster share, see `Fleet`.
        """
        missed = parse_timedelta(
            dask.config.get("distributed.deploy.lost-worker-timeout")
        )
        ttl = parse_timedelta(dask.config.get("distributed.scheduler.worker-ttl"))
        self.fleet = Fleet(
            self.options,
            versions=granted.versions(),
            callbacks=callbacks,
            pool=self.name,
            **shared,
        )
        self.reconciler = Reconciler(self.fleet, hands, missed=missed, ttl=ttl)
        self.rotation = WalltimeRotation(self.fleet, self.reconciler, self.options)

    def __getattr__(self, name: str) -> Any:
        # Only what `make` has not set yet comes here.
        if name in ("fleet", "reconciler", "rotation"):
            raise ClusterNotRunning(self.options.name, Status.created.name)
        raise AttributeError(name)

    @property
    def made(self) -> bool:
        """Whether there is a fleet."""
        return "fleet" in vars(self)

    @property
    def spec(self) -> dict[str, Any]:
        """A node as `SpecCluster` wants it described."""
        options: dict[str, Any] = {"nthreads": self.options.threads}
        if self.options.memory:
            options["memory_limit"] = self.options.memory // self.options.processes
        spec = {"cls": NodeHandle, "options": options}
        if self.options.processes > 1:
            spec["group"] = suffixes(self.options.processes)
        return spec

    def next_name(self) -> str:
        """A node's name, never used before."""
        return node_name(next(self._counter), self.prefix)

    def first_names(self) -> list[str]:
        """Names of the nodes to begin with."""
        jobs = min(self.options.jobs, self.options.max_jobs or self.options.jobs)
        return [self.next_name() for _ in range(jobs)]

    def ours(self, names: Iterable[str]) -> list[str]:
        """Those of these names that are of this kind, in their order."""
        start = f"{self.prefix}-"
        return [name for name in names if name.startswith(start)]

    @property
    def names(self) -> list[str]:
        """All there are, oldest first."""
        return self.ours(self._names())

    @property
    def planned(self) -> list[str]:
        """Names of nodes that count, oldest first; who leaves anyhow does not."""
        return self.rotation.staying(self.names)

    @property
    def waiting(self) -> list[str]:
        """Names that no node bears yet, oldest first."""
        return list(self.fleet.registry.unbound)

    @property
    def suspended(self) -> set[str]:
        """Names of nodes that the grid has suspended."""
        records = list(self.fleet.registry.suspended.values())
        return {record.worker for record in records if record.worker is not None}

    @property
    def wanted(self) -> int:
        """How many nodes there shall be."""
        return self.reconciler.desired

    def allowed(self, count: int, note: Callable[[str], None]) -> int:
        """So many nodes, or the most there may be, which is said once for a number."""
        most = self.options.max_jobs
        if most is None or count <= most:
            self._clipped = 0
            return count
        if self._clipped != count:
            self._clipped = count
            said = f"{number_of_nodes(count)} asked for, max-jobs allows {most}"
            note(said)
            logger.warning("%s", said)
        return most

    def failed_hosts(self, error: OptionError) -> OptionError:
        """The same, with the name of this pool, where there are several."""
        return OptionError(f"pool {self.name}: {error}") if self.name else error

    def note_of(self, note: Callable[[str], None]) -> Callable[[str], None]:
        """The same, for a log of all kinds."""
        return (lambda text: note(f"{self.name}: {text}")) if self.name else note
