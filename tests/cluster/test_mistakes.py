"""Messages about mistakes of users, and about limits of their machines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.errors import OptionError


@pytest.mark.parametrize(
    "mistake",
    [
        {"quue": "x"},
        {"jobs": "5"},
        {"memory": "2 QB"},
        {"walltime": "1h30"},
        {"cores": 2, "processes": 4},
        {"launcher": "lsf"},
        {"log_directory": "/proc/none"},
        {"interface": "none0"},
        {"queue": "a.q b.q"},
        {"job_extra_directives": ["-wd /tmp"]},
        {"scheduler_options": {"nope": 1}},
    ],
    ids=str,
)
def test_a_mistake_ends_in_the_users_own_line(
    mistake: dict[str, Any], shared: Path
) -> None:
    """The traceback has three frames at most, and the message names the option."""
    options = {"shared_directory": shared, "launcher": "process", **mistake}
    with pytest.raises(OptionError, match=next(reversed(mistake))) as caught:
        GridEngineCluster(**options, quiet=True)
    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 3
    assert caught.value.__cause__ is None
    assert len(str(caught.value).splitlines()) <= 5
    assert list(shared.iterdir()) == []


async def test_a_mistake_is_as_short_with_await(shared: Path) -> None:
    """Also where an event loop runs, and what is wrong shows at the start only."""
    cluster = GridEngineCluster(
        launcher="process",
        interface="none0",
        shared_directory=shared,
        asynchronous=True,
        quiet=True,
    )
    with pytest.raises(OptionError, match="none0") as caught:
        await cluster
    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 3


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )


START = """
import os, resource, sys
from dask_gridengine import GridEngineCluster
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
cluster = GridEngineCluster(
    name="mine", launcher="process", shared_directory=sys.argv[1], quiet=True,
    scheduler_options={"dashboard": False},
)
"""

FORK = """
calls = {
    "explain": cluster.explain, "jobs": cluster.jobs,
    "scale": lambda: cluster.scale(1), "adapt": lambda: cluster.adapt(maximum=2),
    "wait": lambda: cluster.wait_for_workers(1), "logs": cluster.get_logs,
}
if os.fork() == 0:
    for name, call in calls.items():
        try:
            call()
        except RuntimeError as exc:
            print(name, exc, flush=True)
    os._exit(0)
os.wait()
cluster.close()
"""


def test_a_fork_gets_an_error_from_each_call(shared: Path) -> None:
    """It has none of the cluster's threads, so no call may wait for them (D9)."""
    output = run(START + FORK, str(shared), "512").stdout
    for name in ("explain", "jobs", "scale", "adapt", "wait", "logs"):
        assert f"{name} mine belongs to another process" in output
    assert output.count("fork") >= 6


def test_too_few_open_files_are_named(shared: Path) -> None:
    """Not by a traceback for each connection (D9)."""
    ended = run(START, str(shared), "20")
    assert ended.returncode == 1
    assert "20" in ended.stderr
    assert "ulimit" in ended.stderr.splitlines()[-1]
    assert list(shared.iterdir()) == []


def test_tasks_find_the_programs_of_their_python(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a shell that has activated its environment (D12)."""
    monkeypatch.setenv("PATH", os.defpath)
    with (
        GridEngineCluster(jobs=1, **options) as cluster,
        Client(cluster) as client,
    ):
        found = client.submit(shutil.which, "dask").result(timeout=60)
        pools = client.submit(os.getenv, "NUMBA_NUM_THREADS").result(timeout=60)
    assert found == str(Path(sys.executable).with_name("dask"))
    assert pools == "1"
