"""What resource usage tells; the rest of `Library` needs a cell.

See ``tests/grid/test_drmaa_launcher.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.drmaa.library import (
    APPLICATION_ERROR,
    DELETED,
    UNSTARTED,
    aborted_end,
    end_with_usage,
)

NODE = NodeId("1", 2)
STARTED = {"start_time": "1795415390.0000", "ru_wallclock": "3.0000"}


def test_usage_has_running_time_and_memory() -> None:
    """The larger of two values for a size; none where there is no number."""
    usage = {**STARTED, "maxvmem": "3284992.0000", "acct_maxvmem": "4284992.0000"}
    end = EndNotice(node=NODE, ran=3.0, address_space=4284992)
    assert end_with_usage(NODE, usage) == end
    usage["maxrss"] = "184320.0000"  # of the Open Cluster Scheduler
    end = EndNotice(node=NODE, ran=3.0, peak_memory=184320, address_space=4284992)
    assert end_with_usage(NODE, usage) == end
    assert end_with_usage(NODE, {}) == EndNotice(node=NODE)
    odd = {"start_time": "0", "ru_wallclock": "NONE", "maxvmem": "nan"}
    assert end_with_usage(NODE, odd) == EndNotice(node=NODE)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"maxvmem": "0.0000"}, {"unstarted": True, "reason": UNSTARTED}),
        (
            {**STARTED, "exit_status": "100.0000"},
            {"unstarted": True, "reason": APPLICATION_ERROR, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "137.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "0.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
    ],
)
def test_an_aborted_job_was_deleted_or_never_started(
    usage: dict[str, str], expected: dict[str, Any]
) -> None:
    """A deleted job had a start; with -notify it chooses its exit status."""
    end = aborted_end(end_with_usage(NODE, usage), usage)
    assert end == EndNotice(node=NODE, **expected)
