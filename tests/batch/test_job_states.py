"""States of nodes, as qstat lists them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.sge.job_states import suspended
from dask_gridengine.grid_types import NodeId

LISTED = """<?xml version='1.0'?>
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
        return LISTED

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
