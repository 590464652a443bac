"""What DRMAA's resource usage tells about a node that has ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from dask_gridengine.grid_types import EndNotice, NodeId

DELETED = "deleted while it ran"
UNSTARTED = "the grid could not start it on that host"
APPLICATION_ERROR = "exit status 100, which means that the job cannot run on that host"


def end_with_usage(node: NodeId, usage: Mapping[str, str]) -> EndNotice:
    """Return a node's end with its running time and memory.

    DRMAA gives numbers as text, "3.0000".
    """
    # Without a start there are no times at all, only samples of the execution daemon.
    ran = _number(usage.get("ru_wallclock")) if "start_time" in usage else None
    sizes = (_number(usage.get(name)) for name in ("maxvmem", "acct_maxvmem"))
    peak = max((size for size in sizes if size is not None), default=0.0)
    return EndNotice(node=node, ran=ran, peak_memory=int(peak))


def aborted_end(end: EndNotice, usage: Mapping[str, str]) -> EndNotice:
    """Distinguish what libdrmaa calls aborted, as measured on Son of GE 8.1.9.

    A deleted job has a start and any exit status: with ``-notify`` it may choose one.
    """
    if "start_time" not in usage:
        return replace(end, unstarted=True, reason=UNSTARTED)
    if _number(usage.get("exit_status")) == 100:
        return replace(end, unstarted=True, reason=APPLICATION_ERROR)
    return replace(end, deleted=True, reason=DELETED)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
