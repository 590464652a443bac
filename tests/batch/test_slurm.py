"""Slurm: its commands' output is recorded from Slurm 22.05.8, see docs/drms.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dask_gridengine.batch.base import (
    DIRECTORY,
    SUBMISSION,
    ResourceRequest,
    write_directory,
)
from dask_gridengine.batch.slurm import Slurm, listed
from dask_gridengine.errors import ArrayTooLarge, OptionError, SubmitError
from dask_gridengine.grid_types import EndNotice, Listed, NodeId, NodeRequest
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
    assert known[NodeId("8", 1)] is Listed.LIVE
    assert known[NodeId("8", 6)] is Listed.ENDING
    assert {node.job for node in known} == {"8"}
    ends = {n.index: end for n, end in known.items() if isinstance(end, EndNotice)}
    assert ends[2].exit_status == 0
    assert (ends[3].limit, ends[5].limit) == ("walltime", "memory")
    assert ends[4].deleted
    assert "Slurm says TIMEOUT" in str(ends[3])


def test_a_preempted_node_is_not_deleted() -> None:
    """So it is replaced."""
    end = listed(NodeId("8", 1), "PREEMPTED")
    assert isinstance(end, EndNotice)
    assert not end.deleted


COMMENTS = """12|dask-gridengine:abc:/tmp/x%20y
12|dask-gridengine:abc:/tmp/x%20y
13|dask-gridengine:def:/tmp/x%20y
14|(null)
"""


def test_a_lost_submission_is_found_by_its_comment() -> None:
    """Each job once, whatever its name, and no job of another submission."""
    run = Commands(squeue=COMMENTS)
    assert SLURM.find_submission("mine", "abc", run) == ["12"]


def test_jobs_are_found_with_their_cluster(tmp_path: Path) -> None:
    """Their comment has the directory, in one word without a second "="."""
    directory = tmp_path / "it's a=b, c|d"
    given = {SUBMISSION: "abc", DIRECTORY: write_directory(directory)}
    option, _, comment = SLURM.marker_options(given).partition("=")
    assert option == "--comment"
    assert not {"=", " ", "'", "|"} & set(comment)
    rows = [
        f"12|{state}|2026-11-30T23:13:50|{comment}|a|b"
        for state in ("RUNNING", "RUNNING", "PENDING")
    ]
    other = "13|RUNNING|2026-11-30T23:13:50|own note|mine"
    (found,) = SLURM.marked_jobs(printing("\n".join([*rows, other])))
    assert (found.id, found.name, found.directory) == ("12", "a|b", directory)
    assert found.states == {"running": 2, "pending": 1}
    long = SLURM.marker_options({SUBMISSION: "abc", DIRECTORY: "/x" * 1000})
    assert "abc" in long
    assert len(long) < 1000


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
        ("PENDING|30:00|PartitionTimeLimit\n" * 2, ["PartitionTimeLimit"]),
        ("PENDING|UNLIMITED|None\nRUNNING|UNLIMITED|None\n", []),
        (
            "PENDING|1:00|ReqNodeNotAvail, UnavailableNodes:node[1-2]\n",
            ["ReqNodeNotAvail, UnavailableNodes"],
        ),
    ],
)
def test_why_nodes_queue(printed: str, reasons: list[str]) -> None:
    """Each of Slurm's reasons once."""
    found = SLURM.report("7", "", Commands(squeue=printed))
    assert found is not None
    assert [reason.partition(":")[0] for reason in found.reasons] == reasons


@pytest.mark.parametrize(
    ("native", "limit", "walltime", "added"),
    [
        ("-p short", "1:00", 60.0, "-t 00:01:00"),
        ("-p short -t 00:05:00", "5:00", 300.0, ""),
        ("-p long", "UNLIMITED", None, ""),
        ("-p long", "365-00:00:00", None, ""),  # no limit, as it is sometimes listed
    ],
)
def test_the_time_limit_in_force(
    native: str, limit: str, walltime: float | None, added: str
) -> None:
    """That of the partition, where none was requested; and Slurm's KillWait."""
    config = "KillOnBadExit           = 0\nKillWait                = 30 sec\n"
    run = Commands(squeue=f"RUNNING|{limit}|None\n", scontrol=config)
    found = SLURM.report("7", native, run)
    assert found is not None
    assert (found.walltime, found.added, found.kill_delay) == (walltime, added, 30.0)
    assert SLURM.report("7", native, printing("")) is None


@pytest.mark.parametrize(
    ("native", "seconds"),
    [
        ("-t 01:30:00", 5400.0),
        ("--time=01:30", 5400.0),
        ("-p short", None),
    ],
)
def test_a_requested_time_limit(native: str, seconds: float | None) -> None:
    """For slurm-drmaa two numbers are hours and minutes."""
    assert SLURM.requested_limit(native) == seconds


def test_ids_and_script_are_those_of_slurm() -> None:
    """341.2 is a step there; both forms are understood."""
    node = NodeId("341", 2)
    named = SLURM.name_node(node)
    assert (named, str(named)) == (node, "341_2")
    assert {"341.2", "341_2"} == named.names
    request = NodeRequest(
        name="mine",
        command=("/bin/sh", "-c", "exec x"),
        environment={"A": "b c"},
        native="-p long -t 00:05:00",
    )
    lines = SLURM.script_directives(request)
    assert "#SBATCH -p long -t 00:05:00" in lines
    assert "export A='b c'" in lines


SINFO = """long*|up|infinite|n/a|0/2/0/2
short|up|10:00|1:00|0/2/0/2
closed|down|10:00|n/a|0/2/0/2
"""
UP = "Slurmctld(primary) at vm is UP\n"
REFUSED = "allocation failure: Requested node configuration is not available"


def sbatch_fails(text: str) -> subprocess.CalledProcessError:
    return subprocess.CalledProcessError(
        1, ["sbatch"], "", f"sbatch: error: x\n{text}\n"
    )


@pytest.mark.parametrize(
    ("native", "answers", "check", "text", "fatal"),
    [
        ("-p long", {}, "", "", False),
        ("", {}, "", "", False),
        ("-p short", {}, "partition", "gets 1:00", False),
        ("-p short -t 00:05:00", {}, "", "", False),
        ("-p closed -t 00:05:00", {}, "partition", "down", False),
        ("-p nope", {}, "partition", "nope", True),
        ("-c 24", {"sbatch": sbatch_fails(REFUSED)}, "options", REFUSED, True),
        (
            "--job_name=x",
            {"sbatch": sbatch_fails("sbatch: unrecognized option '--job_name=x'")},
            "options",
            "job_name",
            False,
        ),
        (
            "",
            {
                "scontrol": subprocess.CalledProcessError(
                    1, [], UP.replace("UP", "DOWN")
                )
            },
            "controller",
            "is DOWN",
            True,
        ),
    ],
)
def test_what_the_doctor_checks(
    native: str, answers: dict[str, str | Exception], check: str, text: str, fatal: bool
) -> None:
    """The controller, the partition with its limits, and whether jobs are taken."""
    run = Commands(**{"scontrol": UP, "sinfo": SINFO, "sbatch": "", **answers})
    results = list(SLURM.checks(native, "", run))
    bad = [result for result in results if result.advice]
    assert [result.check for result in bad] == ([check] if check else [])
    assert all(text in result.sentence and result.fatal is fatal for result in bad)
    if not fatal:
        assert [r.check for r in results] == ["controller", "partition", "options"]


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
