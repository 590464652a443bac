"""Finding jobs by their mark; a qstat that answers is on the cell only.

See ``tests/grid/test_drmaa_launcher.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine.launchers.drmaa_library import Failed, Unreachable
from dask_gridengine.launchers.drmaa_marks import find_marked, marked_jobs

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


def qstat(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory / "qstat"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


def test_only_jobs_with_the_mark_are_found() -> None:
    """Their names alone prove nothing: another cluster may have the same."""
    assert marked_jobs(LISTING, "abc") == ["145"]
    assert marked_jobs(LISTING, "def") == ["146"]
    assert marked_jobs(LISTING, "GRIDENGINE_SUBMISSION") == ["145", "146"]
    assert marked_jobs(LISTING, "ghi") == []
    assert marked_jobs("", "abc") == []


def test_no_job_of_that_name_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """qstat calls it an error; for us it is good news."""
    script = 'echo "Following jobs do not exist: \n$2" >&2; exit 1'
    qstat(tmp_path, script, monkeypatch)
    assert find_marked("node", "abc") == []


def test_a_master_that_does_not_answer_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is asked again later."""
    qstat(tmp_path, "echo error: commlib error >&2; exit 1", monkeypatch)
    with pytest.raises(Unreachable, match="commlib error"):
        find_marked("node", "abc")


def test_without_qstat_there_will_be_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match=r"cannot look for lost submissions: .*qstat"):
        find_marked("node", "abc")
