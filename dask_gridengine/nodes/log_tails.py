"""Whom to ask for logs: workers that live, and of the others their last words.

Those came with the farewells; no file is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distributed import Scheduler
from distributed.utils import Log

from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.nodes.registry import NodeRecord, NodeState


def log_tail(
    records: Iterable[NodeRecord], asked: bool | str | Collection[str]
) -> dict[str, Log]:
    """Logs of nodes that are gone, by worker and node, e.g. ``"ge-3 (node 7.4 on x)"``.

    Parameters
    ----------
    records
        All nodes.
    asked
        Whether for any; or names of workers, or ids of jobs.
    """
    if not asked:
        return {}
    names = [asked] if isinstance(asked, str) else asked
    wanted = None if names is True else {*names, *nodes_of(names)}
    return {
        _title(record): Log(record.log_tail)
        for record in records
        if record.state is NodeState.GONE
        and record.log_tail
        and (wanted is None or wanted & {record.worker, str(record.id)})
    }


def addresses(
    scheduler: Scheduler, asked: bool | str | Collection[str]
) -> bool | list[str]:
    """Addresses of workers that are given by address or by name, to ask them."""
    if isinstance(asked, bool):
        return asked
    wanted = {asked} if isinstance(asked, str) else set(asked)
    return [
        address
        for address, ws in scheduler.workers.items()
        if address in wanted or ws.name in wanted or node_of(ws.name) in wanted
    ]


def _title(record: NodeRecord) -> str:
    return f"{record.worker} ({record})" if record.worker else str(record)
