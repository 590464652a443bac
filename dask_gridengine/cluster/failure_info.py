"""Join what the scheduler knows of workers with what is known of their nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from distributed.scheduler import KilledWorker

from dask_gridengine.clock import steady_time
from dask_gridengine.cluster.explain import explain_deaths
from dask_gridengine.cluster.pool import NodePool, pool_of
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.naming import nodes_of
from dask_gridengine.nodes.diagnosis import out_of_memory, process_ended
from dask_gridengine.nodes.memory_option import larger_worker
from dask_gridengine.nodes.registry import NodeRecord
from dask_gridengine.options import Options
from dask_gridengine.scheduler.failure_attribution import Evidence


class ClusterFailureInfo:
    """Updates the registries by the scheduler's events, and explains deaths to it."""

    def __init__(
        self,
        pools: Sequence[NodePool],
        suspects: Callable[[Any], list[str]],
    ) -> None:
        self._pools = pools
        #: By key of a task: names of workers that died while they ran it.
        self._suspects = suspects

    def missing(self, name: str, *, expected: bool) -> None:
        """The scheduler has no worker of that name any more."""
        if (pool := pool_of(self._pools, name)) and pool.registry.bearing(name):
            pool.missing(name, expected=expected)

    def worker_exit(self, name: str, event: dict[str, Any]) -> None:
        """A Nanny reports that its worker has died, and that it starts another."""
        record = next(iter(self._nodes([name])), None)
        if record is None or (
            event.get("exit_status") == 0 and not event.get("signal")
        ):
            return  # restarted on purpose: client.restart()
        record.restarts += 1
        record.restarted = steady_time()
        record.restarting.add(name)
        peak = int(event.get("peak_memory") or 0)
        limit = int(event.get("memory_limit") or 0)
        record.peak_memory = max(record.peak_memory, peak)
        if used := int(event.get("too_much_memory") or 0):
            whose = "where its Nanny ends a worker"
            options = self._options(record)
            record.death = out_of_memory(
                used,
                limit,
                "Nanny",
                whose,
                processes=options.processes,
                larger=partial(larger_worker, options, limit, record.granted_memory),
            )
        else:
            record.death = process_ended(event.get("signal"), event.get("exit_status"))

    def ours(self, name: Any) -> bool:
        """Whether a worker of that name is one of the cluster's nodes."""
        return bool(self._nodes([name]))

    def deaths(self, names: Sequence[str]) -> str:
        """Why the workers of these names died, as text."""
        found = self._nodes(names)
        return "the workers that ran it:\n" + explain_deaths(found) if found else ""

    def evidence(self, names: Sequence[str]) -> Evidence:
        """Which deaths of these workers do not count against a task, so far as known.

        Deaths on purpose do not count. The end of a node ends all its workers, and the
        end of a host all its nodes: that is one death, not several.
        """
        excluded: list[str] = []
        ended: set[NodeId | str] = set()
        for name in dict.fromkeys(names):
            for record in self._nodes([name]):
                if not record.ending or record.diagnosis is None:
                    continue
                cause = record.diagnosis.cause
                what = record.host if cause is Cause.HOST_LOST else record.id
                of_the_grid = cause is Cause.SUSPENDED
                if cause.on_purpose or of_the_grid or what in ended:
                    excluded.append(name)
                ended.add(what)
        pending = any(_unexplained(record) for record in self._nodes(names))
        return Evidence(excluded=excluded, pending=pending)

    def heard(self, name: str) -> None:
        """A worker of a suspended node has sent a heartbeat: the node is resumed."""
        pool = pool_of(self._pools, name)
        if pool and (record := pool.registry.bearing(name)):
            pool.monitor.suspensions.heard(record)

    def explain(self, exception: KilledWorker) -> str | None:
        """What to add to this exception; None if the cause is not known yet."""
        names = [exception.last_worker.name, *self._suspects(exception.task)]
        if any(_unexplained(record) for record in self._nodes(names)):
            return None
        return self.deaths(names)

    def _options(self, record: NodeRecord) -> Options:
        return next(p for p in self._pools if p.name == record.pool).options

    def _nodes(self, names: Iterable[str]) -> list[NodeRecord]:
        return [
            record
            for node in nodes_of(names)
            for pool in self._pools
            if (record := pool.registry.by_worker.get(node)) is not None
        ]


def _unexplained(record: NodeRecord) -> bool:
    """Whether its worker has died, and neither Nanny nor node has reported why yet."""
    lost = record.missing.keys() - record.restarting
    return bool(lost) and not record.ending
