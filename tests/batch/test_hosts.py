"""Which hosts submit options could run on, as qselect says."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from dask_gridengine.batch.sge.hosts import possible_hosts

LISTED = "all.q@node1\nlong.q@node1\nall.q@node2.example.org\n\n"


def test_hosts_are_those_of_the_queue_instances() -> None:
    """Each once, in whatever queues it is."""
    hosts = possible_hosts("", lambda command: LISTED)
    assert hosts == {"node1", "node2.example.org"}


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

    possible_hosts(native, run)
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

    assert possible_hosts("-q a.q", run) is None
    assert possible_hosts("-q a.q", lambda command: "") is None
