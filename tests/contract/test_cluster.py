"""Dask's own tests of what a cluster is."""

from __future__ import annotations

from tests.contract.upstream import from_dask

#: Tests that fail for a fault of ours, by its number in the list of faults.
NOT_YET = {
    "test_cluster_wait_for_worker": "C2: the status of a worker stays 'init'",
}

globals().update(from_dask("distributed/deploy/tests/test_cluster.py", not_yet=NOT_YET))
