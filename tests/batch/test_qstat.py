"""Jobs, nodes and queue instances, as Son of Grid Engine 8.1.9 printed them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dask_gridengine.batch.sge.qstat import (
    delete_jobs,
    delete_tasks,
    find_submission,
    instances,
    marked_jobs_of,
    suspended,
)
from dask_gridengine.grid_types import NodeId
from tests.batch import commands
from tests.batch.commands import Commands, printing
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
JOBS = """\
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
MIXED_JOBS = """\
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


def failing(stderr: str, stdout: str = "") -> subprocess.CalledProcessError:
    return subprocess.CalledProcessError(1, "qstat", stdout, stderr)


def test_suspended_nodes_are_tasks_of_arrays() -> None:
    """Other jobs of the user are not nodes; a listing that is cut tells nothing."""
    assert suspended(printing(SUSPENDED)) == {NodeId("12", 1), NodeId("12", 3)}
    assert suspended(printing("<cut")) is None


@pytest.mark.parametrize(
    "text",
    [
        "Following jobs do not exist or permissions are not sufficient: \nnode",
        "Following jobs do not exist: 7, 8",
    ],
)
def test_no_job_has_that_name(text: str) -> None:
    """By the messages of different Grid Engines; another error is raised."""
    assert find_submission("node", "abc", Commands(qstat_j=failing(text))) == []
    with pytest.raises(subprocess.CalledProcessError):
        find_submission("node", "abc", Commands(qstat_j=failing("error: commlib")))


@pytest.mark.parametrize(
    ("submission_id", "jobs"),
    [("abc", ["145"]), ("def", ["146"]), ("GRIDENGINE", ["145", "146"]), ("ghi", [])],
)
def test_jobs_are_found_by_their_submission_id(
    submission_id: str, jobs: list[str]
) -> None:
    """Another cluster may have the same name."""
    run = Commands(**{"qstat_j node": JOBS})
    assert find_submission("node", submission_id, run) == jobs


def test_a_clusters_job_is_found_with_its_states(tmp_path: Path) -> None:
    """By owner and environment; queued tasks are counted from their ranges."""
    grid = FakeGrid({"7": tmp_path / "mine-a", "8": tmp_path / "mine-b"}, "ann")
    first, second = marked_jobs_of("ann", grid)
    assert (first.id, first.directory) == ("7", tmp_path / "mine-a")
    assert first.states == {"qw": 3}
    assert first.submitted == "Wed Nov 25 08:30:17 2026"
    assert second.id == "8"


def test_other_jobs_are_not_found() -> None:
    """Neither a job without our variables nor one of another user."""
    rows = "".join(
        f"<job_list><JB_job_number>{job}</JB_job_number><state>r</state></job_list>"
        for job in (9, 10, 11)
    )
    run = Commands(qstat_u=f"<a>{rows}</a>", **{"qstat_j 9,10,11": MIXED_JOBS})
    (found,) = marked_jobs_of("ann", run)
    assert (found.id, found.states) == ("9", {"r": 1})
    # Its command is encoded, and its path has a blank, a quote and a comma.
    assert found.directory == Path("/tmp/a b',/mine-4ec")


def test_a_job_that_ends_meanwhile_hides_no_other(tmp_path: Path) -> None:
    """qstat fails for the job it does not know, and prints the others first."""
    grid = FakeGrid({"7": tmp_path / "mine-a"}, "ann")
    gone = "Following jobs do not exist or permissions are not sufficient: \n8"
    run = Commands(
        qstat_u=grid(["qstat", "-u", "ann", "-xml"]),
        qstat_j=failing(gone, grid(["qstat", "-j", "7"])),
    )
    assert [job.id for job in marked_jobs_of("ann", run)] == ["7"]


def test_queue_instances_have_slots_and_states() -> None:
    """Jobs below an instance are ignored; a failed command lists none."""
    first, second = instances(printing(commands.instances(node1="D", node2="")))
    assert (first.queue, first.host) == ("a.q", "node1")
    assert (first.slots, first.used) == (8, 3)
    assert first.trouble == "closed by a calendar"
    assert second.trouble == ""
    assert instances(printing("error: commlib error")) == instances(Commands()) == []


def test_deleting_what_is_gone_is_no_error(tmp_path: Path) -> None:
    """The next job is deleted; another error is raised."""
    grid = FakeGrid({"8": tmp_path / "mine"}, "ann")
    delete_jobs(["7", "8"], grid)
    assert (grid.deleted, grid.jobs) == (["7", "8"], {})

    def denied(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command, "", "denied: not your job")

    with pytest.raises(subprocess.CalledProcessError):
        delete_jobs(["9"], denied)


@pytest.mark.parametrize(
    "gone",
    [
        'denied: job "9" does not exist',
        'job "9" task id range "10-20:1" comprises no tasks',
        "The job 9 of user(s) ann does not exist",
    ],
)
def test_tasks_that_are_gone_are_ignored(gone: str) -> None:
    """By the messages of different Grid Engines; another error is raised."""
    commands = []

    def failing(command: list[str]) -> str:
        commands.append(command)
        raise subprocess.CalledProcessError(1, command, f"{gone}\n", "")

    delete_tasks("9", 10, 20, failing)
    assert commands == [["qdel", "9", "-t", "10-20"]]
    gone = "denied: not your job"
    with pytest.raises(subprocess.CalledProcessError):
        delete_tasks("9", 10, 20, failing)
