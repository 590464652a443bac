"""Options as submit options."""

from __future__ import annotations

from typing import Any

import pytest

from dask_gridengine.batch.sge.submit_options import (
    exclude_hosts,
    native_specification,
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
    assert native_specification(**options) == line


@pytest.mark.parametrize(
    ("memory", "per", "asked"),
    [(9, "slot", 3), (10, "slot", 4), (10, "job", 10), (0, "job", None)],
)
def test_memory_is_asked_for_as_it_is_charged(
    memory: int, per: str, asked: int | None
) -> None:
    """Per slot each slot asks for its share, rounded up; per job, once for all."""
    line = native_specification(
        memory=memory,
        memory_resource="h_vmem",
        memory_resource_per=per,
        slots=3,
        parallel_environment="smp",
    )
    wanted = "" if asked is None else f"-l h_vmem={asked} "
    assert line == f"{wanted}-pe smp 3"


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
    """Grid Engine has no quoting there, so it is refused by name."""
    (option,) = (name for name in options if name != "memory")
    named = {"extra_directives": "job_extra_directives"}.get(option, option)
    with pytest.raises(OptionError, match=named):
        native_specification(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"resource_spec": "h_rt=60", "walltime": 60},
        {"resource_spec": "h_vmem=1G", "memory_resource": "h_vmem", "memory": 1},
        {"resource_spec": "gpu=1,gpu=2"},
    ],
)
def test_the_same_resource_twice_is_refused(options: dict[str, Any]) -> None:
    """Grid Engine would take the last one without a word."""
    with pytest.raises(OptionError, match=r"asked for twice: -l \S+=\S+,\S+=\S+"):
        native_specification(**options)


def test_cores_without_a_parallel_environment_say_what_to_type() -> None:
    """Their names differ from site to site; qconf knows them."""
    with pytest.raises(OptionError, match=r"4 cores need .*(\n.*)*qconf -spl"):
        native_specification(slots=4)


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
    """Firmly, in one form; what is no host name cannot become another option."""
    assert exclude_hosts(native, hosts) == line


def test_no_more_hosts_are_excluded_than_grid_engine_takes() -> None:
    """A longer expression is refused, and with it the whole submission."""
    hosts = [f"node{index:04}.cluster.example.org" for index in range(500)]
    line = exclude_hosts("-q a.q", hosts)
    assert len(line) < 2048
    excluded = line.removeprefix("-q a.q -l h=").split("&")
    assert len(excluded) > 50
    assert excluded == [f"!{host}" for host in hosts[: len(excluded)]]


def test_an_arrays_nodes_may_be_kept_from_running_all_at_once() -> None:
    """As ``qsub -tc`` does."""
    assert native_specification(array_concurrency=5) == "-tc 5"
