"""The request for a node, and its command, run by a shell."""

from __future__ import annotations

import os
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
    python: Path, connection_file: Path, logs: Path, **given: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a launcher does."""
    identity = {"JOB_ID": "3", "SGE_TASK_ID": "17"}
    options = Options.resolve({"python": python, **given})
    return subprocess.run(
        command(options, connection_file, logs, GRID.log_name),
        env={"PATH": os.environ["PATH"], **identity, "HOSTNAME": "node7"},
        capture_output=True,
        timeout=20,
        check=False,
    )


@given(weird, weird)
@settings(max_examples=40, deadline=None)
def test_any_path_reaches_python_whole(one: str, other: str) -> None:
    """With blanks, quotes, dollars and newlines. The log begins with the host."""
    with node_files(one, other) as (python, connection_file, logs):
        done = run(python, connection_file, logs)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        words = (logs / "3.17.log").read_bytes().split(b"\0")[:-1]
        expected = ["on node7:\n-m", "dask_gridengine.node", str(connection_file)]
        assert words == [os.fsencode(word) for word in expected]


def printed(log: bytes) -> bytes:
    """Remove the host, and the lines that announce a line of the prologue."""
    _, *lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"prologue: "))


@pytest.mark.parametrize(
    ("prologue", "output"),
    [
        (["export A='a  b'", 'echo "$A"', "echo oops >&2"], b"a  b\noops\n"),
        (
            [
                "if true  # a comment; with 'quotes\"",
                "then echo one",
                "fi",
                "cat <<END\ntwo\nEND",
                "# a comment at the end",
            ],
            b"one\ntwo\n",
        ),
    ],
)
def test_the_prologue_is_any_shell_text_and_runs_first(
    prologue: list[str], output: bytes
) -> None:
    """Blocks, comments and here-documents; it changes the node's environment."""
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=prologue)
        log = (logs / "3.17.log").read_bytes()
    assert printed(log).startswith(output + b"-m\0")


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
    with pytest.raises(OptionError, match="parallel environment"):
        request(Options.resolve({"cores": 2}), ("/bin/true",), "drmaa", GRID)
