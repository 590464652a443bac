"""The clock for durations."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dask_gridengine.clock import steady_time

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's clocks")


def test_a_step_of_the_wall_clock_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NTP and administrators set it."""
    before = steady_time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert steady_time() >= before


@linux
def test_suspension_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`time.monotonic` does not count it, the clock since the boot does."""
    before = steady_time()
    real = time.clock_gettime
    clocks = {time.CLOCK_BOOTTIME: 3600.0}
    monkeypatch.setattr(
        time, "clock_gettime", lambda clock: real(clock) + clocks.get(clock, 0.0)
    )
    assert steady_time() >= before + 3600


LAPTOP = """
import sys, time
from pathlib import Path

real, ahead = time.time, 0.0
time.time = lambda: real() + ahead  # before anything is imported that keeps it

import dask
from dask_gridengine import GridEngineCluster
from tests.waiting import wait_until

place = Path(sys.argv[1])
slow = place / "slow.py"
slow.write_text(
    "import pathlib, time\\n"
    "def dask_setup(worker):\\n"
    f"    while not pathlib.Path({str(place / 'go')!r}).exists():\\n"
    "        time.sleep(0.05)\\n"
)
with (
    dask.config.set({"distributed.worker.preload": [str(slow)]}),
    GridEngineCluster(
        jobs=2,
        launcher="process",
        slots=2,
        max_importing=1,
        shared_directory=place,
        quiet=True,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
    ) as cluster,
):
    states = lambda: sorted(row.state.value for row in cluster.jobs())
    wait_until(lambda: states() == ["arrived", "importing"], "both", 60, states)
    ahead = float(sys.argv[2])
    end = time.monotonic() + 7  # several checks for silent nodes
    wait_until(lambda: time.monotonic() > end, "a while", 20)
    assert states() == ["arrived", "importing"], (states(), cluster.explain())
    (place / "go").touch()
    cluster.wait_for_workers(2, timeout=60)
    assert states() == ["working", "working"], cluster.explain()
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("step", [700, -700])
def test_a_step_of_the_wall_clock_costs_no_node(tmp_path: Path, step: float) -> None:
    """No node counts as silent, none is cancelled, and no host is excluded."""
    ended = subprocess.run(
        [sys.executable, "-c", LAPTOP, str(tmp_path), str(step)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
