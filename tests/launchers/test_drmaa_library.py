"""What usages say; the rest needs a cell.

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
    aborted,
    measured,
)

STARTED = {"start_time": "1795415390.0000", "ru_wallclock": "3.0000"}


def test_a_usage_tells_how_long_and_how_big() -> None:
    """The bigger of two figures for the memory; nothing where there is no number."""
    node = NodeId("1", 2)
    usage = {**STARTED, "maxvmem": "3284992.0000", "acct_maxvmem": "4284992.0000"}
    assert measured(node, usage) == EndNotice(node=node, ran=3.0, peak_memory=4284992)
    assert measured(node, {}) == EndNotice(node=node)
    odd = {"start_time": "0", "ru_wallclock": "NONE", "maxvmem": "nan"}
    assert measured(node, odd) == EndNotice(node=node)


@pytest.mark.parametrize(
    ("usage", "told"),
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
def test_aborted_is_deleted_or_never_started(
    usage: dict[str, str], told: dict[str, Any]
) -> None:
    """A deleted job had a start, and with -notify its exit status is its own choice."""
    node = NodeId("1", 2)
    assert aborted(measured(node, usage), usage) == EndNotice(node=node, **told)
