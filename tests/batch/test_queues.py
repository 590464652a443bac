"""What a queue limits all its jobs to, as qconf says."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.sge.queues import queue_limit

SHOWN = """qname                 long.q
notify                00:00:60
s_rt                  INFINITY
h_rt                  {h_rt}
h_cpu                 0:0:1
"""


@pytest.mark.parametrize(
    ("h_rt", "seconds"),
    [
        ("INFINITY", None),
        ("24:00:00", 86400.0),
        ("90", 90.0),
        ("INFINITY,[node1=1:00:00]", 3600.0),
        ("2:0:0,[node1=1:0:0], \\\n                      [@slow=90]", 90.0),
    ],
)
def test_the_shortest_limit_of_any_host_counts(
    h_rt: str, seconds: float | None
) -> None:
    """To leave early costs less than to be killed; other limits are not times."""
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return SHOWN.format(h_rt=h_rt)

    assert queue_limit("long.q", run) == seconds
    assert asked == [["qconf", "-sq", "long.q"]]


@pytest.mark.parametrize(
    "trouble",
    [FileNotFoundError("qconf"), subprocess.CalledProcessError(1, "qconf")],
)
def test_a_mute_grid_limits_nothing(trouble: Exception) -> None:
    """Where qconf is not there, or may not be asked, only the request counts."""

    def run(command: Sequence[str]) -> str:
        raise trouble

    assert queue_limit("all.q", run) is None
