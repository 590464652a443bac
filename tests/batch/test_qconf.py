"""The configuration of a cell, as qconf and qselect print it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.sge.qconf import (
    array_running,
    hosts,
    is_charged_per_job,
    queue_limit,
)

LISTED = "all.q@node1\nlong.q@node1\nall.q@node2.example.org\n\n"


def test_hosts_are_those_of_the_queue_instances() -> None:
    """Each once, in whatever queues it is."""
    found = hosts("", lambda command: LISTED)
    assert found == {"node1", "node2.example.org"}


@pytest.mark.parametrize(
    ("native", "asked"),
    [
        ("", ""),
        ("-q a.q,b.q@node1 -l h_rt=60,gpu=1", "-q a.q,b.q@node1 -l h_rt=60,gpu=1"),
        ("-l a=1 -P bio -l b=2 -q x.q -q y.q", "-l a=1 -l b=2 -q x.q -q y.q"),
        ("-pe smp 4-8 -R y -notify", "-pe smp"),
        ("-soft -q fast.q -hard -l h=node1", "-l h=node1"),
        ("-l h_rt=60 -q", "-l h_rt=60"),
    ],
)
def test_only_what_says_where_is_asked(native: str, asked: str) -> None:
    """The others choose no host; neither do soft requests, nor qselect the slots."""
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(command)
        return LISTED

    hosts(native, run)
    assert commands == [["qselect", *asked.split()]]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no qselect"),
        subprocess.CalledProcessError(1, "qselect"),
        subprocess.TimeoutExpired("qselect", 10),
    ],
)
def test_a_grid_that_does_not_tell_is_no_trouble(error: Exception) -> None:
    """No command, no match, no answer: nobody can tell, and nobody is bothered."""

    def run(command: Sequence[str]) -> str:
        raise error

    assert hosts("-q a.q", run) is None
    assert hosts("-q a.q", lambda command: "") is None


SHOWN = """qname                 long.q
notify                00:00:60
s_rt                  INFINITY
h_rt                  {h_rt}
h_cpu                 0:0:1
"""


@pytest.mark.parametrize(
    ("h_rt", "seconds"),
    [
        ("INFINITY", None),
        ("24:00:00", 86400.0),
        ("90", 90.0),
        ("INFINITY,[node1=1:00:00]", 3600.0),
        ("2:0:0,[node1=1:0:0], \\\n                      [@slow=90]", 90.0),
    ],
)
def test_the_shortest_limit_of_any_host_counts(
    h_rt: str, seconds: float | None
) -> None:
    """To leave early costs less than to be killed; other limits are not times."""
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return SHOWN.format(h_rt=h_rt)

    assert queue_limit("long.q", run) == seconds
    assert asked == [["qconf", "-sq", "long.q"]]


@pytest.mark.parametrize(
    "trouble",
    [FileNotFoundError("qconf"), subprocess.CalledProcessError(1, "qconf")],
)
def test_a_mute_grid_limits_nothing(trouble: Exception) -> None:
    """Where qconf is not there, or may not be asked, only the request counts."""

    def run(command: Sequence[str]) -> str:
        raise trouble

    assert queue_limit("all.q", run) is None


@pytest.mark.parametrize(
    ("shown", "most"),
    [
        ("max_unheard 0:5:0\nmax_aj_instances             2000\n", 2000),
        ("max_aj_instances 0\n", None),
        ("max_aj_tasks 3\n", None),
    ],
)
def test_what_runs_of_an_array_is_read(shown: str, most: int | None) -> None:
    """0 is any number; a grid that does not know the limit has none."""
    assert array_running(lambda command: shown) == most


def test_a_mute_grid_has_no_limit() -> None:
    """Then nodes queue, as they would without us."""

    def run(command: Sequence[str]) -> str:
        raise subprocess.CalledProcessError(1, command)

    assert array_running(run) is None


COMPLEXES = """\
#name    shortcut   type     relop requestable consumable default urgency
h_vmem   h_vmem     MEMORY   <=    YES         YES        0       0
mem_free mf         MEMORY   <=    YES         JOB        0       0
arch     a          RESTRING ==    YES         NO         NONE    0
"""


@pytest.mark.parametrize(
    ("resource", "per_job"),
    [("h_vmem", False), ("mem_free", True), ("mf", True), ("a", False), ("x", False)],
)
def test_a_consumable_may_be_charged_per_job(resource: str, per_job: bool) -> None:
    """By name or shortcut; what is unknown is charged per slot, as usual."""
    assert is_charged_per_job(resource, lambda command: COMPLEXES) is per_job
