"""Options: where they come from, what they may be, and the command they become."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dask_gridengine
from dask_gridengine.causes import EXIT_STATUS, Cause
from dask_gridengine.config import DEFAULTS, Options
from dask_gridengine.dialects import dialect
from dask_gridengine.errors import OptionError
from dask_gridengine.ports import Ports

GRID = dialect("gridengine")
YAML = Path(dask_gridengine.__file__).with_name("gridengine.yaml")
# A node's interpreter: says what it was called with.
FAKE_PYTHON = '#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n'

#: Any name a directory can have.
weird = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
    | st.sampled_from(" '\"$`\\\n*!&;()~#"),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", ".."))


def keys() -> list[str]:
    return list(DEFAULTS["gridengine"])


# Where a setting comes from


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    """Argument, then dask.config.set, then the environment, then a file, then ours."""
    (tmp_path / "site.yaml").write_text(
        "gridengine: {queue: file.q, project: site, cores: 3}"
    )
    code = """
import dask, json
from dask_gridengine.config import Options
seen = [Options.resolve({"queue": "argument.q"}).queue, None, None]
with dask.config.set({"gridengine.queue": "set.q"}):
    seen[1] = Options.resolve({}).queue
options = Options.resolve({"queue": None})
seen[2] = options.queue
print(json.dumps([*seen, options.project, options.cores, options.drain_timeout]))
"""
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DASK_CONFIG": str(tmp_path),
            "DASK_GRIDENGINE__QUEUE": "environment.q",
            "DASK_GRIDENGINE__PROJECT": "1234",  # Dask reads it as a number
        },
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert json.loads(said.stdout) == [
        "argument.q",
        "set.q",
        "environment.q",
        "1234",
        3,
        30,
    ]


def test_every_key_is_an_option_and_every_option_a_key() -> None:
    """What can be typed can be configured, under the same name."""
    assert [key.replace("-", "_") for key in keys()] == Options.names()


def test_every_key_carries_a_comment() -> None:
    """The file is the reference of the options: none goes unexplained."""
    lines = YAML.read_text().splitlines()
    found = {
        match[1]: match[2].strip()
        for line in lines
        if (match := re.match(r"  ([a-z-]+):[^#]*(.*)", line))
    }
    assert list(found) == keys()
    assert [key for key, said in found.items() if len(said) < 4] == []


def test_the_defaults_are_options_that_make_sense() -> None:
    """Nothing has to be given; two clusters get two names."""
    one, other = Options.resolve({}), Options.resolve({})
    assert one.name != other.name
    assert one.python == sys.executable
    assert one.shared_directory == Path("~/.dask-gridengine").expanduser()
    assert one.security is True


def test_a_wrong_name_lists_all_and_suggests_one() -> None:
    """A typo is a TypeError, as for any function, that says what was meant."""
    with pytest.raises(TypeError) as caught:
        Options.resolve({"wall_time": 5})
    said = str(caught.value)
    assert "no option 'wall_time' (did you mean 'walltime'?)" in said
    assert all(name in said for name in Options.names())


# What values may be


@pytest.mark.parametrize(
    ("name", "value", "resolved"),
    [
        ("memory", "2 GB", 2 * 10**9),
        ("memory", 0, 0),
        ("walltime", "00:10:00", 600.0),
        ("death_timeout", "2m", 120.0),
        ("project", 1234, "1234"),
        ("python", Path("/opt/python"), "/opt/python"),
        ("local_directory", "$TMPDIR/x", "$TMPDIR/x"),
        ("environment", {"A": 1}, {"A": "1"}),
        ("job_extra_directives", ["-m n"], ("-m n",)),
        ("shared_directory", Path("rel"), Path.cwd() / "rel"),
        ("log_directory", "~/logs", Path.home() / "logs"),
        ("nanny", False, False),
        ("nanny", 0, False),  # DASK_GRIDENGINE__NANNY=0
        ("slots", 3, 3),
        ("scheduler_port", 8786, Ports(first=8786, last=8786)),
        ("worker_port", "9000:9100", Ports(first=9000, last=9100)),
        ("nanny_port", 0, None),
        ("contact_address", "tls://gate:8786", "tls://gate:8786"),
    ],
)
def test_values_come_in_one_unit_and_type(
    name: str, value: object, resolved: object
) -> None:
    """Bytes, seconds, absolute paths: the rest of the package converts nothing."""
    assert getattr(Options.resolve({name: value}), name) == resolved


def test_directories_here_are_expanded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared configuration file may say $USER."""
    monkeypatch.setenv("GROUP", "physics")
    options = Options.resolve({"shared_directory": "/shared/$GROUP"})
    assert options.shared_directory == Path("/shared/physics")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "9lives"),
        ("name", "a b"),
        ("name", "a/b"),
        ("name", "naïve"),
        ("name", "x" * 65),
        ("jobs", -1),
        ("jobs", 2.5),
        ("jobs", True),
        ("slots", 0),
        ("cores", 0),
        ("cores", "2"),
        ("memory", "much"),
        ("memory", -1),
        ("memory", []),
        ("memory", float("inf")),
        ("memory_resource_per", "node"),
        ("walltime", "1:30"),
        ("walltime", 0),
        ("queue", ["a", "b"]),
        ("project", 1.5),
        ("python", True),
        ("job_extra_directives", "-m n"),
        ("job_extra_directives", 5),
        ("job_script_prologue", "module load python"),
        ("job_script_prologue", [["a"]]),
        ("environment", "A=1"),
        ("environment", ["A=1"]),
        ("nanny", "maybe"),
        ("start_method", "thread"),
        ("worker_options", ["resources"]),
        ("worker_options", {"worker_class": int}),
        ("worker_options", {"lifetime": float("nan")}),
        ("local_directory", 1.0),
        ("shared_directory", 1.5),
        ("scheduler_options", 8786),
        ("max_importing", 0),
        ("death_timeout", "soon"),
        ("drain_timeout", 0),
        ("drain_before_walltime", "perhaps"),
        ("task_soft_limit", -1),
        ("task_hard_limit", "late"),
        ("close_timeout", -3),
        ("scheduler_port", "8790:8786"),
        ("bootstrap_port", 70000),
        ("worker_port", "any"),
        ("contact_address", "gate:ssh"),
        ("bootstrap_contact_address", "a b"),
        ("worker_interface", 1.5),
    ],
)
def test_a_bad_value_names_its_option(name: str, value: object) -> None:
    """Found when the cluster is made, not by a hundred nodes; in the user's words."""
    with pytest.raises(OptionError, match=rf"^{name}\b"):
        Options.resolve({name: value})


def test_a_shared_directory_is_needed() -> None:
    """A configuration file may not switch it off."""
    with (
        dask.config.set({"gridengine.shared-directory": None}),
        pytest.raises(OptionError, match=r"^shared_directory must be"),
    ):
        Options.resolve({})


# The command of a node


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
    """As a launcher would: argv as it is, the identity in the environment."""
    identity = {"JOB_ID": "3", "SGE_TASK_ID": "17"}
    options = Options.resolve({"python": python, **given})
    return subprocess.run(
        options.command(connection_file, logs, GRID.log_name),
        env={"PATH": os.environ["PATH"], **identity, "HOSTNAME": host},
        capture_output=True,
        timeout=20,
        check=False,
    )


@given(weird, weird)
@settings(max_examples=40, deadline=None)
def test_any_path_reaches_python_whole(one: str, other: str) -> None:
    """Blanks, quotes, dollars and newlines in a path are just letters of it."""
    with node_files(one, other) as (python, connection_file, logs):
        done = run(python, connection_file, logs)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        words = (logs / "3.17.log").read_bytes().split(b"\0")[:-1]
        expected = ["-m", "dask_gridengine.node", str(connection_file)]
        assert words == [os.fsencode(word) for word in expected]


def test_the_prologue_comes_first_and_changes_what_python_sees() -> None:
    """`module load python` and `export` work as they do in a shell's script."""
    prologue = ["export GREETING='a  b'", 'echo "$GREETING"', "echo oops >&2"]
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=prologue)
        said = (logs / "3.17.log").read_bytes()
    assert said.startswith(b"a  b\noops\n-m\0")


def test_a_prologue_may_be_any_shell_text() -> None:
    """Comments, blocks over several lines and here-documents."""
    prologue = [
        "if true  # a comment; with 'quotes\"",
        "then echo one",
        "fi",
        "cat <<END\ntwo\nEND",
        "# the last word",
    ]
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=prologue)
        assert (logs / "3.17.log").read_bytes().startswith(b"one\ntwo\n-m\0")


@given(weird)
@settings(max_examples=40, deadline=None)
def test_any_letter_survives_the_prologue(text: str) -> None:
    """Backslashes and percent signs mean nothing on the way."""
    line = f"printf '%s\\0' {shlex.quote(text)}"
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, job_script_prologue=[line])
        said = (logs / "3.17.log").read_bytes()
    assert said.startswith(os.fsencode(text) + b"\0-m\0")


@pytest.mark.parametrize(("host", "first"), [("node7", "on node7:\n"), ("", "one\n")])
def test_a_log_begins_with_its_host(host: str, first: str) -> None:
    """Where the grid names it: so a node that never says a word can be placed."""
    with node_files("x") as (python, connection_file, logs):
        run(python, connection_file, logs, host, job_script_prologue=["echo one"])
        assert (logs / "3.17.log").read_text().startswith(first)


def test_no_log_directory_is_a_status_of_its_own() -> None:
    """The grid would park such a job in Eqw for ever; the shell ends, and says why."""
    with node_files("x") as (python, connection_file, logs):
        logs.rmdir()
        done = run(python, connection_file, logs)
    assert done.returncode == EXIT_STATUS[Cause.NO_LOG] == 73
    assert done.stdout == b""


def test_no_python_is_said_in_the_log() -> None:
    """The shell's own status and words: `causes` reads both."""
    with node_files("x") as (python, connection_file, logs):
        python.unlink()
        done = run(python, connection_file, logs)
        last = (logs / "3.17.log").read_text().splitlines()[-1]
    assert done.returncode == EXIT_STATUS[Cause.NO_PYTHON] == 127
    assert str(python) in last
    assert "not found" in last


def test_a_request_holds_what_the_grid_is_asked_for(tmp_path: Path) -> None:
    """One node's share, as submit options for Grid Engine and as numbers for ours."""
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
    asked = options.request(("/bin/true",), "drmaa", GRID)
    assert asked.native == "-P 1234 -l h_rt=60,h_vmem=1073741824 -pe smp 2"
    assert (asked.name, asked.slots, asked.walltime) == ("dask-x", 2, 60)
    assert asked.environment["PYTHONHASHSEED"] == "6640"
    assert options.request(("/bin/true",), "process", GRID).native == ""


def test_cores_without_a_parallel_environment_are_refused_by_the_grid_only() -> None:
    """Local processes need none; Grid Engine would scatter the slots."""
    options = Options.resolve({"cores": 2})
    assert options.request(("/bin/true",), "process", GRID).slots == 2
    with pytest.raises(OptionError, match="parallel environment"):
        options.request(("/bin/true",), "drmaa", GRID)
