"""Finding jobs by their mark; a qstat that answers is on the cell only.

See ``tests/grid/test_drmaa_launcher.py``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.submission_id import find_marked, marked_jobs

LISTING = """\
==============================================================
job_number:                 145
owner:                      root
env_list:                   TERM=NONE,GRIDENGINE_SUBMISSION=abc,B=x
y
job_args:                   -c,echo job_number: 99
==============================================================
job_number:                 146
env_list:                   TERM=NONE,GRIDENGINE_SUBMISSION=def
scheduling info:            Job is in hold state
"""


def test_only_jobs_with_the_mark_are_found() -> None:
    """Their names alone prove nothing: another cluster may have the same."""
    assert marked_jobs(LISTING, "abc") == ["145"]
    assert marked_jobs(LISTING, "def") == ["146"]
    assert marked_jobs(LISTING, "GRIDENGINE_SUBMISSION") == ["145", "146"]
    assert marked_jobs(LISTING, "ghi") == []
    assert marked_jobs("", "abc") == []


def answering(status: int, said: str) -> Runner:
    """A qstat that fails with these words."""

    def run(command: Sequence[str]) -> str:
        raise subprocess.CalledProcessError(status, command, stderr=said)

    return run


def test_no_job_of_that_name_is_an_answer() -> None:
    """qstat calls it an error; for us it is good news."""
    assert find_marked("x", "abc", answering(1, "jobs do not exist: \nx")) == []


def test_a_master_that_does_not_answer_is_no_answer() -> None:
    """Then it is asked again later."""
    with pytest.raises(subprocess.CalledProcessError):
        find_marked("node", "abc", answering(1, "error: commlib error"))
