"""LSF, by its manuals."""

from __future__ import annotations

import pytest

from dask_gridengine.dialects.base import Wish
from dask_gridengine.dialects.lsf import LSF
from dask_gridengine.grid import NodeId

GRID = LSF()


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Wish(), ""),
        (
            Wish(queue="q", project="p", slots=2, memory=2**30, walltime=90),
            "-q q -P p -W 2 -n 2 -R span[hosts=1] -M 1024",
        ),
        (Wish(resource_spec="rusage[mem=100]"), "-R rusage[mem=100]"),
    ],
)
def test_options_are_those_of_bsub(wish: Wish, line: str) -> None:
    """Whole minutes, megabytes, all slots on one host."""
    assert GRID.native(wish) == line


def test_hosts_are_excluded_unless_the_options_choose() -> None:
    """By a resource requirement."""
    said = GRID.excluding("-q a", {"n2", "n1"})
    assert said == "-q a -R select[hname!=n1&&hname!=n2]"
    assert GRID.excluding("-m n3", {"n1"}) == "-m n3"


def test_a_job_by_itself_has_index_one() -> None:
    """Where LSB_JOBINDEX is 0."""
    assert GRID.identity({"LSB_JOBID": "12", "LSB_JOBINDEX": "0"}) == ("12", 1)
    assert GRID.parse("12") == NodeId("12", 1)
