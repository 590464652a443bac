"""Why a node ended."""

from __future__ import annotations

import pytest

from dask_gridengine.batch import batch_system
from dask_gridengine.exit_causes import EXIT_STATUS, Cause, Diagnosis


def test_no_status_makes_grid_engine_run_or_park_the_job_again() -> None:
    """99 reruns a job and 100 parks it in Eqw; a node never exits with either."""
    assert not {99, 100} & set(EXIT_STATUS.values())


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.is_failure])
def test_every_failure_says_what_to_do(cause: Cause) -> None:
    """No failure leaves its reader without a next step; some are the grid's to say."""
    told = batch_system("gridengine").with_advice(Diagnosis(cause=cause))
    sentence = told.sentence("node 3.1", "3")
    assert "what to do: " in sentence
    assert "{" not in sentence


def test_what_is_wanted_is_no_failure() -> None:
    """Nothing that somebody did on purpose is told as if it were wrong."""
    assert not any(cause.is_failure for cause in Cause if cause.on_purpose)


def test_only_failures_can_be_a_hosts_fault() -> None:
    """A host is not shut for what a limit, a user or the network did."""
    failed_hosts = {cause for cause in Cause if cause.may_be_the_host}
    assert all(cause.is_failure for cause in failed_hosts)
    assert Cause.NO_PYTHON in failed_hosts
    assert not failed_hosts & {
        Cause.MEMORY,
        Cause.WALLTIME,
        Cause.DELETED,
        Cause.REJECTED,
    }


def test_a_sentence_knows_one_from_many() -> None:
    """One node was, two were."""
    diagnosis = Diagnosis(cause=Cause.DELETED)
    assert diagnosis.sentence("node 3.1") == "node 3.1 was deleted"
    assert diagnosis.sentence("2 nodes", many=True) == "2 nodes were deleted"


def test_an_exact_advice_replaces_the_general_one() -> None:
    """A number to type is worth more than a hint."""
    told = Diagnosis(cause=Cause.MEMORY, advice="ask for memory='12 GB'").sentence("it")
    assert told.endswith("what to do: ask for memory='12 GB'")
