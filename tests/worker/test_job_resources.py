"""What a node reports of itself, in processes with real limits."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

import dask_gridengine
from dask_gridengine.worker import job_resources

CODE = """
import json, sys
from dask_gridengine.worker import job_resources
json.dump(vars(job_resources.hello("gridengine")), sys.stdout)
"""


def describe(
    limits: dict[int, int] | None = None, **environment: str
) -> dict[str, Any]:
    """The hello of a process with these limits and variables."""
    done = run(limits, **environment)
    assert done.returncode == 0, done.stderr
    hello: dict[str, Any] = json.loads(done.stdout)
    return hello


def run(
    limits: dict[int, int] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE]
    if limits:
        # By prlimit(2) on a shell that then becomes Python: no preexec_fn, no fork.
        command = ["/bin/sh", "-c", 'read go; exec "$0" "$@"', *command]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    ) as process:
        for kind, soft in (limits or {}).items():
            resource.prlimit(process.pid, kind, (soft, resource.RLIM_INFINITY))
        out, err = process.communicate("go\n", timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_a_hello_has_ids_host_and_versions() -> None:
    """And a new token for each process."""
    one = describe(JOB_ID="123", SGE_TASK_ID="7", NSLOTS="4")
    other = describe(JOB_ID="123", SGE_TASK_ID="7", NSLOTS="4")
    assert (one["job"], one["index"], one["slots"]) == ("123", 7, 4)
    assert one["host"] == os.uname().nodename
    assert one["host_cpus"] == os.cpu_count()
    assert one["host_memory"] > 2**20
    assert one["versions"] == job_resources.versions()
    assert one["process_token"] != other["process_token"]


def test_a_node_knows_its_age_without_a_clock() -> None:
    """In seconds since its shell was started."""
    hello = describe(JOB_ID="1", SGE_TASK_ID="1", QUEUE="long.q")
    assert 0 <= hello["age"] < 30
    assert hello["queue"] == "long.q"


@pytest.mark.parametrize(
    ("config", "seconds"),
    [("queue=all.q\nnotify=10\n", 10.0), ("notify=soon\n", 0.0), (None, 0.0)],
)
def test_the_notify_time_is_in_the_job_s_spool(
    tmp_path: Path, config: str | None, seconds: float
) -> None:
    """Son of Grid Engine writes it there; elsewhere it is unknown."""
    if config is not None:
        (tmp_path / "config").write_text(config)
    hello = describe(JOB_ID="1", SGE_TASK_ID="1", SGE_JOB_SPOOL_DIR=str(tmp_path))
    assert hello["notify"] == seconds


@pytest.mark.parametrize(
    ("limits", "memory"),
    [
        ({resource.RLIMIT_AS: 2**32}, 2**32),
        ({resource.RLIMIT_DATA: 2**31}, 2**31),
        ({resource.RLIMIT_AS: 2**32, resource.RLIMIT_DATA: 2**31}, 2**31),
    ],
)
def test_the_grids_limits_are_seen(limits: dict[int, int], memory: int) -> None:
    """A node is killed for h_vmem and h_data; the smaller counts."""
    unlimited = describe(JOB_ID="1", SGE_TASK_ID="1")["memory"]
    seen = describe(limits, JOB_ID="1", SGE_TASK_ID="1")["memory"]
    assert seen == (min(memory, unlimited) if unlimited else memory)


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({"SGE_TASK_ID": "1"}, "KeyError: 'JOB_ID'"),
        ({"JOB_ID": "1"}, "KeyError: 'SGE_TASK_ID'"),
        # Grid Engine's value in a job that is no array.
        ({"JOB_ID": "1", "SGE_TASK_ID": "undefined"}, "ValueError: .*'undefined'"),
    ],
)
def test_a_missing_variable_is_named(environment: dict[str, str], error: str) -> None:
    """When a node is started by hand, or by a plain qsub."""
    done = run(**environment)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(error.partition(":")[0])
    assert error.rpartition("'")[0].rpartition("'")[2] in last


def test_the_first_package_on_the_path_counts(tmp_path: Path) -> None:
    """As in an import, in whatever form it was installed."""
    for place, name in [
        ("first", "dask-1.2.3.egg-info"),
        ("second", "distributed-4.5.6.dist-info"),
        ("third", "distributed-7.8.9.dist-info"),
        ("third", "distributed_extras-0.1.dist-info"),
    ]:
        folder = tmp_path / place / name
        folder.mkdir(parents=True)
        package, _, number = name.partition("-")
        text = f"Name: {package}\nVersion: {number[:5]}\n"
        (folder / "METADATA").write_text(text)
        (folder / "PKG-INFO").write_text(text)
    code = f"""
import sys
from dask_gridengine.worker.job_resources import versions
places = {[str(tmp_path / place) for place in ("first", "second", "third")]}
sys.path[:] = places + [place for place in sys.path if "-packages" not in place]
print(sorted(versions().items()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "('dask', '1.2.3')" in done.stdout, done.stderr
    assert "('distributed', '4.5.6')" in done.stdout


def test_versions_are_those_that_would_be_imported() -> None:
    """Read from the packages' metadata, they are the same and cost no import."""
    versions = job_resources.versions()
    assert versions["dask"] == dask.__version__ == version("dask")
    assert versions["distributed"] == distributed.__version__
    assert versions["dask-gridengine"] == dask_gridengine.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
