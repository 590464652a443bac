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
from tests.batch.commands import Commands

#: Environment of a job of each.
ENVIRONMENTS = {
    "gridengine": {"JOB_ID": "12", "SGE_TASK_ID": "3"},
    "slurm": {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"},
    "plain": {SUBMISSION: "12", ORDINAL: "3"},
}
every_system = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(
    ("drms_info", "name"),
    [
        ("SGE 8.1.9", "gridengine"),
        ("GE 6.2u5", "gridengine"),
        ("UGE 8.6.15", "gridengine"),
        ("Univa Grid Engine 8.5", "gridengine"),
        ("OCS 9.2.0prealpha", "gridengine"),
        ("GCS 9.1.0", "gridengine"),
        ("SLURM 22.05.8", "slurm"),
        ("PBS Professional 13", "plain"),
        ("GEneric", "plain"),
        ("", "plain"),
    ],
)
def test_a_batch_system_is_recognised_by_its_drms_info(
    drms_info: str, name: str
) -> None:
    """Any other has what DRMAA alone describes."""
    assert batch_system_of(drms_info, Commands()).name == name


def test_grid_engine_is_recognised_by_its_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SGE_ROOT and a qconf that works; neither alone is enough."""
    works = Commands(qconf_sh="node1\n")
    assert batch_system_of("New 1.0", works).name == "plain"
    monkeypatch.setenv("SGE_ROOT", "/opt/new")
    assert batch_system_of("New 1.0", works).name == "gridengine"
    assert batch_system_of("New 1.0", Commands()).name == "plain"
    assert batch_system_of("SLURM 22.05.8", works).name == "slurm"


def test_the_environment_may_name_the_batch_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For one that is not recognised; a wrong name is an error."""
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", "gridengine")
    assert batch_system_of("Our Own 1.0", Commands()).name == "gridengine"
    monkeypatch.setenv("GRIDENGINE_BATCH_SYSTEM", "pbs")
    with pytest.raises(ValueError, match="'pbs'"):
        batch_system_of("SGE 8.1.9", Commands())


@every_system
def test_a_node_has_the_same_id_for_itself_and_for_drmaa(name: str) -> None:
    """A node of an unknown batch system has a number instead."""
    system = batch_system(name)
    assert system.name == name
    job = read_job_environment(name, ENVIRONMENTS[name])
    if system.arrays:
        job_id = system.format_job_id(NodeId("12", 3))
        assert system.parse_job_id(job_id) == (job["job"], job["index"]) == ("12", 3)
        assert name != "gridengine" or system.parse_job_id("12.3.1") == ("12", 3)
    else:
        assert (job["job"], job["index"]) == ("", 3)
        assert system.format_job_id(system.parse_job_id("any_7[1]")) == "any_7[1]"


@every_system
@pytest.mark.parametrize("script", ['a=1\necho "it\'s $a"', "echo '\\0' \"`echo x`\""])
def test_a_command_is_delivered_unchanged(name: str, script: str) -> None:
    """Each argument is one line; where arguments are quoted, it contains no quote."""
    command = ("/bin/sh", "-c", script)
    wrapped, _ = batch_system(name).wrap_command(command, {})
    assert not any("\n" in word for word in wrapped)
    words = list(wrapped)
    if name != "gridengine":
        assert not any("'" in word for word in words)
        # As slurm-drmaa writes the job's script.
        line = " ".join([words[0], *(f"'{word}'" for word in words[1:])])
        words = ["/bin/bash", "-c", line]
    plain, ran = (
        subprocess.run(argv, capture_output=True, env={"PATH": os.environ["PATH"]})
        for argv in (command, words)
    )
    assert (ran.stdout, ran.returncode) == (plain.stdout, plain.returncode)


def test_options_that_a_batch_system_does_not_support_are_listed() -> None:
    """An unknown one gets only the user's own submit options."""
    request = ResourceRequest(queue="long", walltime=60, slots=2, resource_spec="gpu=1")
    unsupported = {
        name: batch_system(name).unsupported_options(request) for name in NAMES
    }
    assert unsupported == {
        "gridengine": [],
        "slurm": ["resource_spec"],
        "plain": ["queue", "resource_spec", "walltime", "cores"],
    }


@every_system
def test_advice_names_the_commands_of_the_batch_system(name: str) -> None:
    """More exact advice is kept."""
    system = batch_system(name)
    advised = system.with_advice(Diagnosis(cause=Cause.UNKNOWN)).sentence("it", "12")
    assert ("qacct -j 12" in advised) == (name == "gridengine")
    exact = Diagnosis(cause=Cause.UNKNOWN, advice="do this")
    assert system.with_advice(exact) == exact
    deleted = system.with_advice(Diagnosis(cause=Cause.DELETED)).sentence("it")
    assert deleted == f"it was deleted: {system.deletion}"


@every_system
@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("none here"),
        subprocess.CalledProcessError(1, "any"),
        subprocess.TimeoutExpired("any", 10),
    ],
)
def test_a_command_that_fails_answers_nothing(name: str, error: Exception) -> None:
    """None is neither an empty set nor a limit of 0."""
    run, system = Commands(), batch_system(name)
    run.answers[""] = error
    assert system.hosts("-q a.q", run) is None
    assert system.queue_limit("a.q", run) is None
    assert system.array_running(run) is None
    assert system.report("7", "", run) is None
    assert system.suspended(run) is None


def test_grid_engines_rejections_have_types() -> None:
    """By messages of different Grid Engines, with the command that verifies."""
    reject = GridEngine().submit_error
    large = reject("you tried to submit a job with more than 3 tasks", 8, "")
    assert isinstance(large, ArrayTooLarge)
    assert large.limit == 3
    for only in ("only", "Only"):
        full = (
            f"job rejected: {only} 1 jobs are allowed per user (current job count: 1)"
        )
        assert isinstance(reject(full, 8, ""), GridFull)
    error = reject("unknown queue", 7, "-q nowhere")
    assert type(error) is SubmitError
    assert error.check == "qsub -w v -t 1-7 -q nowhere -b y /bin/true"
    assert reject("no", 7, None).check == ""  # local processes
