"""Slurm, as measured: see docs/drms.md."""

from __future__ import annotations

import pytest

from dask_gridengine.batch.base import ResourceRequest
from dask_gridengine.batch.slurm import Slurm, end_notice
from dask_gridengine.errors import ArrayTooLarge, OptionError, SubmitError
from dask_gridengine.grid_types import NodeId
from tests.batch.commands import Commands, printing

SLURM = Slurm()


@pytest.mark.parametrize(
    ("resource_request", "line"),
    [
        (ResourceRequest(), ""),
        (ResourceRequest(queue="long", project="bio"), "-p long -A bio"),
        (ResourceRequest(walltime=30), "-t 00:01:00"),
        (ResourceRequest(walltime=90 * 60), "-t 01:30:00"),
        (ResourceRequest(walltime=30 * 3600 + 1), "-t 30:01:00"),
        (ResourceRequest(slots=4, memory=2**30), "-c 4 --mem=1024"),
        (ResourceRequest(memory=2**20 + 1), "--mem=2"),
        (ResourceRequest(extra_directives=["--gres=gpu:1"]), "--gres=gpu:1"),
    ],
)
def test_options_are_those_its_drmaa_takes(
    resource_request: ResourceRequest, line: str
) -> None:
    """Plain megabytes, whole minutes as HH:MM:SS, short names."""
    assert SLURM.submit_options(resource_request) == line


@pytest.mark.parametrize(
    "resource_request",
    [
        ResourceRequest(queue="a b"),
        ResourceRequest(queue="--uid=0"),
        ResourceRequest(project="it's"),
        ResourceRequest(extra_directives=["gres"]),
        ResourceRequest(extra_directives=["--comment='x'"]),
    ],
)
def test_a_value_cannot_become_another_option(
    resource_request: ResourceRequest,
) -> None:
    """The line is split at blanks, and has no quotes."""
    with pytest.raises(OptionError):
        SLURM.submit_options(resource_request)


def test_hosts_are_excluded_unless_the_options_choose() -> None:
    """In one option, sorted."""
    assert SLURM.exclude_hosts("-p a", {"n2", "n1"}) == "-p a -x n1,n2"
    assert SLURM.exclude_hosts("-p a", ()) == "-p a"
    assert SLURM.exclude_hosts("--nodelist=n3", {"n1"}) == "--nodelist=n3"
    assert SLURM.exclude_hosts("-x n3", {"n1"}) == "-x n3"


LISTED = """8|1|RUNNING
8|2|COMPLETED
8|3|TIMEOUT
8|4|CANCELLED
8|5|OUT_OF_MEMORY
8|6|COMPLETING
9|N/A|RUNNING
"""


def test_squeue_tells_which_nodes_ended_and_how() -> None:
    """Its states are true; jobs that are not arrays are not nodes."""
    known = SLURM.list_jobs(Commands(squeue=LISTED))
    assert {node.index for node, end in known.items() if end is None} == {1, 6}
    assert {node.job for node in known} == {"8"}
    ends = {node.index: end for node, end in known.items() if end is not None}
    assert ends[2].exit_status == 0
    assert (ends[3].limit, ends[5].limit) == ("walltime", "memory")
    assert ends[4].deleted
    assert "Slurm says TIMEOUT" in str(ends[3])


def test_a_preempted_node_is_not_deleted() -> None:
    """So it is replaced."""
    end = end_notice(NodeId("8", 1), "PREEMPTED")
    assert end is not None
    assert not end.deleted


def test_a_lost_submission_is_found_by_its_comment() -> None:
    """Each job once, and no job of another submission."""
    run = Commands(**{"squeue_h -n mine": "12|abc\n12|abc\n13|def\n14|(null)\n"})
    assert SLURM.find_submission("mine", "abc", run) == ["12"]
    assert SLURM.marker_options("abc") == "--comment=abc"


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [
        ("infinite\n", None),
        ("1-00:00:00\n", 86400.0),
        ("30:00\n", 1800.0),
        ("infinite\n2:00:00\n", 7200.0),
        ("n/a\n", None),
    ],
)
def test_a_partition_has_a_limit(printed: str, seconds: float | None) -> None:
    """The shortest, where it is listed more than once."""
    assert SLURM.queue_limit("long", printing(printed)) == seconds


@pytest.mark.parametrize(
    ("printed", "reasons"),
    [
        ("PartitionTimeLimit\nPartitionTimeLimit\n", ["PartitionTimeLimit"]),
        ("None\n", []),
        ("", []),
    ],
)
def test_why_nodes_queue(printed: str, reasons: list[str]) -> None:
    """Each of Slurm's reasons once."""
    found = SLURM.report("7", "", printing(printed))
    assert found is not None
    assert [reason.partition(":")[0] for reason in found.reasons] == reasons


def test_hosts_are_those_of_the_partition() -> None:
    """Unless the options narrow them further."""
    assert SLURM.hosts("-p a", printing("n1\nn2\nn1\n")) == {"n1", "n2"}
    assert SLURM.hosts("-C big", printing("n1 n2")) is None


def test_an_array_that_is_too_large_comes_as_several() -> None:
    """Its message has no number: the default is tried, and then halves."""
    message = "Invalid job array specification"
    limits = []
    count = 20_000
    while isinstance(error := SLURM.submit_error(message, count, ""), ArrayTooLarge):
        limits.append(count := error.limit)
        if len(limits) == 3:
            break
    assert limits == [1000, 500, 250]
    other = SLURM.submit_error("Invalid partition name specified", 5, "-p x")
    assert type(other) is SubmitError
    assert "qsub" not in str(other)
