"""What tests of Dask's own ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from distributed.utils_test import cleanup, loop, loop_in_thread  # noqa: F401

from tests.contract.upstream import LocalCluster


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers of Dask's tests."""
    for marker in ("ci1", "flaky", "gpu", "ipython", "leaking", "slow"):
        config.addinivalue_line("markers", f"{marker}: of Dask's own tests")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clusters of a test have their files."""
    monkeypatch.setattr(LocalCluster, "shared_directory", tmp_path, raising=False)


@pytest.fixture
def c(_directory: None) -> Iterator[Client]:
    """A client of two workers, as `distributed.utils_test` has it."""
    with LocalCluster(n_workers=2) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        yield client
