"""Requests in force for an array, and why its nodes queue."""

from __future__ import annotations

import pytest

from dask_gridengine.batch.sge.array_report import report
from tests.batch.commands import Commands, instances

JOB = """\
==============================================================
job_number:                 7
owner:                      ada
{requests}
notify:                     FALSE
env_list:                   TERM=NONE
{rest}
"""
#: Two Grid Engines differ in the blank.
SPELLINGS = ["hard resource_list:         {}", "hard_resource_list:         {}"]
DROPPED = """\
scheduling info:            queue instance "a.q@node1" dropped because it is disabled
                            queue instance "a.q@node2" dropped because it is disabled
                            All queues dropped because of overload or full
"""


def grid(**answers: str) -> Commands:
    """Commands of a grid that has job 7."""
    return Commands(**{"qstat_j": JOB.format(requests="", rest=""), **answers})


def job(requests: str = "", rest: str = "") -> str:
    return JOB.format(requests=requests, rest=rest)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_requests_that_the_site_adds(spelling: str) -> None:
    """The shorter limit counts; what the options request was not added."""
    run = grid(qstat_j=job(spelling.format("h_rt=3600,s_rt=60,h_vmem=1G,gpu=TRUE")))
    found = report("7", "-l h_vmem=1g,gpu,h=!node9 -l h_rt=1:0:0", run)
    assert found is not None
    assert found.walltime == 60
    assert found.added == "-l s_rt=60"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("scheduling info:   Job is in hold state", ["on hold", "qrls 7"]),
        (
            'scheduling info:   cannot run because it exceeds limit "///" in rule'
            ' "few/1"',
            ["resource quota few", "qconf -srqs few"],
        ),
        (
            'scheduling info:   Job cannot run in queue instance "a.q@node1" because'
            " exceeds limit in rule few/1",
            ["resource quota few"],
        ),
        (
            "error_reason       1:        11/30/2026 13:02:00 [0:209]: error: no disk",
            ["in error state", "no disk", "qmod -cj 7"],
        ),
        (
            "error reason    1:   11/30/2026 13:02:00 [0:209]: error: can't chdir\n"
            "scheduling info:   Job is in error state",
            ["in error state", "can't chdir", "qmod -cj 7"],
        ),
        (
            'scheduling info:   (-l gpu=1) cannot run at host "node1" because it offers'
            ' only hc:gpu=0\n   (-l gpu=1) cannot run at host "node2" because it offers'
            " only hc:gpu=0",
            ["offers only", "1 more"],
        ),
    ],
)
def test_why_it_queues(info: str, words: list[str]) -> None:
    """One line for each kind of reason, with what to type."""
    found = report("7", "", grid(qstat_j=job(rest=info)))
    assert found is not None
    (reason,) = found.reasons
    assert [word for word in words if word not in reason] == []


@pytest.mark.parametrize("info", ["", "(Collecting of scheduler job information is"])
@pytest.mark.parametrize(
    ("state", "queue", "word"),
    [("hqw", "", "on hold"), ("Eqw", "", "error state"), ("qw", "d", "disabled")],
)
def test_a_site_that_has_switched_off_the_messages(
    info: str, state: str, queue: str, word: str
) -> None:
    """Then the states of the job and of all queues tell."""
    rest = f"scheduling info:   {info} turned off)" if info else ""
    listed = (
        "<job_info><job_list><JB_job_number>7</JB_job_number>"
        f"<state>{state}</state><tasks>1-3:1</tasks></job_list></job_info>"
    )
    shown = instances(node1=queue, node2=queue)
    run = grid(qstat_j=job(rest=rest), qstat_u=listed, qstat_f=shown)
    found = report("7", "", run)
    assert found is not None
    assert [word in reason for reason in found.reasons] == [True]
