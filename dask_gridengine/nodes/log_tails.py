"""Which logs ``cluster.get_logs()`` returns: of live workers, and of ended nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distributed import Scheduler
from distributed.utils import Log

from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.nodes.registry import NodeRecord, NodeState


def log_tail(
    records: Iterable[NodeRecord], workers: bool | str | Collection[str]
) -> dict[str, Log]:
    """Return the log tails of ended nodes, by titles like "ge-3 (node 7.4 on x)".

    `workers` is as in `get_logs`, and may have job ids. Tails come with the exit
    reports: no file is read.
    """
    if not workers:
        return {}
    names = [workers] if isinstance(workers, str) else workers
    requested = None if names is True else {*names, *nodes_of(names)}
    return {
        f"{record.worker} ({record})" if record.worker else str(record): Log(
            record.log_tail
        )
        for record in records
        if record.state is NodeState.GONE
        and record.log_tail
        and (requested is None or requested & {record.worker, str(record.id)})
    }


def addresses(
    scheduler: Scheduler, workers: bool | str | Collection[str]
) -> bool | list[str]:
    """Return the addresses of live workers, which are given by name or address."""
    if isinstance(workers, bool):
        return workers
    requested = {workers} if isinstance(workers, str) else set(workers)
    return [
        address
        for address, ws in scheduler.workers.items()
        if requested & {address, ws.name, node_of(ws.name)}
    ]
