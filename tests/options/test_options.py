"""Where options come from, and what their values may be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dask
import pytest

import dask_gridengine
from dask_gridengine.dask_config import DEFAULTS
from dask_gridengine.errors import OptionError, UnknownOption
from dask_gridengine.net.ports import Ports
from dask_gridengine.options import Options
from dask_gridengine.unknown_options import OF_JOBQUEUE, REMOVED

YAML = Path(dask_gridengine.__file__).with_name("gridengine.yaml")


def keys() -> list[str]:
    return list(DEFAULTS["gridengine"])


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    """Argument, then dask.config.set, then the environment, then a file, then ours."""
    (tmp_path / "site.yaml").write_text(
        "gridengine: {queue: file.q, project: site, cores: 3}"
    )
    code = """
import dask, json
from dask_gridengine.options import Options
seen = [Options.resolve({"queue": "argument.q"}).queue, None, None]
with dask.config.set({"gridengine.queue": "set.q"}):
    seen[1] = Options.resolve({}).queue
options = Options.resolve({"queue": None})
seen[2] = options.queue
print(json.dumps([*seen, options.project, options.cores, options.drain_timeout]))
"""
    ran = subprocess.run(
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
    queues = ["argument.q", "set.q", "environment.q"]
    assert json.loads(ran.stdout) == [*queues, "1234", 3, 30]


def test_every_key_is_an_option_and_every_option_a_key() -> None:
    """What can be typed can be configured, under the same name."""
    assert [key.replace("-", "_") for key in keys()] == Options.names()


def test_every_key_carries_a_comment() -> None:
    """The file is the reference of the options."""
    lines = YAML.read_text().splitlines()
    found = {
        match[1]: match[2].strip()
        for line in lines
        if (match := re.match(r"  ([a-z-]+):[^#]*(.*)", line))
    }
    assert list(found) == keys()
    assert [key for key, text in found.items() if len(text) < 4] == []


def test_the_defaults_are_valid() -> None:
    """Nothing has to be given; two clusters get two names."""
    one, other = Options.resolve({}), Options.resolve({})
    assert one.name != other.name
    assert one.python == sys.executable
    assert one.shared_directory == Path("~/.dask-gridengine").expanduser()
    assert one.security is True


@pytest.mark.parametrize("key", ["wall_time", "wall-time"])
def test_a_wrong_name_suggests_the_right_one(key: str) -> None:
    """A typo is a TypeError, as for any function; also in Dask's configuration."""
    with pytest.raises(TypeError, match=r"'wall_time'[\s\S]*'walltime'"):
        Options.resolve({"wall_time": 5})
    with (
        dask.config.set({"gridengine": {key: 5}}),
        pytest.raises(TypeError, match=rf"gridengine.{key}[\s\S]*'walltime'"),
    ):
        Options.resolve({})


def test_a_name_like_no_other_lists_all() -> None:
    """So that the right one can be found."""
    with pytest.raises(UnknownOption) as caught:
        Options.resolve({"xyzzy": 5})
    assert all(name in str(caught.value) for name in Options.names())


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_a_removed_option_is_refused_with_what_replaces_it(name: str) -> None:
    """As an argument, and in Dask's configuration, whose name is with - or _."""
    assert name not in Options.names()
    for key in (name, name.replace("_", "-")):
        with (
            dask.config.set({"gridengine": {key: "x"}}),
            pytest.raises(OptionError, match=key) as refused,
        ):
            Options.resolve({})
        assert REMOVED[name] in str(refused.value)
    with pytest.raises(OptionError, match=name):
        Options.resolve({name: "x"})


def test_a_removed_option_in_the_environment_is_refused() -> None:
    """A site's profile may still set it."""
    code = "from dask_gridengine.options import Options; Options.resolve({})"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DASK_GRIDENGINE__NANNY_PORT": "9000"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 1
    assert "worker_port=" in ran.stderr


@pytest.mark.parametrize(
    ("consumable", "per"), [("YES", "slot"), ("JOB", "job"), ("HOST", "host")]
)
def test_how_memory_is_charged_is_read_from_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, consumable: str, per: str
) -> None:
    """``qconf -sc`` has it; without an answer it is per slot, as usual."""
    options = {"cores": 4, "parallel_environment": "smp", "memory_resource": "mem"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Options.resolve(options).memory_resource_per == "slot"
    qconf = tmp_path / "qconf"
    table = f"#name shortcut consumable\nmem m {consumable}"
    qconf.write_text(f"#!/bin/sh\necho '{table}'\n")
    qconf.chmod(0o755)
    assert Options.resolve(options).memory_resource_per == per
    assert Options.resolve({**options, "cores": 1}).memory_resource_per == "slot"


@pytest.mark.parametrize(
    ("name", "value", "resolved"),
    [
        ("memory", "2 GB", 2 * 10**9),
        ("walltime", "00:10:00", 600.0),
        ("death_timeout", "2m", 120.0),
        ("local_directory", "$TMPDIR/x", "$TMPDIR/x"),
        ("job_extra_directives", ["-m n"], ("-m n",)),
        ("shared_directory", Path("rel"), Path.cwd() / "rel"),
        ("log_directory", "~/logs", Path.home() / "logs"),
        ("scheduler_port", 0, None),
        ("nanny", 0, False),  # DASK_GRIDENGINE__NANNY=0
        ("scheduler_port", 8786, Ports(first=8786, last=8786)),
        ("worker_port", "9000:9100", Ports(first=9000, last=9100)),
    ],
)
def test_values_come_in_one_unit_and_type(
    name: str, value: object, resolved: object
) -> None:
    """Bytes, seconds, absolute paths: the rest of the package converts nothing."""
    assert getattr(Options.resolve({name: value}), name) == resolved


def test_directories_here_are_expanded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared configuration file may contain $USER."""
    monkeypatch.setenv("GROUP", "physics")
    options = Options.resolve({"shared_directory": "/shared/$GROUP"})
    assert options.shared_directory == Path("/shared/physics")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "9lives"),
        ("name", "a b"),
        ("name", "naïve"),
        ("jobs", -1),
        ("slots", 0),
        ("walltime", "1:30"),
        ("job_extra_directives", "-m n"),
        ("environment", "A=1"),
        ("worker_options", {"worker_class": int}),
        ("worker_options", {"lifetime": float("nan")}),
        ("shared_directory", 1.5),
        ("max_importing", 0),
        ("drain_before_walltime", "perhaps"),
        ("scheduler_port", "8790:8786"),
        ("contact_address", "gate:ssh"),
    ],
)
def test_a_bad_value_names_its_option(name: str, value: object) -> None:
    """When the cluster is made, not on a hundred nodes."""
    with pytest.raises(OptionError, match=rf"^{name}\b"):
        Options.resolve({name: value})


def test_a_shared_directory_is_needed() -> None:
    """A configuration file may not switch it off."""
    with (
        dask.config.set({"gridengine.shared-directory": None}),
        pytest.raises(OptionError, match=r"^shared_directory must be"),
    ):
        Options.resolve({})


@pytest.mark.parametrize("name", sorted(OF_JOBQUEUE))
def test_an_option_of_dask_jobqueue_is_refused_with_what_replaces_it(name: str) -> None:
    """Each has another name here, or does not exist."""
    assert name not in Options.names()
    with pytest.raises(TypeError, match=f"'{name}'") as refused:
        Options.resolve({name: "x"})
    assert OF_JOBQUEUE[name] in str(refused.value)


def test_a_pe_among_the_directives_is_the_parallel_environment() -> None:
    """As dask-jobqueue's users write it; its slots are the node's cores."""
    given = {"job_extra_directives": ["-R y", "-pe smp 8"]}
    options = Options.resolve(given)
    assert (options.parallel_environment, options.cores) == ("smp", 8)
    assert options.job_extra_directives == ("-R y",)
    assert Options.resolve({**given, "cores": 8}).cores == 8
    both = Options.resolve({"job_extra_directives": ["-pe smp 2 -R y"], "cores": 2})
    assert both.job_extra_directives == ("-R y",)
    pools = Options.resolve({**given, "pools": {"a": {}}}).pools
    assert pools["a"].cores == 8


@pytest.mark.parametrize(
    "given",
    [
        {"cores": 4},
        {"cores": 1},
        {"parallel_environment": "mpi"},
        {"job_extra_directives": ["-pe smp 4-8"]},
        {"job_extra_directives": ["-pe smp 0"]},
        {"job_extra_directives": ["-pe smp 8", "-pe smp 8"]},
    ],
)
def test_a_pe_that_contradicts_the_options_is_refused(given: dict[str, object]) -> None:
    """With the directive, and with what it contradicts."""
    with pytest.raises(OptionError, match="-pe smp"):
        Options.resolve({"job_extra_directives": ["-pe smp 8"], **given})
