"""Grid Engine's refusals; most of its dialect has test files of its own."""

from __future__ import annotations

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.errors import ArrayTooLarge, GridFull, SubmitError

GRID = GridEngine()


def test_an_array_that_is_too_large_is_told_by_its_words() -> None:
    """As Son of Grid Engine 8.1.9 says it; with what may be."""
    error = GRID.refusal("you tried to submit a job with more than 3 tasks", 8, "")
    assert isinstance(error, ArrayTooLarge)
    assert error.limit == 3


def test_a_full_grid_is_told_by_its_words() -> None:
    """The same may go through later."""
    full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
    assert isinstance(GRID.refusal(full, 8, ""), GridFull)


def test_a_refusal_says_how_to_check() -> None:
    """With the very options; local processes have none."""
    error = GRID.refusal("unknown queue", 7, "-q nowhere")
    assert type(error) is SubmitError
    assert "qsub -w v -t 1-7 -q nowhere -b y /bin/true" in str(error)
    assert "qsub" not in str(GRID.refusal("no", 7, None))
