"""Which batch system is chosen, and what holds for all of them."""

from __future__ import annotations

import os
import subprocess

import pytest

from dask_gridengine.batch import NAMES, batch_system, batch_system_of
from dask_gridengine.batch.base import ORDINAL, SUBMISSION, ResourceRequest
from dask_gridengine.batch.job_environment import read_job_environment
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.errors import ArrayTooLarge, GridFull, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId

#: What a job of each grid finds in its environment.
FOUND = {
    "gridengine": {"JOB_ID": "12", "SGE_TASK_ID": "3"},
    "slurm": {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"},
    "plain": {SUBMISSION: "12", ORDINAL: "3"},
}


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("SGE 8.1.9", "gridengine"),
        ("SGE 6.2u5", "gridengine"),
        ("GE 6.2u5", "gridengine"),
        ("OGE 6.2u7", "gridengine"),
        ("UGE 8.6.15", "gridengine"),
        ("AGE 2023.1.0", "gridengine"),
        ("Univa Grid Engine 8.5", "gridengine"),
        ("OCS 9.0.2", "gridengine"),
        ("SLURM 22.05.8", "slurm"),
        ("SLURM", "slurm"),
        ("PBS Professional 13", "plain"),
        ("IBM Spectrum LSF 10.1", "plain"),
        ("Condor 8", "plain"),
        ("GEneric", "plain"),
        ("", "plain"),
    ],
)
def test_a_grid_is_known_by_its_drms_info(system: str, name: str) -> None:
    """Any other has what DRMAA alone describes."""
    assert batch_system_of(system).name == name


def test_the_environment_may_name_the_batch_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For one that calls itself otherwise; a name that is wrong is an error."""
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", "gridengine")
    assert batch_system_of("Our Own 1.0").name == "gridengine"
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", "pbs")
    with pytest.raises(ValueError, match="'pbs' is not one of gridengine, slurm"):
        batch_system_of("SGE 8.1.9")


@pytest.mark.parametrize("name", NAMES)
def test_a_node_says_who_it_is_as_drmaa_does(name: str) -> None:
    """The id from its environment is the one the grid has told us."""
    grid = batch_system(name)
    assert grid.name == name
    found = read_job_environment(name, FOUND[name])
    job, index = found.job, found.index
    if grid.arrays:
        assert grid.parse_job_id(grid.format_job_id(NodeId(job, index))) == NodeId(
            "12", 3
        )
    else:
        assert (job, index) == ("", 3)
        assert (
            grid.format_job_id(grid.parse_job_id("any.thing_7[1]")) == "any.thing_7[1]"
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_finds_the_name_of_the_log(name: str) -> None:
    """It is the job's id and its index, as the cluster looks for it."""
    script = f'echo "{batch_system(name).log_name}"'
    ran = subprocess.run(
        ["/bin/sh", "-c", script],
        env=FOUND[name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "12.3\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("script", ['a=1\necho "it\'s $a"', "echo '\\0' \"`echo x`\""])
def test_a_command_arrives_whole(name: str, script: str) -> None:
    """Each word in one line, and where arguments are put in quotes, without any."""
    command = ("/bin/sh", "-c", script)
    wrapped, _ = batch_system(name).wrap_command(command, {})
    assert not any("\n" in word for word in wrapped)
    words = list(wrapped)
    if name != "gridengine":
        assert not any("'" in word for word in words)
        # As Slurm has it: the job is a script of this line.
        line = " ".join([words[0], *(f"'{word}'" for word in words[1:])])
        words = ["/bin/bash", "-c", line]
    plain, ran = (
        subprocess.run(argv, capture_output=True, env={"PATH": os.environ["PATH"]})
        for argv in (command, words)
    )
    assert (ran.stdout, ran.returncode) == (plain.stdout, plain.returncode)


@pytest.mark.parametrize("name", NAMES)
def test_own_submit_options_come_last(name: str) -> None:
    """So that they win, and nothing of them is lost."""
    resource_request = ResourceRequest(extra_directives=["-R y", "--extra=1"])
    assert (
        batch_system(name).submit_options(resource_request).endswith("-R y --extra=1")
    )


def test_what_a_grid_cannot_be_asked_for_is_named() -> None:
    """An unknown one gets only the user's own submit options."""
    resource_request = ResourceRequest(queue="long", walltime=60, slots=2, memory=10**9)
    assert batch_system("plain").unsupported_options(resource_request) == [
        "queue",
        "walltime",
        "cores",
    ]
    assert batch_system("gridengine").unsupported_options(resource_request) == []
    assert batch_system("slurm").unsupported_options(resource_request) == []


@pytest.mark.parametrize("name", NAMES)
def test_its_words_name_its_commands(name: str) -> None:
    """Nobody is sent to qacct where there is none; what is more exact stays."""
    grid = batch_system(name)
    told = grid.with_advice(Diagnosis(cause=Cause.UNKNOWN)).sentence("node 12.3", "12")
    assert ("qacct -j 12" in told) == (name == "gridengine")
    exact = Diagnosis(cause=Cause.UNKNOWN, advice="do this")
    assert grid.with_advice(exact) == exact
    deleted = grid.with_advice(Diagnosis(cause=Cause.DELETED)).sentence("it")
    assert deleted == f"it was deleted: {grid.deletion}"


GRID = GridEngine()


def test_an_array_that_is_too_large_is_told_by_its_words() -> None:
    """As Son of Grid Engine 8.1.9 says it; with what may be."""
    error = GRID.submit_error("you tried to submit a job with more than 3 tasks", 8, "")
    assert isinstance(error, ArrayTooLarge)
    assert error.limit == 3


def test_a_full_grid_is_told_by_its_words() -> None:
    """The same may go through later."""
    full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
    assert isinstance(GRID.submit_error(full, 8, ""), GridFull)


def test_a_refusal_says_how_to_check() -> None:
    """With the very options; local processes have none."""
    error = GRID.submit_error("unknown queue", 7, "-q nowhere")
    assert type(error) is SubmitError
    assert "qsub -w v -t 1-7 -q nowhere -b y /bin/true" in str(error)
    assert "qsub" not in str(GRID.submit_error("no", 7, None))
