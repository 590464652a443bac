"""Our jobs in what qstat prints, as Son of Grid Engine 8.1.9 printed it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dask_gridengine.batch.sge.qstat import marked_jobs_of
from tests.clusters import FakeGrid

ODD = """\
==============================================================
job_number:                 9
owner:                      ann
job_name:                   mine
env_list:                   TERM=NONE,GRIDENGINE_SUBMISSION=9fc11b1b,\
GRIDENGINE_DIRECTORY=/tmp/a%20b%27%2C/mine-4ec
job_args:                   -c,eval "$(echo ZXhlYyAvYmluL3No | base64 -d)"
==============================================================
job_number:                 10
owner:                      ann
job_name:                   STDIN
env_list:                   TERM=NONE
job_args:                   -m dask_gridengine.node /s/mine-4ec/connection.json
==============================================================
job_number:                 11
owner:                      bob
job_name:                   mine
env_list:                   GRIDENGINE_SUBMISSION=9fc11b1b
job_args:                   -m dask_gridengine.node /s/mine-4ec/connection.json
"""


def test_a_job_is_found_with_its_cluster_and_states(tmp_path: Path) -> None:
    """By owner, mark and path; tasks that wait are counted from their ranges."""
    grid = FakeGrid({"7": tmp_path / "mine-a", "8": tmp_path / "mine-b"}, "ann")
    first, second = marked_jobs_of("ann", grid)
    assert (first.id, first.directory) == ("7", tmp_path / "mine-a")
    assert first.states == {"qw": 3}
    assert first.submitted == "Wed Nov 25 08:30:17 2026"
    assert second.id == "8"


def test_what_is_not_ours_is_not_found() -> None:
    """Neither a job without our mark nor one of somebody else's."""
    rows = "".join(
        f"<job_list><JB_job_number>{job}</JB_job_number><state>r</state></job_list>"
        for job in (9, 10, 11)
    )
    said = {"-xml": f"<a>{rows}</a>", "9,10,11": ODD}
    (found,) = marked_jobs_of("ann", lambda command: said[command[-1]])
    assert found.id == "9"
    # Its command is encoded, and its path has a blank, a quote and a comma.
    assert found.directory == Path("/tmp/a b',/mine-4ec")


def test_no_job_needs_no_second_question() -> None:
    """An empty queue is asked about once."""
    asked = []

    def run(command: object) -> str:
        asked.append(command)
        return "<job_info></job_info>"

    assert marked_jobs_of("ann", run) == []
    assert len(asked) == 1


def test_a_job_that_ends_meanwhile_hides_no_other(tmp_path: Path) -> None:
    """qstat fails for the one it does not know, and tells of the others first."""
    grid = FakeGrid({"7": tmp_path / "mine-a"}, "ann")

    def run(command: list[str]) -> str:
        if "-j" in command:
            said = grid(command)
            wrong = "Following jobs do not exist or permissions are not sufficient: \n8"
            raise subprocess.CalledProcessError(1, command, said, wrong)
        return grid(command)

    assert [job.id for job in marked_jobs_of("ann", run)] == ["7"]


def test_a_grid_that_does_not_answer_is_no_empty_grid() -> None:
    """Silence is passed on as an error."""

    def run(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "unable to contact qmaster")

    with pytest.raises(subprocess.CalledProcessError):
        marked_jobs_of("ann", run)
