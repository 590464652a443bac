"""Walltimes in submit options."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.sge.queue_limits import (
    array_running,
    requested_limit,
    shortest,
)


@pytest.mark.parametrize(
    ("native", "seconds"),
    [
        ("", None),
        ("-q long.q -l gpu=1", None),
        ("-l h_rt=3600", 3600.0),
        ("-l h_rt=1:0:0,gpu=1 -l s_rt=0:50:00", 3000.0),
        ("-l s_rt=90", 90.0),
        ("-soft -l h_rt=60 -hard -l h_rt=120", 120.0),
        ("-l h_rt=INFINITY", None),
    ],
)
def test_the_request_is_read(native: str, seconds: float | None) -> None:
    """The shorter of h_rt and s_rt, in any form; soft requests bind nobody."""
    assert requested_limit(native) == seconds


def test_the_endless_is_no_limit() -> None:
    """INFINITY and NONE are Grid Engine's words for there being none."""
    assert shortest(["INFINITY", "NONE", "UNDEFINED", ""]) is None


@pytest.mark.parametrize(
    ("shown", "most"),
    [
        ("max_unheard 0:5:0\nmax_aj_instances             2000\n", 2000),
        ("max_aj_instances 0\n", None),
        ("max_aj_tasks 3\n", None),
    ],
)
def test_what_runs_of_an_array_is_read(shown: str, most: int | None) -> None:
    """0 is any number; a grid that does not know the limit has none."""
    assert array_running(lambda command: shown) == most


def test_a_mute_grid_has_no_limit() -> None:
    """Then nodes queue, as they would without us."""

    def run(command: Sequence[str]) -> str:
        raise subprocess.CalledProcessError(1, command)

    assert array_running(run) is None
