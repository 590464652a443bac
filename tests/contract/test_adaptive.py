"""Dask's own tests of adaptive scaling: all of them."""

from __future__ import annotations

from tests.contract.upstream import from_dask

#: Tests that fail for a fault of ours, by its number in the list of faults.
NOT_YET = {
    "test_adapt_down": "A19: a lower maximum waits until workers are idle",
}
#: The same of faults that show now and then.
NOT_RUN = {
    "test_min_max": "A9: close() while adaptive scaling runs raises CancelledError",
}
#: They start many workers one after the other.
LONG = (
    "test_adapt_down",
    "test_adapt_quickly",
    "test_adaptive_local_cluster_multi_workers",
    "test_target_duration",
)

globals().update(
    from_dask(
        "distributed/deploy/tests/test_adaptive.py",
        not_yet=NOT_YET,
        not_run=NOT_RUN,
        long=LONG,
    )
)
