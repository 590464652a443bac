"""The configuration of a cell, as qconf and qselect print it."""

from __future__ import annotations

import pytest

from dask_gridengine.batch.sge.qconf import (
    array_running,
    charged_per,
    hosts,
    queue_limit,
)
from tests.batch.commands import Commands, printing

QUEUE = """qname                 long.q
notify                00:00:60
s_rt                  INFINITY
h_rt                  {h_rt}
h_cpu                 0:0:1
"""
COMPLEXES = """\
#name    shortcut   type     relop requestable consumable default urgency
#----------------------------------------------------------------------
h_vmem   h_vmem     MEMORY   <=    YES         YES        0       0
mem_free mf         MEMORY   <=    YES         JOB        0       0
mem_host mh         MEMORY   <=    YES         HOST       0       0
arch     a          RESTRING ==    YES         NO         NONE    0
"""


@pytest.mark.parametrize(
    ("native", "options"),
    [
        ("", ""),
        ("-q a.q,b.q@node1 -l h_rt=60,gpu=1", " -q a.q,b.q@node1 -l h_rt=60,gpu=1"),
        ("-l a=1 -P bio -l b=2 -q x.q -q y.q", " -l a=1 -l b=2 -q x.q -q y.q"),
        ("-pe smp 4-8 -R y -notify", " -pe smp"),
        ("-soft -q fast.q -hard -l h=node1", " -l h=node1"),
        ("-l h_rt=60 -q", " -l h_rt=60"),
    ],
)
def test_hosts_are_selected_by_hard_requests(native: str, options: str) -> None:
    """qselect takes a parallel environment without its slots."""
    run = printing("all.q@node1\nlong.q@node1\nall.q@node2.example.org\n\n")
    assert hosts(native, run) == {"node1", "node2.example.org"}
    assert run.run == [f"qselect{options}"]


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
    run = Commands(**{"qconf_sq long.q": QUEUE.format(h_rt=h_rt)})
    assert queue_limit("long.q", run) == seconds


@pytest.mark.parametrize(
    ("configuration", "tasks"),
    [
        ("max_unheard 0:5:0\nmax_aj_instances             2000\n", 2000),
        ("max_aj_instances 0\n", None),
        ("max_aj_tasks 3\n", None),
    ],
)
def test_how_many_tasks_of_an_array_may_run(
    configuration: str, tasks: int | None
) -> None:
    """0 is any number; a grid that does not know the limit has none."""
    assert array_running(printing(configuration)) == tasks


@pytest.mark.parametrize(
    ("resource", "per"),
    [
        ("h_vmem", "slot"),
        ("mem_free", "job"),
        ("mf", "job"),
        ("mem_host", "host"),
        ("a", ""),
        ("x", ""),
    ],
)
def test_what_a_consumable_is_charged_for(resource: str, per: str) -> None:
    """By name or shortcut; an unknown one is none."""
    assert charged_per(resource, printing(COMPLEXES)) == per
