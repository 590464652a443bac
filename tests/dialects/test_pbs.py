"""PBS, by its manuals."""

from __future__ import annotations

import pytest

from dask_gridengine.dialects.base import Wish
from dask_gridengine.dialects.pbs import PBS
from dask_gridengine.grid import NodeId

GRID = PBS()


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Wish(), "-l select=1:ncpus=1"),
        (
            Wish(queue="q", project="p", slots=2, memory=2**30, walltime=3601),
            "-q q -A p -l select=1:ncpus=2:mem=1024mb -l walltime=01:01:00",
        ),
        (Wish(resource_spec="nodes=1:ppn=4"), "-l nodes=1:ppn=4"),
    ],
)
def test_options_are_those_of_qsub(wish: Wish, line: str) -> None:
    """One chunk on one host; a resource_spec takes its place, e.g. for Torque."""
    assert GRID.native(wish) == line


@pytest.mark.parametrize("said", ["12[3].server.example.org", "12[3]"])
def test_the_servers_name_is_no_part_of_an_id(said: str) -> None:
    """Whether DRMAA has it or not, a node is the same."""
    assert GRID.parse(said) == NodeId("12", 3)
    assert GRID.form(NodeId("12", 3)) == "12[3]"
    assert GRID.parse("12.server") == NodeId("12", 1)


def test_torque_calls_the_index_otherwise() -> None:
    """PBS_ARRAYID."""
    environ = {"PBS_JOBID": "12[3].server", "PBS_ARRAYID": "3"}
    assert GRID.identity(environ) == ("12", 3)
    assert GRID.slots({"PBS_NUM_PPN": "2"}) == GRID.slots({"NCPUS": "2"}) == 2


def test_a_lost_submission_is_found_by_its_environment() -> None:
    """qstat -f goes on in the next line, wherever it is full."""
    listing = (
        "Job Id: 12[].server\n    Variable_List = A=1,GRIDENGINE_SUB\n\tMISSION=abc\n"
        "Job Id: 13.server\n    Variable_List = GRIDENGINE_SUBMISSION=def\n"
    )
    assert GRID.find_marked("x", "abc", lambda command: listing) == ["12"]
