"""The request for a node, and its command, run by a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_gridengine.batch import batch_system
from dask_gridengine.errors import OptionError
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.nodes.job_request import command, request
from dask_gridengine.options import Options

GRID = batch_system("gridengine")
# A node's interpreter: prints its arguments.
FAKE_PYTHON = '#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n'

#: Any name a directory can have.
weird = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
    | st.sampled_from(" '\"$`\\\n*!&;()~#"),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", ".."))


@contextmanager
def node_files(*names: str) -> Iterator[tuple[Path, Path, Path]]:
    """A Python, a connection file and a log directory below folders of these names."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for name in names:
            folder /= name
        (folder / "logs").mkdir(parents=True)
        python = folder / "python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o700)
        yield python, folder / "connection.json", folder / "logs"


def run(
    python: Path, connection_file: Path, logs: Path, host: str = "", **given: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a launcher does."""
    identity = {"JOB_ID": "3", "SGE_TASK_ID": "17"}
    options = Options.resolve({"python": python, **given})
    return subprocess.run(
        command(options, connection_file, logs, GRID.log_name),
        env={"PATH": os.environ["PATH"], **identity, "HOSTNAME": host},
        capture_output=True,
        timeout=20,
        check=False,
    )


@given(weird, weird)
@settings(max_examples=40, deadline=None)
def test_any_path_reaches_python_whole(one: str, other: str) -> None:
    """With blanks, quotes, dollars and newlines."""
    with node_files(one, other) as (python, connection_file, logs):
        done = run(python, connection_file, logs)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        words = (logs / "3.17.log").read_bytes().split(b"\0")[:-1]
        expected = ["-m", "dask_gridengine.node", str(connection_file)]
        assert words == [os.fsencode(word) for word in expected]


def printed(log: bytes) -> bytes:
    """Remove the lines that announce a line of the prologue."""
    lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"prologue: "))


def test_the_prologue_runs_first_and_changes_the_environment() -> None:
    """`module load python` and `export` work as they do in a shell's script."""
    prologue = ["export GREETING='a  b'", 'echo "$GREETING"', "echo oops >&2"]
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=prologue)
        log = (logs / "3.17.log").read_bytes()
    assert printed(log).startswith(b"a  b\noops\n-m\0")


def test_a_prologue_may_be_any_shell_text() -> None:
    """Comments, blocks over several lines and here-documents."""
    prologue = [
        "if true  # a comment; with 'quotes\"",
        "then echo one",
        "fi",
        "cat <<END\ntwo\nEND",
        "# a comment at the end",
    ]
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=prologue)
        log = (logs / "3.17.log").read_bytes()
    assert printed(log).startswith(b"one\ntwo\n-m\0")


@given(weird)
@settings(max_examples=40, deadline=None)
def test_the_prologue_keeps_all_characters(text: str) -> None:
    """Also backslashes and percent signs."""
    line = f"printf '%s\\0' {shlex.quote(text)}"
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=[line])
        log = (logs / "3.17.log").read_bytes()
    assert os.fsencode(text) + b"\0-m\0" in log


@pytest.mark.parametrize(("host", "first"), [("node7", "on node7:\n"), ("", "one\n")])
def test_a_log_begins_with_its_host(host: str, first: str) -> None:
    """If the grid names it: also that of a node without a hello is known then."""
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, host, job_script_prologue=["echo one"])
        log = (logs / "3.17.log").read_bytes()
    assert printed(log).startswith(first.encode())


def test_no_log_directory_is_a_status_of_its_own() -> None:
    """The grid would put such a job into Eqw for ever; the shell ends."""
    with node_files("x") as (python, connection_file, logs):
        logs.rmdir()
        done = run(python, connection_file, logs)
    assert done.returncode == EXIT_STATUS[Cause.NO_LOG] == 73
    assert done.stdout == b""


def test_a_missing_python_is_in_the_log() -> None:
    """With the shell's status and message."""
    with node_files("x") as (python, connection_file, logs):
        python.unlink()
        done = run(python, connection_file, logs)
        last = (logs / "3.17.log").read_text().splitlines()[-1]
    assert done.returncode == EXIT_STATUS[Cause.NO_PYTHON] == 127
    assert str(python) in last
    assert "not found" in last


def test_a_request_has_all_resources(tmp_path: Path) -> None:
    """As submit options for Grid Engine, and as numbers for local processes."""
    options = Options.resolve(
        {
            "name": "dask-x",
            "cores": 2,
            "memory": "2 GiB",
            "memory_resource": "h_vmem",
            "walltime": 60,
            "project": 1234,
            "parallel_environment": "smp",
        }
    )
    asked = request(options, ("/bin/true",), "drmaa", GRID)
    assert asked.native == "-P 1234 -l h_rt=60,h_vmem=1073741824 -pe smp 2"
    assert (asked.name, asked.slots, asked.walltime) == ("dask-x", 2, 60)
    assert asked.environment["PYTHONHASHSEED"] == "6640"
    assert request(options, ("/bin/true",), "process", GRID).native == ""


def test_cores_without_a_parallel_environment_are_refused_by_the_grid_only() -> None:
    """Local processes need none; Grid Engine would scatter the slots."""
    options = Options.resolve({"cores": 2})
    assert request(options, ("/bin/true",), "process", GRID).slots == 2
    with pytest.raises(OptionError, match="parallel environment"):
        request(options, ("/bin/true",), "drmaa", GRID)
