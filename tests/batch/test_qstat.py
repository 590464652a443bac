"""Jobs, nodes and queue instances, as Son of Grid Engine 8.1.9 printed them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.qstat import (
    find_submission,
    marked_jobs_of,
    parse_instances,
    suspended,
)
from dask_gridengine.grid_types import NodeId
from tests.clusters import FakeGrid

SUSPENDED = """<?xml version='1.0'?>
<job_info><queue_info>
  <job_list state="running"><JB_job_number>12</JB_job_number><state>Ss</state>
    <tasks>1</tasks></job_list>
  <job_list state="running"><JB_job_number>12</JB_job_number><state>S</state>
    <tasks>3</tasks></job_list>
  <job_list state="running"><JB_job_number>13</JB_job_number><state>s</state>
  </job_list>
</queue_info><job_info></job_info></job_info>
"""


def test_suspended_nodes() -> None:
    """Those of arrays; another job of the user is none of ours."""
    asked = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return SUSPENDED

    assert suspended(run) == {NodeId("12", 1), NodeId("12", 3)}
    assert asked[0][0] == "qstat"


@pytest.mark.parametrize(
    "said", [subprocess.TimeoutExpired("qstat", 10), FileNotFoundError("qstat"), "<cut"]
)
def test_a_grid_that_does_not_tell(said: Exception | str) -> None:
    """That is no answer, rather than none suspended."""

    def run(command: Sequence[str]) -> str:
        if isinstance(said, str):
            return said
        raise said

    assert suspended(run) is None


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


def test_only_jobs_of_the_submission_are_found() -> None:
    """Their names alone prove nothing: another cluster may have the same."""

    def found(submission_id: str, listing: str = LISTING) -> list[str]:
        return find_submission("node", submission_id, lambda command: listing)

    assert found("abc") == ["145"]
    assert found("def") == ["146"]
    assert found("GRIDENGINE_SUBMISSION") == ["145", "146"]
    assert found("ghi") == []
    assert found("abc", "") == []


def answering(status: int, said: str) -> Runner:
    """A qstat that fails with these words."""

    def run(command: Sequence[str]) -> str:
        raise subprocess.CalledProcessError(status, command, stderr=said)

    return run


def test_no_job_of_that_name_is_an_answer() -> None:
    """qstat calls it an error; for us it is good news."""
    assert find_submission("x", "abc", answering(1, "jobs do not exist: \nx")) == []


def test_a_master_that_does_not_answer_is_no_answer() -> None:
    """The search is repeated later."""
    with pytest.raises(subprocess.CalledProcessError):
        find_submission("node", "abc", answering(1, "error: commlib error"))


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


SHOWN = """\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
a.q@node1                      BIP   0/3/8          0.11     lx-amd64      D
      7 0.50000 sleep      root         r     11/30/2026 13:02:04     1 1
---------------------------------------------------------------------------------
a.q@node2                      BIP   2/1/8          0.11     lx-amd64
"""


def test_instances_with_their_slots_and_states() -> None:
    """Jobs below an instance are none; reserved slots are used."""
    first, second = parse_instances(SHOWN)
    assert (first.queue, first.host, first.trouble) == (
        "a.q",
        "node1",
        "closed by a calendar",
    )
    assert (second.slots, second.used, second.trouble) == (8, 3, "")
