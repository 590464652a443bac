"""The old library's examples on a real cell, as docs/migrating.md quotes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grid.conftest import Cell
from tests.gridengine.test_example import quoted
from tests.waiting import wait_until

pytestmark = pytest.mark.grid


def run(grid: Cell, shared: Path, *command: str) -> str:
    """Run a new Python on the cell, with jobs in the queue; return what it prints."""
    running = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=shared.parent,
        env={**os.environ, "DASK_GRIDENGINE__SHARED_DIRECTORY": str(shared)},
    )
    wait_until(grid.qstat, "a job in the queue", 30)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    wait_until(lambda: grid.qstat() == "", "an empty queue", 10, grid.qstat)
    return output


def test_the_old_readme_example_runs_on_the_grid(
    grid: Cell, shared: Path, tmp_path: Path
) -> None:
    """It is unchanged, and its best available scheduler is that of the grid."""
    script = tmp_path / "script.py"
    script.write_text(quoted("the old README's example") + "\nprint(y)\n")
    output = run(grid, shared, str(script))
    assert output.splitlines()[-1] == "[1, 4, 9, 16, 25]"
    assert "local processes" not in output


def test_the_old_example_runs_on_the_grid(
    grid: Cell, shared: Path, tmp_path: Path
) -> None:
    """It is unchanged, and its last part runs on Grid Engine."""
    script = tmp_path / "script.py"
    script.write_text(quoted("the old example.py"))
    output = run(grid, shared, str(script))
    roots = "y = [1.0, 1.4142135623730951, 1.7320508075688772, 2.0, 2.23606797749979]"
    assert output.count(roots) == 2
    assert "local processes" not in output


def test_our_example_names_the_hosts(grid: Cell, shared: Path) -> None:
    """It shows that its last items were run on the cell's hosts."""
    output = run(grid, shared, "-m", "gridengine.example")
    last = output.rpartition("GridEngineScheduler")[2]
    assert any(f"on {host}" in last for host in grid.hosts)


def test_jobs_run_and_end_on_the_grid(grid: Cell, shared: Path) -> None:
    """A job sends messages, is terminated on its node, and another one runs there."""
    code = (
        "import gridengine, socket, time\n"
        "def tell(controller):\n"
        "    controller.send(socket.gethostname())\n"
        "    time.sleep(600)\n"
        "with gridengine.GridEngineScheduler(options={'launcher': 'drmaa'}) as grid:\n"
        "    job = gridengine.Job(target=tell, scheduler=grid)\n"
        "    job.start()\n"
        "    print(job.recv(60))\n"
        "    job.terminate()\n"
        "    job.join(30)\n"
        "    print(job.exitcode)\n"
        "    dispatcher = gridengine.JobDispatcher(grid)\n"
        "    dispatcher.dispatch([gridengine.Job(target=abs, args=(-i,))"
        " for i in range(3)])\n"
        "    print(dispatcher.join(60))\n"
    )
    host, exitcode, results = run(grid, shared, "-c", code).splitlines()
    assert host in grid.hosts
    assert (exitcode, results) == ("-15", "[0, 1, 2]")


def test_a_second_scheduler_gets_the_nodes_that_are_idle(
    grid: Cell, shared: Path
) -> None:
    """The first one holds the whole cell, with nothing to do."""
    code = (
        "import gridengine, time\n"
        "options = {'launcher': 'drmaa', 'quiet': True, 'cores': 8,"
        " 'parallel_environment': 'smp'}\n"
        "first = gridengine.GridEngineScheduler(options=options)\n"
        "first.client\n"
        "first.cluster.scale(jobs=6)\n"
        "while {*first.cluster.counts} != {'working', 'queued'}:\n"
        "    time.sleep(0.1)\n"
        "gridengine.map(abs, range(-9, 0), scheduler=first)\n"
        "second = gridengine.GridEngineScheduler(options=options)\n"
        "print(gridengine.map(abs, [-1, -2], scheduler=second))\n"
        "print(first.cluster.wanted)\n"
    )
    found, left = run(grid, shared, "-c", code).splitlines()
    assert found == "[1, 2]"
    assert left == "0"
