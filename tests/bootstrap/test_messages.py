"""The messages validate their fields."""

from __future__ import annotations

import dataclasses

import pytest

from dask_gridengine.bootstrap.messages import TLSIdentity, version_mismatch
from dask_gridengine.worker.job_resources import versions
from tests.samples import allocation, exit_report, hello


@pytest.mark.parametrize(
    ("make", "change", "complaint"),
    [
        (hello, {"index": 0}, "index"),
        (hello, {"slots": 0}, "slots"),
        (hello, {"memory": -1}, "memory"),
        (hello, {"host_cpus": 0}, "host_cpus"),
        (hello, {"process_token": "x"}, "process_token"),
        (allocation, {"nthreads": 0}, "nthreads"),
        (allocation, {"memory_limit": -1}, "memory_limit"),
        (allocation, {"start_method": "forkserver"}, "start_method"),
        (exit_report, {"stderr": "x" * 20_000}, "16 kB"),
    ],
)
def test_a_message_validates_its_fields(make, change, complaint) -> None:  # type: ignore[no-untyped-def]
    """A reader need not check values again."""
    with pytest.raises(ValueError, match=complaint):
        make(**change)


def test_messages_are_frozen() -> None:
    """A message cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        hello().pid = 3  # type: ignore[misc]


def test_a_repr_shows_no_key() -> None:
    """An allocation may be logged."""
    identity = TLSIdentity(ca="a", certificate="b", key="PRIVATE")
    assert "PRIVATE" not in repr(allocation(tls=identity))


@pytest.mark.parametrize(
    "package", ["python", "dask", "distributed", "dask-gridengine"]
)
def test_each_version_counts(package: str) -> None:
    """Another Python, dask, distributed or version of ours is named."""
    theirs = {**versions(), package: "0.1"}
    if package == "dask-gridengine":
        theirs[package] = "99"
    assert package in version_mismatch(versions(), theirs)


def test_a_missing_package_is_a_mismatch() -> None:
    """A node without Dask gets that as reason."""
    theirs = {**versions(), "dask": ""}
    assert "missing at the node" in version_mismatch(versions(), theirs)
