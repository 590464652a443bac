"""Dask's own tests of adaptive scaling: all of them."""

from __future__ import annotations

from tests.contract.upstream import from_dask

#: They start many workers one after the other.
LONG = (
    "test_adapt_down",
    "test_adapt_quickly",
    "test_adaptive_local_cluster_multi_workers",
    "test_target_duration",
)

globals().update(from_dask("distributed/deploy/tests/test_adaptive.py", long=LONG))
