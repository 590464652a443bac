"""One node as a row of numbers: where its bar begins, changes colour and ends."""

from __future__ import annotations

import math
import time
from typing import Any

from dask_gridengine.nodes.history import NodeRow
from dask_gridengine.nodes.startup_times import format_duration
from dask_gridengine.views.colors import STATES

#: In the year 2100: where a bar ends that goes on. It runs on beneath a cover, so that
#: time passes without a word about any bar.
FAR = 4_102_444_800_000.0  # milliseconds
NEVER = math.nan
#: Has all the columns there are.
NOBODY = NodeRow("", "", "", "", "", "", {"queued": 0.0}, None, "", "", False, 0, 0)


def milliseconds(when: float) -> float:
    """What bokeh's axes, which know no time zones, take for this moment here."""
    return (when + time.localtime(when).tm_gmtoff) * 1000


def time_label() -> str:
    """What stands at an axis of `milliseconds`."""
    zone = time.strftime("%z")
    return f"time of day (UTC{zone[:3]}:{zone[3:]})"


def cells(row: NodeRow, y: int, stop: float) -> dict[str, Any]:
    """One row of the source of bars.

    Parameters
    ----------
    row
        The node.
    y
        Which bar it is, from the top.
    stop
        Where what goes on ends, in milliseconds.
    """
    edges: dict[str, Any] = {}
    for state in STATES:
        edges[f"{state}_from"] = edges[f"{state}_to"] = NEVER
    for state, start, end in row.stays:
        edges[f"{state}_from"] = milliseconds(start)
        edges[f"{state}_to"] = stop if end is None else milliseconds(end)
    gone = row.entered.get("gone")
    at = NEVER if gone is None else milliseconds(gone)
    return {
        "y": y,
        **edges,
        "ended_at": NEVER if row.failed else at,
        "failed_at": at if row.failed else NEVER,
        "job": f"{row.job} {row.pool}".rstrip(),
        "worker": row.worker,
        "host": row.host,
        "queue": f"({row.queue})" if row.queue else "",
        "state": row.state,
        "cause": f"- {row.cause}" if row.cause else "",
        "wait": _spoken(row.wait),
        "startup": _spoken(row.startup),
        "worked": _worked(row),
        "restarts": row.restarts,
    }


def _spoken(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _worked(row: NodeRow) -> str:
    for state, start, stop in row.stays:
        if state == "working" and stop is not None:
            return format_duration(stop - start)
    return ""
