"""Why nodes still queue, in Grid Engine's words."""

from __future__ import annotations

from dask_gridengine.doctor.standing import standing
from tests.doctor.conftest import Site, run


def test_reasons_and_what_runs(site: Site) -> None:
    """Of the job in question alone."""
    site.says("qstat -j 7", "job_number: 7\nscheduling info:  a.q is full\n   b.q too")
    site.says(
        "qstat -s r",
        "job-ID prior name user state submit/start at queue slots ja-task-ID\n"
        "------\n"
        "7 0.5 d root r 11/25/2026 10:35:19 a.q@node1 1 2\n"
        "8 0.5 d root r 11/25/2026 10:35:19 a.q@node9 1 1",
    )
    found = run(standing(site.commands, "7"))
    assert found.reasons == ("a.q is full", "b.q too")
    assert found.running == {2: "a.q@node1"}


def test_a_grid_that_does_not_tell(site: Site) -> None:
    """Nothing is made up."""
    found = run(standing(site.commands, "7"))
    assert found.reasons == ()
    assert not found.running
