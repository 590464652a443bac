"""How long a node may be silent, and the diagnosis of a longer silence."""

from __future__ import annotations

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import NodeRecord, NodeState

#: Seconds of silence in a state before the grid is asked, and twice as many before the
#: node is given up. Arrived nodes send a hello every 30 s; importing nodes may wait for
#: a slow file server.
SILENCE = {NodeState.ARRIVED: 120.0, NodeState.IMPORTING: 300.0}


def silent_for(
    record: NodeRecord, now: float, missed: float
) -> tuple[float, float] | None:
    """Seconds of a node's silence, and its limit; None if it need not send anything.

    `missed` is the limit for a worker that the scheduler misses while its node lives.
    """
    if record.missing and not record.ending:
        first = min(record.missing.values())
        # Its Nannies have reported it, or its other workers are there.
        if record.present or record.missing.keys() <= record.restarting:
            return now - first, 2 * SILENCE[NodeState.IMPORTING]
        assert record.lost is not None
        return now - record.lost, missed
    if record.state in SILENCE:
        heard = max(record.since, record.heard or 0.0)
        return now - heard, 2 * SILENCE[record.state]
    return None


def diagnose_silence(record: NodeRecord, now: float, host_is_heard: bool) -> Diagnosis:
    """Diagnose a node that has been silent for too long."""
    if not record.missing:
        detail = f"{now - record.since:.0f} s {record.state.value}, and silent"
        return Diagnosis(cause=Cause.NO_START, detail=detail, source="bootstrap")
    if record.lost is None:
        name, since = min(record.missing.items(), key=lambda item: item[1])
        detail = f"its worker {name} has been missing for {now - since:.0f} s"
        return Diagnosis(cause=Cause.NO_START, detail=detail, source="scheduler")
    detail = (
        f"the scheduler has missed its worker for {now - record.lost:.0f} s, the node"
        " is silent, and the grid reports no end"
    )
    if host_is_heard:
        detail += "; other nodes on its host are not silent"
        return Diagnosis(cause=Cause.UNKNOWN, detail=detail, source="scheduler")
    return Diagnosis(cause=Cause.HOST_LOST, detail=detail, source="scheduler")
