"""The warnings that follow from a hello."""

from __future__ import annotations

from dask_gridengine.nodes.hello_warnings import warnings_of
from tests.samples import hello


def test_slots_on_other_hosts_are_worth_a_warning() -> None:
    """It names the parallel environment and what to ask the admins for."""
    spread = hello(slots=8, slots_elsewhere=4, parallel_environment="mpi")
    (warning,) = warnings_of(spread)
    assert "'mpi'" in warning.text
    assert "$pe_slots" in warning.text
    (other,) = warnings_of(hello(slots_elsewhere=3, parallel_environment="mpi"))
    assert other.key == warning.key


def test_a_failed_line_has_one_key_whatever_it_printed() -> None:
    """A hundred nodes print a hundred host names."""
    one, other = (
        next(warnings_of(hello(prologue=[f"status 1: run ({output})"])))
        for output in "ab"
    )
    assert one.key == other.key
    assert list(warnings_of(hello())) == []
