"""Dask's own tests of what a cluster is."""

from __future__ import annotations

from tests.contract.upstream import from_dask

globals().update(from_dask("distributed/deploy/tests/test_cluster.py"))
