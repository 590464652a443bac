"""What the scheduler sees of workers, joined with what is known of their nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from distributed.scheduler import KilledWorker

from dask_gridengine.cluster.explain import explain_deaths
from dask_gridengine.exit_causes import Cause
from dask_gridengine.grid_types import NodeId
from dask_gridengine.naming import nodes_of
from dask_gridengine.nodes.diagnosis import out_of_memory, process_ended
from dask_gridengine.nodes.memory_option import larger_worker
from dask_gridengine.nodes.registry import NodeRecord
from dask_gridengine.options import Options
from dask_gridengine.reconcile.reconciler import Reconciler
from dask_gridengine.scheduler.failure_attribution import Evidence


class ClusterFailureInfo:
    """The scheduler's `FailureInfo`: tells the fleet, and answers from what it knows.

    Parameters
    ----------
    upkeeps
        Of the cluster's kinds of nodes.
    suspects
        ``task key -> names of workers`` that died while they ran it.
    """

    def __init__(
        self,
        reconcilers: Sequence[Reconciler],
        suspects: Callable[[Any], list[str]],
    ) -> None:
        self._reconcilers, self._suspects = reconcilers, suspects

    def missing(self, name: str, *, expected: bool) -> None:
        """The scheduler has no worker of that name any more."""
        for reconciler in self._reconcilers:
            if reconciler.fleet.registry.bearing(name) is not None:
                reconciler.fleet.missing(name, expected=expected)
                reconciler.wake()

    def worker_exit(self, name: str, event: dict[str, Any]) -> None:
        """A Nanny says that its worker has died, and that it starts another."""
        record = next(iter(self._nodes([name])), None)
        if record is None or (
            event.get("exit_status") == 0 and not event.get("signal")
        ):
            return  # restarted because somebody wanted that: client.restart()
        record.restarts += 1
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
        """Why the workers of these names died, for people."""
        found = self._nodes(names)
        return "the workers that ran it:\n" + explain_deaths(found) if found else ""

    def evidence(self, names: Sequence[str]) -> Evidence:
        """Which deaths of these workers are nobody's fault, as far as is known yet.

        Those of nodes that somebody wanted to end. And what ends a node ends all its
        workers, as a host's end does with its nodes: that is one death, not several.
        """
        blameless: list[str] = []
        ended: set[NodeId | str] = set()
        for name in dict.fromkeys(names):
            for record in self._nodes([name]):
                if not record.ending or record.diagnosis is None:
                    continue
                cause = record.diagnosis.cause
                what = record.host if cause is Cause.HOST_LOST else record.id
                of_the_grid = cause is Cause.SUSPENDED
                if cause.on_purpose or of_the_grid or what in ended:
                    blameless.append(name)
                ended.add(what)
        pending = any(_unexplained(record) for record in self._nodes(names))
        return Evidence(blameless=blameless, pending=pending)

    def heard(self, name: str) -> None:
        """A worker of a suspended node has sent a heartbeat: the node is resumed."""
        for reconciler in self._reconcilers:
            if (record := reconciler.fleet.registry.bearing(name)) is not None:
                reconciler.suspensions.heard(record)

    def explain(self, exception: KilledWorker) -> str | None:
        """What a user should know beside this exception; None if it is too early."""
        names = [exception.last_worker.name, *self._suspects(exception.task)]
        if any(_unexplained(record) for record in self._nodes(names)):
            return None
        return self.deaths(names)

    def _options(self, record: NodeRecord) -> Options:
        """What the user asked of its kind of nodes."""
        fleets = (reconciler.fleet for reconciler in self._reconcilers)
        return next(f for f in fleets if f.pool == record.pool).options

    def _nodes(self, names: Iterable[str]) -> list[NodeRecord]:
        books = [
            reconciler.fleet.registry.by_worker for reconciler in self._reconcilers
        ]
        return [
            record
            for node in nodes_of(names)
            for records in books
            if (record := records.get(node)) is not None
        ]


def _unexplained(record: NodeRecord) -> bool:
    """Whether its worker has died, and neither Nanny nor node has said why yet."""
    submission_failed = record.missing.keys() - record.restarting
    return bool(submission_failed) and not record.ending
