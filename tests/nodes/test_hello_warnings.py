"""What a node's hello tells that people should know."""

from __future__ import annotations

from dask_gridengine.nodes.hello_warnings import remarks
from tests.samples import hello


def test_slots_on_other_hosts_are_worth_a_warning() -> None:
    """It names the parallel environment and what to ask the admins for."""
    spread = hello(slots=8, slots_elsewhere=4, parallel_environment="mpi")
    (remark,) = remarks(spread)
    assert "'mpi'" in remark.text
    assert "$pe_slots" in remark.text
    (other,) = remarks(hello(slots_elsewhere=3, parallel_environment="mpi"))
    assert other.once == remark.once


def test_a_failed_line_is_one_remark_whatever_it_printed() -> None:
    """A hundred nodes print a hundred host names."""
    one, other = (
        next(remarks(hello(prologue=[f"status 1: run ({said})"]))) for said in "ab"
    )
    assert one.once == other.once
    assert list(remarks(hello())) == []
