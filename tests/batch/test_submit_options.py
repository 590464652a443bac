"""Submit options of Grid Engine, and how a command is delivered."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dask_gridengine.batch.base import ResourceRequest
from dask_gridengine.batch.sge.submit_options import (
    exclude_hosts,
    requested_limit,
    submit_options,
    wrap_command,
)
from dask_gridengine.errors import OptionError


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, ""),
        ({"queue": "a.q,b.q@node1"}, "-q a.q,b.q@node1"),
        ({"project": "bio"}, "-P bio"),
        ({"walltime": 90.2}, "-l h_rt=91"),
        ({"resource_spec": "gpu=1,h=!node1"}, "-l gpu=1,h=!node1"),
        ({"resource_spec": "arch=lx*", "walltime": 60}, "-l arch=lx*,h_rt=60"),
        ({"parallel_environment": "smp", "slots": 3}, "-pe smp 3"),
        ({"parallel_environment": "smp"}, "-pe smp 1"),
        ({"extra_directives": ["-R y", " -notify "]}, "-R y -notify"),
        ({"memory": 10**9}, ""),
    ],
)
def test_options_become_one_line(options: dict[str, Any], line: str) -> None:
    """In the order of the manual's examples, the user's own options last."""
    assert submit_options(ResourceRequest(**options)) == line


@pytest.mark.parametrize(
    ("memory", "per", "requested"),
    [(9, "slot", 3), (10, "slot", 4), (10, "job", 10), (0, "job", None)],
)
def test_memory_is_requested_as_it_is_charged(
    memory: int, per: str, requested: int | None
) -> None:
    """Per slot, each requests its share, rounded up; per job, once for all."""
    request = ResourceRequest(
        memory=memory,
        memory_resource="h_vmem",
        memory_resource_per=per,
        slots=3,
        parallel_environment="smp",
    )
    expected = "" if requested is None else f"-l h_vmem={requested} "
    assert submit_options(request) == f"{expected}-pe smp 3"


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "long.q -M boss"},
        {"queue": "long.q\n-M boss"},
        {"queue": "-M"},
        {"project": "a,b"},
        {"project": 'a"b'},
        {"resource_spec": "h_vmem=4G, gpu=1"},
        {"resource_spec": "h_vmem=4G,,gpu=1"},
        {"resource_spec": "h='!node1'"},
        {"parallel_environment": "smp 99"},
        {"memory_resource": "h_vmem=1,h_rt", "memory": 1},
        {"extra_directives": ["-R y\n-M boss"]},
        {"extra_directives": ["#$ -R y"]},
        {"extra_directives": ["-N 'a b'"]},
    ],
)
def test_a_value_cannot_become_another_option(options: dict[str, Any]) -> None:
    """Grid Engine has no quoting there, so the option is rejected by its name."""
    (option,) = (name for name in options if name != "memory")
    named = {"extra_directives": "job_extra_directives"}.get(option, option)
    with pytest.raises(OptionError, match=named):
        submit_options(ResourceRequest(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"resource_spec": "h_rt=60", "walltime": 60},
        {"resource_spec": "h_vmem=1G", "memory_resource": "h_vmem", "memory": 1},
        {"resource_spec": "gpu=1,gpu=2"},
    ],
)
def test_the_same_resource_twice_is_refused(options: dict[str, Any]) -> None:
    """Grid Engine would use the last one without an error."""
    with pytest.raises(OptionError, match=r"requested twice: -l \S+=\S+,\S+=\S+"):
        submit_options(ResourceRequest(**options))


def test_cores_need_a_parallel_environment() -> None:
    """Their names differ from site to site, so the hint is qconf."""
    with pytest.raises(OptionError, match=r"cores=4 .*(\n.*)*qconf -spl"):
        submit_options(ResourceRequest(slots=4))


@pytest.mark.parametrize(
    ("native", "hosts", "line"),
    [
        ("", [], ""),
        ("-q a.q", [], "-q a.q"),
        ("", ["node1"], "-l h=!node1"),
        ("-q a.q -l x=1", {"b", "a"}, "-q a.q -l x=1 -l h=!a&!b"),
        ("-R y", ["a", "a", "A.b-c_d"], "-R y -l h=!A.b-c_d&!a"),
        ("-R y", ["a b", "", "a,b", "*", "x&y", "-l\n"], "-R y"),
        ("-l h=node*", ["node1"], "-l h=node*"),
        ("-l x=1,hostname=!node2", ["node1"], "-l x=1,hostname=!node2"),
        ("-soft -l h=node3", ["node1"], "-soft -l h=node3"),
        ("-q a.q,b.q@node1", ["node1"], "-q a.q,b.q@node1"),
        ("-q a.q -q *@!node2", ["node1"], "-q a.q -q *@!node2"),
        ("-l h_rt=9,th=1", ["a"], "-l h_rt=9,th=1 -l h=!a"),
        ("-M me@home", ["a"], "-M me@home -l h=!a"),
        ("-soft -l x=1", ["a"], "-soft -l x=1 -hard -l h=!a"),
        ("-soft -l x=1 -hard -R y", ["a"], "-soft -l x=1 -hard -R y -l h=!a"),
    ],
)
def test_hosts_are_excluded_unless_the_options_choose(
    native: str, hosts: Any, line: str
) -> None:
    """As a hard request; a name that is not a host cannot become another option."""
    assert exclude_hosts(native, hosts) == line


def test_no_more_hosts_are_excluded_than_grid_engine_takes() -> None:
    """A longer expression would be rejected with the whole submission."""
    hosts = [f"node{index:04}.cluster.example.org" for index in range(500)]
    line = exclude_hosts("-q a.q", hosts)
    assert len(line) < 2048
    excluded = line.removeprefix("-q a.q -l h=").split("&")
    assert len(excluded) > 50
    assert excluded == [f"!{host}" for host in hosts[: len(excluded)]]


@pytest.mark.parametrize(
    ("native", "seconds"),
    [
        ("", None),
        ("-q long.q -l gpu=1", None),
        ("-l h_rt=3600", 3600.0),
        ("-l h_rt=1:0:0,gpu=1 -l s_rt=0:50:00", 3000.0),
        ("-l s_rt=90", 90.0),
        ("-soft -l h_rt=60 -hard -l h_rt=120", 120.0),
        ("-l h_rt=INFINITY", None),
    ],
)
def test_the_request_is_read(native: str, seconds: float | None) -> None:
    """The shorter of h_rt and s_rt, in any form; soft requests do not limit."""
    assert requested_limit(native) == seconds


printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0")
)
SHOW = "import os, sys; sys.stdout.buffer.write(os.fsencode(ascii(sys.argv[1:])))"
SHOW += "; sys.stdout.write('\\n' + ascii(os.environ.get('V')))"


@settings(max_examples=40, deadline=None)
@given(st.lists(printable, max_size=4), st.none() | printable)
@example(["a\nb", "it's", '"q" $HOME `x`', "\\n \\0012 %s"], "x=y\nz='")
@example(["ends in newlines\n\n", ""], "=")
@example(["-n", "é☃"], None)
def test_a_command_with_any_characters_is_delivered(
    arguments: list[str], value: str | None
) -> None:
    """No argument has a newline and no variable a second "=" on the way."""
    command = (sys.executable, "-c", SHOW, *arguments)
    given_environment = {} if value is None else {"V": value}
    wrapped, environment = wrap_command(command, given_environment)
    assert not any("\n" in word for word in wrapped)
    assert not any("=" in text for text in environment.values())
    ran = subprocess.run(
        wrapped, env={**environment, "PYTHONUTF8": "1"}, capture_output=True, check=True
    )
    assert ran.stdout.decode() == f"{arguments!a}\n{value!a}"


@pytest.mark.parametrize("ending", ["exec false", "exit 3", "kill -9 $$"])
def test_the_wrapping_adds_nothing_of_its_own(ending: str) -> None:
    """The command replaces the shell, so its end is the job's end."""
    command = ("/bin/sh", "-c", f"true\n{ending}")
    plain = subprocess.run(command).returncode
    assert subprocess.run(wrap_command(command, {})[0]).returncode == plain
